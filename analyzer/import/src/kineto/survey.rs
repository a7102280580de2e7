//! A first look at a trace: what must be known before its first event can be placed.
//!
//! Newer Kinetos write the zero of their times behind the events. The zero is then taken from the file's end, unread what comes
//! before, and must be checked once that was read.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::category::Category;
use super::document::{self, State, Unreadable, Visitor};
use super::error::ImportError;
use super::event::Event;
use super::facts;
use super::file::TraceBytes;
use super::json::{Window, WindowError, integer};

/// What a first look finds. It ends with the first event of the host, mostly the first one at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    /// File.
    pub(super) path: PathBuf,
    /// Wall clock at the zero of its times, ns since 1970; none where it is not named.
    pub(super) zero_ns: Option<i64>,
    /// What `baseTimeNanoseconds` seems to say at the end of the file, where the zero was taken from it unread: then what else stands
    /// behind the events is not known either.
    pub(super) assumed_ns: Option<i64>,
    /// The first time in it, by its own zero, ns; none where there is none.
    pub(super) first_ns: Option<i64>,
    /// The process that wrote it; 0 where it does not say.
    pub(super) pid: i64,
    /// The host it ran on, if it says.
    pub(super) host: Option<String>,
}

impl Survey {
    pub(super) fn of(path: &Path) -> Result<Self, ImportError> {
        let head = Self::looking(path, SurveyVisitor { until_time: true, ..SurveyVisitor::default() })?;
        if head.zero_ns.is_some() || head.first_ns.is_none() {
            return Ok(head);
        }
        let failed = |error| ImportError::of(path, 0, Unreadable::Window(WindowError::Io(error)));
        let end = TraceBytes::open(path)?.end(TAIL).map_err(failed)?;
        Self::looking(path, SurveyVisitor { assumed_ns: last_base(&end), ..SurveyVisitor::default() })
    }

    /// The same without assuming anything.
    pub(super) fn in_full(path: &Path) -> Result<Self, ImportError> {
        Self::looking(path, SurveyVisitor::default())
    }

    fn looking(path: &Path, mut look: SurveyVisitor) -> Result<Self, ImportError> {
        let mut window = Window::new(TraceBytes::open(path)?);
        match document::read(&mut window, State::Start, &mut look) {
            Ok(_) => {}
            Err(unreadable) => return Err(ImportError::of(path, window.offset(), unreadable)),
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let pid = look.pid.or(look.labelled).unwrap_or(0);
        let (zero_ns, assumed_ns) = match (look.counts_from_1970(), look.base_ns) {
            (true, _) => (Some(0), None),
            (false, Some(base_ns)) => (Some(base_ns), None),
            (false, None) => (look.assumed_ns, look.assumed_ns),
        };
        let host = look.host.or_else(|| host_in_name(&name, pid));
        Ok(Self { path: path.to_owned(), zero_ns, assumed_ns, first_ns: look.first_ns, pid, host })
    }

    /// Wall clock of the first time, ns since 1970.
    pub(super) fn first_wall_ns(&self) -> Option<i64> {
        self.first_ns?.checked_add(self.zero_ns?)
    }
}

/// `torch.profiler.tensorboard_trace_handler` names files `HOST_PID.TIME.pt.trace.json`; taken for such a name only where
/// the pid is that of the trace.
fn host_in_name(name: &str, pid: i64) -> Option<String> {
    let (worker, _) = name.split_once(".pt.trace.json")?;
    let (worker, _) = worker.rsplit_once('.')?;
    let (host, in_name) = worker.rsplit_once('_')?;
    (pid != 0 && !host.is_empty() && in_name.parse() == Ok(pid)).then(|| host.to_owned())
}

/// Bytes at the end of a file where the zero of its times is looked for: what Kineto writes behind its events is less.
const TAIL: u64 = 1 << 16;

/// What the last `baseTimeNanoseconds` says there.
fn last_base(end: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"baseTimeNanoseconds\"";
    let behind = &end[memchr::memmem::rfind(end, NAME)? + NAME.len()..];
    let value = behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    integer(&value[..value.iter().position(|byte| !byte.is_ascii_digit())?])
}

#[derive(Default)]
struct SurveyVisitor {
    /// Whether a time whose zero is not known ends it.
    until_time: bool,
    assumed_ns: Option<i64>,
    base_ns: Option<i64>,
    first_ns: Option<i64>,
    pid: Option<i64>,
    labelled: Option<i64>,
    host: Option<String>,
}

/// Times from here on, ns (September 2001), count from 1970 themselves: older Kinetos write them so. Newer ones count
/// from `baseTimeNanoseconds`.
const SINCE_1970: i64 = 1_000_000_000_000_000_000;

impl SurveyVisitor {
    fn counts_from_1970(&self) -> bool {
        self.first_ns.is_some_and(|first| first >= SINCE_1970)
    }
}

impl Visitor for SurveyVisitor {
    type Error = ImportError;

    fn fact(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"baseTimeNanoseconds" => self.base_ns = integer(value),
            _ if facts::is_host(name) => self.host = facts::host(value),
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, ImportError> {
        if self.first_ns.is_none() {
            self.first_ns = event.ts_ns;
        }
        if event.category.is_host() && self.pid.is_none() {
            self.pid = event.pid.number();
        }
        if event.category == Category::Other && event.args.labels.raw == b"CPU" {
            self.labelled = self.labelled.or(event.pid.number());
        }
        let placed = self.base_ns.or(self.assumed_ns).is_some() || self.counts_from_1970();
        let is_enough = if placed { self.pid.is_some() } else { self.until_time && self.first_ns.is_some() };
        Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(name: &str, json: &str) -> Survey {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, json).unwrap();
        Survey::of(&path).unwrap()
    }

    #[test]
    fn the_zero_is_found_before_or_behind_the_events_or_is_1970() {
        let event = r#"{"cat": "cpu_op", "pid": 7, "ts": 5.001}"#;
        let before =
            survey("a", &format!(r#"{{"baseTimeNanoseconds": 1000, "traceEvents": [{event}, rest is not read"#));
        assert_eq!((before.zero_ns, before.first_wall_ns(), before.pid), (Some(1000), Some(6001), 7));
        let behind = survey("a", &format!(r#"{{"traceEvents": [{event}, unread], "baseTimeNanoseconds": 1000}}"#));
        assert_eq!((behind.first_wall_ns(), behind.assumed_ns), (Some(6001), Some(1000)));
        let far =
            format!(r#"{{"traceEvents": [{event}], "baseTimeNanoseconds": 1000, "x": "{}"}}"#, "-".repeat(70_000));
        let far = survey("a", &far);
        assert_eq!((far.first_wall_ns(), far.assumed_ns), (Some(6001), None));
        let absolute = survey("a", r#"[{"cat": "cpu_op", "pid": 7, "ts": 1694128201435418}, rest is not read"#);
        assert_eq!(absolute.first_wall_ns(), Some(1_694_128_201_435_418_000));
        let unknown = survey("a", &format!("[{event}]"));
        assert_eq!((unknown.zero_ns, unknown.first_ns), (None, Some(5001)));
    }

    #[test]
    fn the_zero_behind_the_events_is_found_in_a_compressed_trace_too() {
        let event = r#"{"cat": "cpu_op", "pid": 7, "ts": 5.001}"#;
        // More than is kept of the end while it is inflated.
        let json = format!(
            r#"{{"traceEvents": [{event}, {}], "baseTimeNanoseconds": 1000}}"#,
            vec![event; 20_000].join(",\n")
        );
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, json.as_bytes()).unwrap();
        let whole = gzip.finish().unwrap();
        let of = |bytes: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.json.gz");
            std::fs::write(&path, bytes).unwrap();
            Survey::of(&path).unwrap()
        };
        let survey = of(&whole);
        assert_eq!((survey.zero_ns, survey.assumed_ns, survey.first_wall_ns()), (Some(1000), Some(1000), Some(6001)));
        let cut = of(&whole[..whole.len() / 2]);
        assert_eq!((cut.zero_ns, cut.first_ns), (None, Some(5001)));
    }

    #[test]
    fn the_process_is_that_of_the_host_events_or_is_labelled() {
        let gpu = r#"{"cat": "kernel", "pid": 3, "ts": 1}"#;
        let label = r#"{"ph": "M", "name": "process_labels", "pid": 9, "args": {"labels": "CPU"}}"#;
        let host = r#"{"cat": "cuda_runtime", "pid": 8, "ts": 1}"#;
        assert_eq!(survey("a", &format!("[{gpu}, {label}, {host}]")).pid, 8);
        assert_eq!(survey("a", &format!("[{gpu}, {label}]")).pid, 9);
        assert_eq!(survey("a", &format!("[{gpu}]")).pid, 0);
    }

    #[test]
    fn a_host_is_named_by_the_trace_or_by_a_file_name_with_its_pid() {
        let event = r#""traceEvents": [{"cat": "cpu_op", "pid": 7, "ts": 1}]"#;
        let named = format!(r#"{{"host_name": "node\/3", {event}}}"#);
        assert_eq!(survey("x_7.1.pt.trace.json", &named).host.as_deref(), Some("node/3"));
        let plain = format!("{{{event}}}");
        assert_eq!(survey("node_a_7.169.pt.trace.json.gz", &plain).host.as_deref(), Some("node_a"));
        assert_eq!(survey("worker0_step_12.169.pt.trace.json", &plain).host, None);
        assert_eq!(survey("trace.json", &plain).host, None);
    }
}
