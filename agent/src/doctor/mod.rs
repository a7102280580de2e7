//! `kvpath-agent doctor`: what can be recorded here, found out by trying.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use kvpath_schema::tables::nixl::LayoutSource;
use serde::Serialize;

use crate::budget::{self, Costs};
use crate::capture::error::AttachError;
use crate::capture::mooncake;
use crate::capture::nixl::attach::Programs;
use crate::capture::nixl::builds;
use crate::capture::nixl::examine::{Basis, examine};
use crate::capture::{sched, sockets};
use crate::discover::library::Library;
use crate::discover::{Discovery, Notice};
use crate::elf::{ElfError, Point};
use crate::host;
use crate::learn::kept::{self, Learned};
use crate::privileges::Privileges;
use crate::seccomp;

/// One thing that recording needs or profits from.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// Without it nothing can be recorded.
    required: bool,
    found: String,
    /// How to get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

/// A function of a library.
#[derive(Debug, Serialize)]
struct ProbeLine {
    kind: &'static str,
    symbol: &'static str,
    /// Offset in the file; `None` if it cannot be probed.
    offset: Option<u64>,
    first_instruction: Option<&'static str>,
    /// Expected cost of a hit, its return included, ns.
    cost_ns: Option<f64>,
    error: Option<String>,
}

/// A library that moves KV.
#[derive(Debug, Serialize)]
struct LibraryLine {
    path: String,
    /// `nixl` or `mooncake`.
    library: &'static str,
    /// A process that maps it; `None` if the command line names it.
    pid: Option<i32>,
    build_id: Option<String>,
    /// Release of NIXL; `None`: unknown build, probes off, or another library.
    nixl: Option<String>,
    /// The same of Mooncake.
    mooncake: Option<String>,
    /// How the layout of NIXL is known: `table`, `measured` (`learn` has found it out) or `assumed` (by the release that the library names).
    layout: Option<&'static str>,
    /// Why nothing is known of it, if more can be said than that.
    unknown: Option<String>,
    error: Option<String>,
    probes: Vec<ProbeLine>,
}

impl LibraryLine {
    /// Whether nothing is known of its build.
    fn is_unknown(&self) -> bool {
        self.error.is_none() && self.nixl.is_none() && self.mooncake.is_none()
    }
}

/// All of it.
#[derive(Debug, Serialize)]
struct Findings {
    version: &'static str,
    kernel: String,
    can_record: bool,
    known_nixl: String,
    known_mooncake: String,
    checks: Vec<Check>,
    libraries: Vec<LibraryLine>,
}

impl Findings {
    /// How many libraries cannot be recorded because their build is not known.
    fn unknown_builds(&self) -> usize {
        self.libraries.iter().filter(|library| library.is_unknown()).count()
    }
}

/// Looks, at these libraries too, and prints, as JSON if that is asked for. Exit code 2: nothing can be recorded; 1: a library of
/// NIXL or Mooncake is there whose build is not known.
///
/// # Errors
/// The findings cannot be printed.
pub fn run(named: &[PathBuf], layouts: Option<PathBuf>, as_json: bool) -> anyhow::Result<ExitCode> {
    let layouts = layouts.unwrap_or_else(kept::default_folder);
    let (learned, wrong) = kept::all(&layouts).with_context(|| layouts.display().to_string())?;
    for why in wrong {
        tracing::warn!("{why}");
    }
    let (checks, costs) = checks();
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        kernel: host::kernel(),
        can_record: checks.iter().all(|check| check.ok || !check.required),
        known_nixl: builds::known_releases(),
        known_mooncake: mooncake::builds::known_releases(),
        checks,
        libraries: libraries(named, &learned, costs),
    };
    if as_json {
        report::json(&findings).context("printing JSON")?;
    } else {
        report::text(&findings).context("printing the table")?;
    }
    Ok(match (findings.can_record, findings.unknown_builds()) {
        (false, _) => ExitCode::from(2),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::FAILURE,
    })
}

fn checks() -> (Vec<Check>, Option<Costs>) {
    let own = Privileges::own();
    let (missing, missing_for_others) = (own.missing(), own.missing_for_others());
    let listed = |missing: &[&str]| {
        if missing.is_empty() { "all there".to_owned() } else { format!("lacks {}", missing.join(", ")) }
    };
    let multi = is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation);
    let mut programs = Programs::load();
    let confined = programs
        .as_mut()
        .map_or_else(|_| seccomp::Verdict::Unknown("needs the BPF programs".to_owned()), seccomp::attempt);
    let costs = programs.as_mut().map_err(|error| error.to_string());
    let costs =
        costs.and_then(|programs| budget::measure(programs, !confined.is_spared()).map_err(|error| error.to_string()));
    let leaves_any = !confined.is_spared() && seccomp::confines_any();
    let discovery = Discovery::start();
    let sees_all_pids = host::sees_all_pids();
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let checks = vec![
        Check {
            name: "capabilities",
            ok: missing.is_empty(),
            required: true,
            found: listed(&missing),
            cure: (!missing.is_empty()).then(|| "run as root, or give CAP_BPF and CAP_PERFMON".to_owned()),
        },
        Check {
            name: "PID namespace",
            ok: sees_all_pids,
            required: true,
            found: if sees_all_pids { "the initial one" } else { "not the initial one" }.to_owned(),
            cure: (!sees_all_pids).then(|| "run with hostPID (Kubernetes) or --pid=host (Docker)".to_owned()),
        },
        Check {
            name: "uprobe_multi",
            ok: matches!(multi, Ok(true)),
            required: true,
            found: match &multi {
                Ok(true) => "works".to_owned(),
                Ok(false) => "this kernel has no such links".to_owned(),
                Err(error) => format!("cannot be tried: {error}"),
            },
            cure: (!matches!(multi, Ok(true))).then(|| "Linux 6.6 or newer, with the capabilities above".to_owned()),
        },
        Check {
            name: "BPF programs",
            ok: programs.is_ok(),
            required: true,
            found: programs.as_ref().map_or_else(ToString::to_string, |_| "load and verify".to_owned()),
            cure: programs
                .is_err()
                .then(|| "the capabilities above; in a container also an unmasked bpf(2)".to_owned()),
        },
        Check {
            name: "seccomp",
            ok: confined.is_spared(),
            // As long as no process that uses NIXL is confined, all others can be recorded.
            required: leaves_any,
            found: confined.to_string(),
            cure: (!confined.is_spared()).then(|| {
                "a kernel that does not show uretprobe(2) to seccomp filters; until then libraries that confined \
                 processes map are left alone"
                    .to_owned()
            }),
        },
        Check {
            name: "process discovery",
            ok: !discovery.is_fallback(),
            required: false,
            found: discovery.method(),
            cure: discovery
                .is_fallback()
                .then(|| "CAP_PERFMON, and perf_event_open(2) not masked by seccomp".to_owned()),
        },
        Check {
            name: "other processes",
            ok: missing_for_others.is_empty(),
            required: false,
            found: listed(&missing_for_others),
            cure: (!missing_for_others.is_empty())
                .then(|| "needed for processes of other users and for libraries in containers".to_owned()),
        },
        Check {
            name: "kernel BTF",
            ok: btf,
            required: false,
            found: if btf { "there" } else { "not there; sockets and the scheduler cannot be recorded" }.to_owned(),
            cure: None,
        },
        source_check("sockets", "--with sockets", &sockets::programs::offsets()),
        source_check("scheduler", "on by default", &sched::programs::tid_offset()),
        cost_check(&costs),
    ];
    (checks, costs.ok())
}

/// Sources that need more than probes.
fn source_check<T>(name: &'static str, option: &str, known: &Result<T, AttachError>) -> Check {
    let found = match known {
        Ok(_) => format!("this kernel's are known ({option})"),
        Err(error) => format!("cannot be recorded ({option}): {error}"),
    };
    Check { name, ok: known.is_ok(), required: false, found, cure: None }
}

fn cost_check(costs: &Result<Costs, String>) -> Check {
    Check {
        name: "cost of a hit",
        ok: costs.is_ok(),
        required: true,
        found: match costs {
            Ok(Costs { emulated, stepped, returning }) => format!(
                "{emulated:.0} ns where the first instruction is emulated, {stepped:.0} where it is \
                 single-stepped; {returning:.0} more with the return"
            ),
            Err(error) => format!("cannot be measured: {error}"),
        },
        cure: None,
    }
}

fn libraries(named: &[PathBuf], learned: &[Learned], costs: Option<Costs>) -> Vec<LibraryLine> {
    let mut seen: Vec<Library> = Vec::new();
    let mut lines = Vec::new();
    for path in named {
        take(Library::open(path), path.display().to_string(), None, (learned, costs), &mut seen, &mut lines);
    }
    for notice in Discovery::scan_all(|name| builds::is_candidate(name) || mooncake::builds::is_candidate(name)) {
        if let Notice::Mapped { pid, mapping } = notice {
            take(Library::of_mapping(pid, &mapping), mapping.path, Some(pid), (learned, costs), &mut seen, &mut lines);
        }
    }
    lines
}

fn take(
    library: std::io::Result<Library>,
    path: String,
    pid: Option<i32>,
    (learned, costs): (&[Learned], Option<Costs>),
    seen: &mut Vec<Library>,
    lines: &mut Vec<LibraryLine>,
) {
    let may_be_mooncake = path.rsplit('/').next().is_some_and(mooncake::builds::is_candidate);
    let mut line = LibraryLine {
        path,
        library: if may_be_mooncake { "mooncake" } else { "nixl" },
        pid,
        build_id: None,
        nixl: None,
        mooncake: None,
        layout: None,
        unknown: None,
        error: None,
        probes: Vec::new(),
    };
    match library {
        Ok(library) if seen.iter().any(|other| other.is_same_below(&library)) => return,
        Ok(library) => {
            let data = library.read().map_err(|error| error.to_string());
            let is_ours =
                data.and_then(|data| line.read(&library, &data, learned, costs).map_err(|error| error.to_string()));
            seen.push(library);
            match is_ours {
                Ok(true) => {}
                // Another library of the same name, which a process maps.
                Ok(false) => return,
                Err(error) => line.error = Some(error),
            }
        }
        Err(error) => line.error = Some(error.to_string()),
    }
    lines.push(line);
}

impl LibraryLine {
    /// What the library itself says; gives whether it is one that moves KV.
    fn read(
        &mut self,
        library: &Library,
        data: &[u8],
        learned: &[Learned],
        costs: Option<Costs>,
    ) -> Result<bool, ElfError> {
        if self.library == "mooncake" {
            let examined = mooncake::attach::examine(data)?;
            self.mooncake = examined.mooncake;
            self.build_id = examined.build_id;
            let lines = examined.probes.iter().map(|state| {
                let kind = state.probe.kind;
                probe_line(kind.name(), &state.probe.symbol, kind.has_return(), &state.point, costs)
            });
            self.probes = lines.collect();
            return Ok(examined.is_mooncake || self.pid.is_none());
        }
        let examined = examine(library, data, learned)?;
        self.nixl = examined.basis.nixl();
        (self.layout, self.unknown) = match examined.basis {
            Basis::Table { .. } => (Some(LayoutSource::Table.text()), None),
            Basis::Learned { .. } => (Some(LayoutSource::Measured.text()), None),
            Basis::Release { .. } => (Some(LayoutSource::Assumed.text()), None),
            Basis::Unknown(why) => (None, Some(why)),
        };
        self.build_id = examined.build_id;
        let lines = examined.probes.iter().map(|state| {
            let kind = state.probe.kind;
            probe_line(kind.name(), &state.probe.symbol, kind.has_return(), &state.point, costs)
        });
        self.probes = lines.collect();
        Ok(true)
    }
}

fn probe_line(
    kind: &'static str,
    symbol: &'static str,
    has_return: bool,
    point: &Result<Point, ElfError>,
    costs: Option<Costs>,
) -> ProbeLine {
    let error = point.as_ref().err().map(ToString::to_string);
    let point = point.as_ref().ok();
    ProbeLine {
        kind,
        symbol,
        offset: point.map(|point| point.offset),
        first_instruction: point.map(|point| point.first.name()),
        cost_ns: point.zip(costs).map(|(point, costs)| {
            let returns = if has_return { costs.returning } else { 0.0 };
            costs.entry_ns(point.first) + returns
        }),
        error,
    }
}
