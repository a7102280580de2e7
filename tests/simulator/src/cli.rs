//! The command line: settings of a run, with their units.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use kvpath_simulator::distort::{Clock, Distortions};
use kvpath_simulator::model::{Arrivals, BEGIN_NS, Decode, Faults, Grain, Handoff, HandoffMode, Hosts, Model, P2p};
use kvpath_simulator::rig::CallCosts;

/// Writes recordings of a pipeline that never ran, with the truth beside them. Times are given as `10us`, `1.5ms`, `2s`
/// or plain ns; sizes as `16MiB`, `50GB` or plain bytes.
#[derive(Debug, Parser)]
#[command(name = "kvpath-sim", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Simulate a pipeline under load.
    Run(Box<RunArgs>),
    /// Make one of the exact cases.
    Case {
        /// Its name or number.
        name: String,
        /// Folder for segments and truth; must be empty or absent.
        #[arg(long)]
        out: PathBuf,
        /// Seed of what is random in it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Probes of each host to each other, a second, that show how their clocks stand; 0: none.
        #[arg(long, default_value_t = 0, value_name = "HZ", value_parser = clap::value_parser!(u32).range(0..=1000))]
        probes: u32,
    },
    /// List the exact cases.
    Cases,
}

/// How much of the path the truth holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathDetail {
    /// Every operation.
    Op,
    /// Stretches of one stage, chunk and layer.
    Layer,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "settings that have nothing to do with each other")]
pub(crate) struct RunArgs {
    /// Folder for segments and truth; must be empty or absent.
    #[arg(long)]
    pub out: PathBuf,
    /// Seed of all that is random; the same seed and settings make the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests.
    #[arg(long, default_value_t = 10)]
    requests: u32,
    /// As many requests as make so many records, instead of `--requests`.
    #[arg(long)]
    pub events: Option<u64>,
    /// Path in the truth: by operation or, smaller, by layer.
    #[arg(long, value_enum, default_value = "op")]
    pub path: PathDetail,

    /// Prefill stages.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Pipeline")]
    stages: u16,
    /// Layers: of the model, divided evenly; or of each stage (`18,20,20,22`).
    #[arg(long, value_delimiter = ',', default_value = "80", help_heading = "Pipeline")]
    layers: Vec<i16>,
    /// Chunks of a request.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Pipeline")]
    chunks: u32,
    /// Time of a layer for the first chunk.
    #[arg(long, value_parser = time, default_value = "1ms", help_heading = "Pipeline")]
    layer: i64,
    /// A layer of the last chunk takes so many times what it took for the first, growing evenly.
    #[arg(long, default_value_t = 2.0, value_parser = factor, help_heading = "Pipeline")]
    growth: f64,
    /// Kernels take up to so much more or less, percent.
    #[arg(long, default_value_t = 1.0, value_parser = factor, help_heading = "Pipeline")]
    noise: f64,
    /// Requests in the system at a time.
    #[arg(long, default_value_t = 2, help_heading = "Pipeline")]
    concurrency: u32,
    /// Requests a second that arrive at random; without it, each takes the place of one that has its first token.
    #[arg(long, value_parser = rate, help_heading = "Pipeline")]
    rate: Option<f64>,
    /// Pause before a place is taken again, without `--rate`.
    #[arg(long, value_parser = time, default_value = "10ms", help_heading = "Pipeline")]
    think: i64,
    /// Forward passes that a host may be ahead of its GPU; 0: no limit.
    #[arg(long, default_value_t = 2, help_heading = "Pipeline")]
    host_lead: u32,
    /// Planning a step.
    #[arg(long, value_parser = time, default_value = "300us", help_heading = "Pipeline")]
    schedule: i64,
    /// A launch.
    #[arg(long, value_parser = time, default_value = "3us", help_heading = "Pipeline")]
    launch: i64,
    /// From the last gate of a kernel to its start.
    #[arg(long, value_parser = time, default_value = "1.2us", help_heading = "Pipeline")]
    dispatch: i64,

    /// Activations of a chunk, from stage to stage.
    #[arg(long, value_parser = size, default_value = "128MiB", help_heading = "Between stages")]
    p2p_bytes: i64,
    /// Bandwidth between stages, bytes a second; 0: messages take no time.
    #[arg(long, value_parser = size, default_value = "300GB", help_heading = "Between stages")]
    p2p_bandwidth: i64,
    /// From both ends ready to the first byte.
    #[arg(long, value_parser = time, default_value = "10us", help_heading = "Between stages")]
    p2p_latency: i64,
    /// Messages up to this size do not wait for their receiver.
    #[arg(long, value_parser = size, default_value = "4MiB", help_heading = "Between stages")]
    fifo: i64,

    /// Who hands KV over.
    #[arg(long, value_enum, default_value = "push", help_heading = "Hand-off")]
    handoff: HandoffMode,
    /// What a transfer carries.
    #[arg(long, value_enum, default_value = "whole", help_heading = "Hand-off")]
    grain: Grain,
    /// KV of a layer and chunk.
    #[arg(long, value_parser = size, default_value = "32MiB", help_heading = "Hand-off")]
    kv: i64,
    /// KV blocks of a layer and chunk.
    #[arg(long, default_value_t = 64, help_heading = "Hand-off")]
    blocks: i64,
    /// Blocks lie apart: a descriptor each.
    #[arg(long, help_heading = "Hand-off")]
    scattered: bool,
    /// A block holds all layers of a stage.
    #[arg(long, help_heading = "Hand-off")]
    cross_layer: bool,
    /// One region for all layers, whose blocks agents prepare.
    #[arg(long, help_heading = "Hand-off")]
    prepared: bool,
    /// Bandwidth of decode's NIC, bytes a second; 0: transfers take no time.
    #[arg(long, value_parser = size, default_value = "50GB", help_heading = "Hand-off")]
    bandwidth: i64,
    /// A message between prefill and decode on its way.
    #[arg(long, value_parser = time, default_value = "20us", help_heading = "Hand-off")]
    message: i64,
    /// KV blocks of a stage, in chunks; 0: no limit.
    #[arg(long, default_value_t = 0, help_heading = "Hand-off")]
    pool: u32,
    /// Decode polls so often; a slow poll is a fault.
    #[arg(long, value_parser = time, default_value = "200us", help_heading = "Hand-off")]
    decode_poll: i64,
    /// Layers of decode's first step; 0: none; by default those of the model.
    #[arg(long, value_parser = clap::value_parser!(i16).range(0..), help_heading = "Hand-off")]
    decode_layers: Option<i16>,

    /// Decode registers so late.
    #[arg(long, value_parser = time, default_value = "0", help_heading = "Faults")]
    late_registration: i64,
    /// STAGE:LAYER:FACTOR, a layer that takes FACTOR times as long.
    #[arg(long, value_parser = slow_layer, help_heading = "Faults")]
    slow_layer: Vec<(i16, i16, f64)>,
    /// STAGE:CHUNK:TIME, a pause of the launching thread before that chunk of every request.
    #[arg(long, value_parser = pause, help_heading = "Faults")]
    host_pause: Vec<(i16, i32, i64)>,
    /// STAGE:FACTOR, the link that leads from a stage.
    #[arg(long, value_parser = slow, help_heading = "Faults")]
    slow_link: Vec<(i16, f64)>,
    /// STAGE:FACTOR, transfers of a stage.
    #[arg(long, value_parser = slow, help_heading = "Faults")]
    slow_handoff: Vec<(i16, f64)>,
    /// REQUEST:STAGE, a pushed transfer that fails and is made again.
    #[arg(long, value_parser = failing, help_heading = "Faults")]
    fail: Vec<(u32, i16)>,

    /// Which process runs where.
    #[arg(long, value_enum, default_value = "one", help_heading = "Records")]
    hosts: Hosts,
    /// OFFSET:PPM, the clock of each host in turn: prefill by stage, then decode.
    #[arg(long, value_parser = clock, value_delimiter = ',', allow_hyphen_values = true, help_heading = "Records")]
    clocks: Vec<(i64, f64)>,
    /// Probes of each host to each other, a second, that show how their clocks stand; 0: none.
    #[arg(long, default_value_t = 0, value_name = "HZ", value_parser = clap::value_parser!(u32).range(0..=1000), help_heading = "Records")]
    probes: u32,
    /// Records lost, percent.
    #[arg(long, default_value_t = 0.0, value_parser = percent, help_heading = "Records")]
    loss: f64,
    /// Losses are not counted.
    #[arg(long, help_heading = "Records")]
    silent: bool,
    /// Segments of a table that are filled at a time, each row at random; 1: in order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Records")]
    shuffle: u32,
    /// Whoever posted a transfer polls so often.
    #[arg(long, value_parser = time, default_value = "100us", help_heading = "Records")]
    poll: i64,
    /// Rows of a table in memory: those of a segment, or with `--shuffle` of all that are open.
    #[arg(long, default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..=1 << 24), help_heading = "Records")]
    segment_rows: u32,
}

impl RunArgs {
    /// The model that they describe; checked when it runs.
    pub fn model(&self) -> Model {
        let layers = self.layers_by_stage();
        let steps = (f64::from(self.chunks) - 1.0).max(1.0);
        let layer_ns = (0..self.chunks)
            .map(|chunk| scaled(self.layer, 1.0 + (self.growth - 1.0) * f64::from(chunk) / steps))
            .collect();
        Model {
            seed: self.seed,
            requests: self.requests,
            concurrency: self.concurrency,
            arrivals: match self.rate {
                Some(rate) => Arrivals::Open { mean_ns: scaled(1_000_000_000, 1.0 / rate) },
                None => Arrivals::Closed { think_ns: self.think },
            },
            layer_ns,
            stage_ns: None,
            noise_ppm: scaled(10_000, self.noise),
            prologue_ns: 3_000,
            calls: CallCosts { launch_ns: self.launch, event_ns: 1_000, dispatch_ns: self.dispatch, sync_ns: 5_000 },
            schedule_ns: self.schedule,
            host_lead: self.host_lead,
            p2p: P2p {
                bytes: self.p2p_bytes,
                bytes_per_s: self.p2p_bandwidth,
                latency_ns: self.p2p_latency,
                fifo_bytes: self.fifo,
            },
            handoff: self.handoff(),
            decode: Decode { layers: self.decode_layers.unwrap_or_else(|| sum(&layers)), kernel_ns: 15_000 },
            hosts: self.hosts,
            faults: self.faults(),
            layers,
        }
    }

    fn layers_by_stage(&self) -> Vec<i16> {
        let stages = i16::try_from(self.stages).unwrap_or(i16::MAX).max(1);
        match self.layers[..] {
            // What does not divide evenly goes to the first stages.
            [all] => (0..stages).map(|s| all / stages + i16::from(s < all % stages)).collect(),
            _ => self.layers.clone(),
        }
    }

    fn handoff(&self) -> Handoff {
        Handoff {
            mode: self.handoff,
            grain: self.grain,
            layer_chunk_bytes: self.kv,
            blocks: self.blocks,
            is_scattered: self.scattered,
            is_cross_layer: self.cross_layer,
            is_prepared: self.prepared,
            reuses: false,
            bytes_per_s: self.bandwidth,
            latency_ns: 5_000,
            make_ns: (20_000, 30),
            post_ns: (50_000, 500),
            wake_ns: 30_000,
            message_ns: self.message,
            register_ns: self.late_registration,
            decode_poll_ns: self.decode_poll,
            decode_schedule_ns: 500_000,
            pool_chunks: self.pool,
        }
    }

    fn faults(&self) -> Faults {
        let thousandths = |factor: f64| scaled(1000, factor);
        Faults {
            slow_layers: self.slow_layer.iter().map(|(s, l, factor)| (*s, *l, thousandths(*factor))).collect(),
            host_pauses: self.host_pause.clone(),
            slow_links: self.slow_link.iter().map(|(s, factor)| (*s, thousandths(*factor))).collect(),
            slow_handoffs: self.slow_handoff.iter().map(|(s, factor)| (*s, thousandths(*factor))).collect(),
            failing: self.fail.clone(),
        }
    }

    /// What is done to the records.
    ///
    /// # Errors
    /// More clocks than hosts.
    pub fn distortions(&self, model: &Model) -> Result<Distortions> {
        let names = self.hosts.names(model.stages(), self.handoff != HandoffMode::None);
        if self.clocks.len() > names.len() {
            bail!("{} clocks are given for {} hosts: {}", self.clocks.len(), names.len(), names.join(", "));
        }
        let mut distort = Distortions::none(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (clock, (offset_ns, ppm)) in distort.clocks.iter_mut().zip(&self.clocks) {
            let drift_ppb = scaled(1000, *ppm);
            *clock = Clock { offset_ns: *offset_ns, drift_ppb, zero_ns: BEGIN_NS, ..clock.clone() };
        }
        Ok(Distortions {
            loss_ppm: u32::try_from(scaled(10_000, self.loss)).unwrap_or(0),
            is_silent: self.silent,
            shuffle: self.shuffle,
            poll_ns: self.poll,
            probe_hz: self.probes,
            segment_rows: self.segment_rows as usize,
            ..distort
        })
    }
}

/// The same model with so many requests.
pub(crate) fn fewer(model: &Model, requests: u32) -> Model {
    let mut faults = model.faults.clone();
    faults.failing.retain(|(request, _)| *request < requests);
    Model { requests, faults, ..model.clone() }
}

fn scaled(value: i64, factor: f64) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "settings are far below 2^53")]
    let scaled = (value as f64 * factor).round() as i64;
    scaled
}

/// All layers; too many are as good as the most there can be, which the model refuses.
fn sum(layers: &[i16]) -> i16 {
    layers.iter().fold(0, |sum: i16, n| sum.saturating_add(*n))
}

/// The longest time, ns: 10,000 s.
const LONGEST: f64 = 1e13;
/// The largest size, bytes.
const LARGEST: f64 = 1e15;

fn with_unit(text: &str, units: &[(&str, f64)], most: f64) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let names = || units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect::<Vec<_>>().join(", ");
    let (_, factor) =
        units.iter().find(|(name, _)| *name == unit).ok_or(format!("unit `{unit}` is none of {}", names()))?;
    let value: f64 = digits.parse().map_err(|_| format!("`{digits}` is no number"))?;
    let value = value * factor;
    if !(-most..=most).contains(&value) {
        return Err(format!("`{text}` is too large"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 2^53, as said above")]
    let value = value.round() as i64;
    Ok(value)
}

/// A number within a range, which NaN is not.
fn within(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("`{text}` is not from {} to {}", range.start(), range.end()))
    }
}

fn factor(text: &str) -> Result<f64, String> {
    within(text, 0.0..=1e6)
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, 1e-6..=1e9)
}

fn percent(text: &str) -> Result<f64, String> {
    within(text, 0.0..=100.0)
}

fn time(text: &str) -> Result<i64, String> {
    not_negative(signed_time(text)?, text)
}

fn not_negative(value: i64, text: &str) -> Result<i64, String> {
    if value < 0 { Err(format!("`{text}` is negative")) } else { Ok(value) }
}

fn signed_time(text: &str) -> Result<i64, String> {
    with_unit(text, &[("", 1.0), ("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)], LONGEST)
}

fn size(text: &str) -> Result<i64, String> {
    const KIB: f64 = 1024.0;
    let binary = [("KiB", KIB), ("MiB", KIB * KIB), ("GiB", KIB * KIB * KIB)];
    let decimal = [("", 1.0), ("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)];
    not_negative(with_unit(text, &[decimal.as_slice(), &binary].concat(), LARGEST)?, text)
}

/// The parts of a text between colons.
struct Parts<'a>(std::str::Split<'a, char>);

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split(':'))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| "too few parts between colons".to_owned())
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let text = self.text()?;
        text.parse().map_err(|_| format!("`{text}` is no number that fits"))
    }

    fn end<T>(mut self, found: T) -> Result<T, String> {
        self.0.next().map_or(Ok(found), |more| Err(format!("`{more}` is one part too many")))
    }
}

fn slow_layer(text: &str) -> Result<(i16, i16, f64), String> {
    let mut parts = Parts::of(text);
    let found = (parts.number()?, parts.number()?, factor(parts.text()?)?);
    parts.end(found)
}

fn slow(text: &str) -> Result<(i16, f64), String> {
    let mut parts = Parts::of(text);
    let found = (parts.number()?, factor(parts.text()?)?);
    parts.end(found)
}

fn failing(text: &str) -> Result<(u32, i16), String> {
    let mut parts = Parts::of(text);
    let found = (parts.number()?, parts.number()?);
    parts.end(found)
}

fn pause(text: &str) -> Result<(i16, i32, i64), String> {
    let mut parts = Parts::of(text);
    let found = (parts.number()?, parts.number()?, time(parts.text()?)?);
    parts.end(found)
}

fn clock(text: &str) -> Result<(i64, f64), String> {
    let mut parts = Parts::of(text);
    // A clock that stands still or runs twice as fast is none.
    let found = (signed_time(parts.text()?)?, within(parts.text()?, -900_000.0..=900_000.0)?);
    parts.end(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &[&str]) -> String {
        let all = ["kvpath-sim", "run", "--out", "nowhere"].iter().chain(args);
        match Cli::try_parse_from(all).map(|cli| cli.command) {
            Err(error) => error.to_string(),
            Ok(Command::Run(args)) => {
                let model = args.model();
                let error =
                    model.check().map_err(anyhow::Error::from).and_then(|()| args.distortions(&model).map(|_| ()));
                error.expect_err("it is refused").to_string()
            }
            Ok(_) => unreachable!("it says `run`"),
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, why) in [
            (&["--think=1e400s"][..], "too large"),
            (&["--kv", "1000000GB"], "KV"),
            (&["--kv", "10000000GB"], "too large"),
            (&["--layer", "1000s", "--slow-layer", "0:0:1000"], "10,000 s"),
            (&["--layer", "1000s", "--growth", "1e6"], "10,000 s"),
            (&["--bandwidth", "1"], "10,000 s"),
            (&["--p2p-bandwidth", "1"], "10,000 s"),
            (&["--layers", "32767,32767"], "32,767 layers"),
            (&["--blocks", "1000000000", "--scattered"], "scattered blocks"),
            (&["--chunks", "4294967295"], "100000"),
            (&["--chunks", "100000"], "in memory"),
            (&["--shuffle", "4000000000"], "1000"),
            (&["--segment-rows", "0"], "0 is not in"),
            (&["--rate", "0"], "`0` is not from"),
            (&["--loss", "nan"], "`nan` is not from"),
            (&["--loss=-3"], "`-3` is not from"),
            (&["--poll=-5us"], "`-5us` is negative"),
            (&["--decode-layers=-5"], "-5 is not in"),
            (&["--slow-layer", "0:0:1e30"], "`1e30` is not from"),
            (&["--slow-layer", "0:0:2:9"], "one part too many"),
            (&["--slow-link", "0"], "too few parts"),
            (&["--slow-link", "3:2"], "slow link"),
            (&["--host-pause", "0:-1:5ms"], "host pause"),
            (&["--fail", "10:0"], "failing transfer"),
            (&["--fail", "0:0", "--handoff", "pull"], "failing transfer"),
            (&["--clocks", "0:-2000000"], "`-2000000` is not from"),
            (&["--clocks", "0:0,0:0"], "2 clocks are given for 1 hosts"),
        ] {
            let said = refused(args);
            assert!(said.contains(why), "{args:?}: {said}");
        }
    }

    #[test]
    fn units_are_read() {
        assert_eq!((time("1.5ms"), time("7"), time("2s")), (Ok(1_500_000), Ok(7), Ok(2_000_000_000)));
        assert_eq!((size("16MiB"), size("50GB"), size("3")), (Ok(16 << 20), Ok(50_000_000_000), Ok(3)));
        assert!(time("5 parsecs").is_err() && size("ms").is_err());
    }
}
