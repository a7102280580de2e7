//! The command line.

mod completions;
mod man;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use kvpath_schema::wire::ring::Level;
use tracing::Level as Importance;

use crate::clock::{self, Clocking};
use crate::gpu::Target;
use crate::learn;
use crate::log::{Format, Logging};
use crate::settings::{LeftOut, MAX_OVERHEAD, OptionalSource, Settings, is_share, node};

/// Records KV-cache transfers over NIXL and Mooncake on this node, without touching the programs that make them.
#[derive(Debug, Parser)]
#[command(name = "kvpath-agent", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log, on stderr: text, or json for what collects the logs of a service.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// What to log: error, warn, info or debug, each with those before it.
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value = "info")]
    log_level: LogLevel,
}

impl Cli {
    /// How to log.
    pub fn logging(&self) -> Logging {
        let format = match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let level = match self.log_level {
            LogLevel::Error => Importance::ERROR,
            LogLevel::Warn => Importance::WARN,
            LogLevel::Info => Importance::INFO,
            LogLevel::Debug => Importance::DEBUG,
        };
        Logging { format, level }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record until interrupted, until a time is over, or until a command ends.
    Record(Box<RecordOptions>),
    /// Record as a service does, until it is told to stop (SIGTERM): settings come from a file.
    Run(Run),
    /// Print the variables that let a program that is started by other means be recorded, as shell commands.
    Env(Env),
    /// Change how much is recorded of the GPU by a running process.
    Level(ChangeLevel),
    /// Say what can be recorded here, what is missing and how to get it. Exit code 2 if nothing can be recorded, 1 if a library
    /// of NIXL or Mooncake is there whose build is not known.
    Doctor(Doctor),
    /// Find out where a build of NIXL that is in no table keeps what is recorded, by running transfers with it: in a process that sees
    /// the files of the one that is named and runs as its user, but can write no file and reach no device, network or other process.
    /// `record` and `run` read what was found. Exit code 2 if it cannot be found out.
    Learn(Learn),
    /// The process that runs the library.
    #[command(hide = true, name = learn::CHILD)]
    LearnChild(LearnChild),
    /// Print completions of this program for a shell.
    Completions(completions::Completions),
    /// Write the man pages of this program; for packagers.
    #[command(hide = true)]
    Man(man::Man),
}

/// Options of `record`.
#[derive(Debug, Args)]
pub struct RecordOptions {
    /// Folder of the run; it must be new or empty [default: `kvpath-run-` and the time, UTC].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Stop after this time: 500ms, 10s, 5m or 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Attach to this library of NIXL or Mooncake (or of what --with asks for) before any process maps it; others are found when they are
    /// mapped.
    #[arg(long = "library", value_name = "FILE")]
    pub libraries: Vec<PathBuf>,
    /// Folder of what `learn` has found out [default: `$XDG_STATE_HOME/kvpath/layouts`, else `/var/lib/kvpath/layouts`].
    #[arg(long, value_name = "DIR")]
    pub layouts: Option<PathBuf>,
    /// How much to record of the GPU: off, graph, kernel, launch or deep [default: kernel if the injected library lies beside
    /// this program, else off; a running process keeps its level].
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub gpu: Option<Level>,
    /// Record more, each at a price: ucx (every send, its end and its transport; two traps for each of a transfer's pieces),
    /// rdma (registration of memory, queue pairs), sockets (bytes by connection; a look-up for each send and receive on the
    /// machine), sched (on by default where the machine allows it; asked for, it is an error where it does not),
    /// telemetry (what NIXL itself counts, where the environment names a folder for it; its files are emptied, so no other may read
    /// them).
    #[arg(long = "with", value_name = "SOURCE", value_delimiter = ',', value_parser = extra())]
    pub sources: Vec<OptionalSource>,
    /// Leave out what is recorded by default: sched (when and why threads that post, poll or launch are off the CPU, and who wakes
    /// them; look-ups for each switch and each waking on the machine; without it, what such threads waited for is mostly unknown; not
    /// with --with sched), room (ids of SGLang's requests over Mooncake: the agent reads 16 bytes of the engine's memory for each).
    #[arg(long = "without", value_name = "WHAT", value_delimiter = ',', value_parser = left_out())]
    pub without: Vec<LeftOut>,
    /// The most that probes may cost, % of a core in all: uprobes on NIXL, Mooncake and UCX, and the scheduler's tracepoints. Where they would
    /// cost more, one group of probes is taken off for a while, the least valuable first: the scheduler, UCX, notifications received,
    /// polls, notifications, everything else. The run records when. A hit is assumed to cost what a poll's hit does; copying a post's descriptors is
    /// not counted.
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value_t = MAX_OVERHEAD)]
    pub max_overhead: f64,
    /// Name of this host in the run, which no other host of it may have [default: the kernel's host name].
    #[arg(long, value_name = "NAME", value_parser = node)]
    pub node: Option<String>,
    /// Clock probes.
    #[command(flatten)]
    pub clock: ClockOptions,
    /// Run this command, its input and output untouched, and stop when it ends; exit code 1 if it failed. The exit code is also 1
    /// where something could not be recorded: a library of an unknown build, or GPU records that another agent reads.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Clock probes between hosts: what a run of several hosts needs for its times to be compared. Off where no address is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ClockOptions {
    /// Answer clock probes of other agents at this UDP address, as 0.0.0.0:7433, and probe --clock-peer from it.
    #[arg(long = "clock-listen", value_name = "ADDRESS:PORT", requires = "key")]
    pub listen: Option<SocketAddr>,
    /// Probe the clock of this agent, 20 times a second.
    #[arg(long = "clock-peer", value_name = "HOST:PORT", value_delimiter = ',', value_parser = clock::peer, requires = "listen")]
    pub peers: Vec<String>,
    /// File of the key that the agents share, 16 bytes or more: what is signed with another is dropped.
    #[arg(long = "clock-key", value_name = "FILE", requires = "listen")]
    pub key: Option<PathBuf>,
}

impl ClockOptions {
    /// The settings, if probes are asked for.
    pub fn settings(&self) -> Option<Clocking> {
        let (listen, key) = self.listen.zip(self.key.clone())?;
        Some(Clocking { listen, peers: self.peers.clone(), key })
    }
}

impl Cli {
    /// What the command line says; ends the program where that cannot be done.
    #[must_use]
    pub fn read() -> Self {
        Self::parse().checked().unwrap_or_else(|error| error.exit())
    }

    /// Refuses options that contradict each other by their values.
    fn checked(self) -> Result<Self, clap::Error> {
        if let Command::Record(options) = &self.command
            && options.without.contains(&LeftOut::Sched)
            && options.sources.contains(&OptionalSource::Sched)
        {
            let why = "`sched` is asked for by --with and left out by --without: say one of them";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(self)
    }
}

impl From<RecordOptions> for Settings {
    fn from(options: RecordOptions) -> Self {
        let clock = options.clock.settings();
        let RecordOptions {
            out,
            duration,
            libraries,
            layouts,
            gpu,
            sources: extras,
            without,
            max_overhead,
            node,
            command,
            ..
        } = options;
        Self {
            out,
            duration,
            libraries,
            layouts,
            gpu,
            extras,
            is_without_scheduler: without.contains(&LeftOut::Sched),
            is_without_room: without.contains(&LeftOut::Room),
            max_overhead,
            node,
            clock,
            command,
        }
    }
}

fn extra() -> impl TypedValueParser<Value = OptionalSource> {
    let values = OptionalSource::ALL.map(|extra| PossibleValue::new(extra.name()).help(extra.title()));
    PossibleValuesParser::new(values).map(|name| {
        let extra = OptionalSource::ALL.into_iter().find(|extra| extra.name() == name);
        extra.expect("clap lets possible values pass alone")
    })
}

fn left_out() -> impl TypedValueParser<Value = LeftOut> {
    let values = LeftOut::ALL.map(|left_out| PossibleValue::new(left_out.name()).help(left_out.title()));
    PossibleValuesParser::new(values).map(|name| {
        let left_out = LeftOut::ALL.into_iter().find(|left_out| left_out.name() == name);
        left_out.expect("clap lets possible values pass alone")
    })
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Settings, in TOML; `deploy/agent.toml` shows and explains all of them.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Options of `env`.
#[derive(Debug, Args)]
pub struct Env {
    /// How much to record of the GPU: off, graph, kernel, launch or deep.
    #[arg(long, value_name = "LEVEL", value_parser = level, default_value = "kernel")]
    pub gpu: Level,
}

/// Options of `level`.
#[derive(Debug, Args)]
pub struct ChangeLevel {
    /// Pid, on this host or as the process sees it, or `all`.
    #[arg(value_name = "PID|all", value_parser = target)]
    pub target: Target,
    /// off, graph, kernel, launch or deep.
    #[arg(value_name = "LEVEL", value_parser = level)]
    pub level: Level,
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "all" => Ok(Target::All),
        _ => text.parse().map(Target::Pid).map_err(|_| format!("`{text}` is neither a pid nor `all`")),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share of a core, as 5 or 0.5 (%)");
    let percent: f64 = text.parse().map_err(|_| wrong())?;
    if is_share(percent) { Ok(percent) } else { Err(wrong()) }
}

fn level(text: &str) -> Result<Level, String> {
    Level::from_text(text).ok_or_else(|| format!("unknown level `{text}`: off, graph, kernel, launch or deep"))
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Look at this library of NIXL or Mooncake too.
    #[arg(long = "library", value_name = "FILE")]
    pub libraries: Vec<PathBuf>,
    /// Folder of what `learn` has found out [default: `$XDG_STATE_HOME/kvpath/layouts`, else `/var/lib/kvpath/layouts`].
    #[arg(long, value_name = "DIR")]
    pub layouts: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Options of `learn`.
#[derive(Debug, Args)]
pub struct Learn {
    /// A process that uses the build, or its `libnixl.so`.
    #[arg(value_name = "PID|FILE")]
    pub target: String,
    /// Folder to keep it in; copy its files to the same folder of other hosts that use this build [default:
    /// `$XDG_STATE_HOME/kvpath/layouts`, else `/var/lib/kvpath/layouts`].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The longest that it may take.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub limit: Duration,
}

/// Options of the process that `learn` starts.
#[derive(Debug, Args)]
pub struct LearnChild {
    /// The C interface.
    #[arg(value_name = "FILE")]
    pub capi: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` does not start with a number"))?;
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("unknown unit `{unit}`: ms, s, m or h")),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn levels_and_targets_are_words() {
        assert_eq!(level("deep"), Ok(Level::Deep));
        assert!(level("all").unwrap_err().contains("graph, kernel"));
        assert_eq!((target("all"), target("12")), (Ok(Target::All), Ok(Target::Pid(12))));
        assert!(target("-1").is_err());
    }

    #[test]
    fn clock_probes_take_an_address_and_a_key() {
        let record = |args: &[&str]| {
            let all = ["kvpath-agent", "record"].iter().chain(args);
            match Cli::try_parse_from(all).map(|cli| cli.command) {
                Ok(Command::Record(options)) => Ok(options.clock.settings()),
                Ok(_) => unreachable!("it says `record`"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(record(&[]), Ok(None));
        let (listen, key) = (["--clock-listen", "0.0.0.0:7433"], ["--clock-key", "k"]);
        let set = record(&[&listen[..], &key, &["--clock-peer", "a:1,b:2"]].concat()).unwrap().unwrap();
        assert_eq!((set.peers, set.listen.port()), (vec!["a:1".to_owned(), "b:2".to_owned()], 7433));
        assert!(record(&listen).unwrap_err().contains("--clock-key"));
        assert!(record(&["--clock-peer", "a:1"]).unwrap_err().contains("--clock-listen"));
        assert!(record(&["--node", "a/b"]).unwrap_err().contains("no host name"));
    }

    #[test]
    fn sources_that_cost_more_are_named_and_listed() {
        let record = |with: &str| Cli::try_parse_from(["kvpath-agent", "record", "--with", with]);
        let Ok(Command::Record(options)) = record("ucx,telemetry").map(|cli| cli.command) else {
            panic!("it is sound")
        };
        assert_eq!(Settings::from(*options).extras, [OptionalSource::Ucx, OptionalSource::Telemetry]);
        let error = record("udp").unwrap_err().to_string();
        assert!(error.contains("[possible values: ucx, rdma, sockets, sched, telemetry]"), "{error}");
    }

    #[test]
    fn what_is_left_out_is_a_list() {
        let parsed = Cli::try_parse_from(["kvpath-agent", "record", "--without", "room"]);
        let Ok(Command::Record(options)) = parsed.map(|cli| cli.command) else { panic!("it is sound") };
        let settings = Settings::from(*options);
        assert!(settings.is_without_room && !settings.is_without_scheduler);
    }

    #[test]
    fn the_scheduler_is_asked_for_or_left_out_but_not_both() {
        let record = |args: &[&str]| {
            let all = ["kvpath-agent", "record"].iter().chain(args);
            Cli::try_parse_from(all).and_then(Cli::checked)
        };
        let error = record(&["--with", "ucx,sched", "--without", "sched"]).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ArgumentConflict, 2));
        assert!(record(&["--with", "ucx", "--without", "sched"]).is_ok() && record(&["--with", "sched"]).is_ok());
    }

    #[test]
    fn times_carry_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "1 d", "99999999999999999999", "18446744073709551615h", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
