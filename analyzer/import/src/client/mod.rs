//! What a client measured of its requests, as `spans` of a run. They lie beside what was recorded, which is never written to.
//!
//! One JSON object a line. `request` (or `rid`, `request_id`): id as it was sent; `start_ns`, on the recording host's
//! `CLOCK_MONOTONIC`, or `t0`, seconds of wall clock; `ttft_s`, or `ttft_ns`, or `first_token_ns` on the clock of `start_ns`.

use std::path::{Path, PathBuf};

use kvpath_analysis::error::LoadError;
use kvpath_analysis::load::limits::{SPAN, TIME};
use kvpath_analysis::load::{IMPORTED, Run};
use kvpath_schema::segment::{RunWriter, SegmentError, Written};
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::spans::{Span, Spans};
use serde_json::Value;

/// Why a log cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The log cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The log.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line that says nothing of a request.
    #[error("{path}, line {line}: {why}; a line is an object with `request`, `start_ns` (or `t0`) and `ttft_s`")]
    Line {
        /// The log.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What it lacks.
        why: String,
    },
    /// The log has no line.
    #[error("{0}: no requests in it")]
    Empty(PathBuf),
    /// Whose clock the log is on is not known.
    #[error("{run}: holds the hosts {hosts}; say with --host on whose clock the client's times are")]
    Host {
        /// The run.
        run: String,
        /// Its hosts.
        hosts: String,
    },
    /// The run.
    #[error(transparent)]
    Run(#[from] LoadError),
    /// A run that is no folder here.
    #[error("{0}: not a folder of this machine; import into a copy of the run")]
    Elsewhere(String),
    /// A segment cannot be written.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Adds the log to the run, on the clock of `host` where it has several; an earlier one of that host is replaced at once.
///
/// # Errors
/// A log or run that cannot be read, a line that is none, a run of several hosts.
pub fn import(log: &Path, run: &str, host: Option<&str>) -> Result<Option<Written>, ClientError> {
    let opened = Run::open(run)?;
    let hosts = opened.hosts();
    let host = match host {
        Some(host) if hosts.contains(&host) => host,
        None if hosts.len() == 1 => hosts[0],
        _ => return Err(ClientError::Host { run: run.to_owned(), hosts: hosts.join(", ") }),
    };
    let host = host.to_owned();
    let of_host = opened.of_host(&host);
    let wall_at_zero_ns = of_host.segments.iter().find_map(|segment| segment.meta.wall_at_zero_ns);
    let text = std::fs::read_to_string(log).map_err(|error| ClientError::Io { path: log.to_owned(), error })?;
    let mut spans = Spans::default();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |why: String| ClientError::Line { path: log.to_owned(), line: at + 1, why };
        let value: Value = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        spans.push(span(&value, wall_at_zero_ns).map_err(bad)?);
    }
    if spans.is_empty() {
        return Err(ClientError::Empty(log.to_owned()));
    }
    if !opened.root.is_dir() {
        return Err(ClientError::Elsewhere(run.to_owned()));
    }
    let writer = concat!("kvpath ", env!("CARGO_PKG_VERSION"));
    let mut writer = RunWriter::new(opened.root.join(IMPORTED), &host, writer, wall_at_zero_ns).imported();
    Ok(writer.write("client", &spans, 0)?)
}

fn span(line: &Value, wall_at_zero_ns: Option<i64>) -> Result<Span, String> {
    let id = ["request", "rid", "request_id"].iter().find_map(|key| line[key].as_str());
    let id = id.ok_or("no `request`")?;
    let start_ns = match (line["start_ns"].as_i64(), line["t0"].as_f64(), wall_at_zero_ns) {
        (Some(ns), ..) => ns,
        (None, Some(wall), Some(zero)) => nanoseconds(wall)?.checked_sub(zero).ok_or("`t0` is no time")?,
        (None, Some(_), None) => return Err("`t0` is wall clock, and the run does not say what that was".to_owned()),
        (None, None, _) => return Err("no `start_ns`".to_owned()),
    };
    let first_token = line["first_token_ns"].as_i64().and_then(|ns| ns.checked_sub(start_ns));
    let dur_ns = match (line["ttft_ns"].as_i64().or(first_token), line["ttft_s"].as_f64()) {
        (Some(ns), _) => ns,
        (None, Some(s)) => nanoseconds(s)?,
        (None, None) => return Err("no `ttft_s`".to_owned()),
    };
    if !(0..=SPAN).contains(&dur_ns) || !(-TIME..=TIME).contains(&start_ns) {
        return Err("times that cannot be".to_owned());
    }
    let (service, name) = ("client".into(), "request".into());
    Ok(Span { start_ns, dur_ns: Some(dur_ns), service, name, request: Some(id.to_owned()) })
}

fn nanoseconds(seconds: f64) -> Result<i64, String> {
    let ns = (seconds * 1e9).round();
    if !(-9e18..=9e18).contains(&ns) {
        return Err(format!("{seconds} s is no time"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let ns = ns as i64;
    Ok(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, zero: Option<i64>) -> Result<(i64, Option<i64>), String> {
        span(&serde_json::from_str(line).unwrap(), zero).map(|span| (span.start_ns, span.dur_ns))
    }

    #[test]
    fn clocks_and_units() {
        let own = r#"{"request": "r", "start_ns": 5, "ttft_s": 0.000000007}"#;
        assert_eq!(read(own, None), Ok((5, Some(7))));
        assert_eq!(read(r#"{"rid": "r", "t0": 2.5, "ttft_ns": 3}"#, Some(1_000_000_000)), Ok((1_500_000_000, Some(3))));
        assert_eq!(read(r#"{"request": "r", "start_ns": 5, "first_token_ns": 9}"#, None), Ok((5, Some(4))));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_reason() {
        for (line, why) in [
            (r#"{"start_ns": 5, "ttft_s": 1}"#, "no `request`"),
            (r#"{"request": "r", "ttft_s": 1}"#, "no `start_ns`"),
            (r#"{"request": "r", "start_ns": 5}"#, "no `ttft_s`"),
            (r#"{"request": "r", "start_ns": 5, "ttft_s": 1e300}"#, "no time"),
            (r#"{"request": "r", "start_ns": 5, "ttft_ns": -1}"#, "cannot be"),
            (r#"{"request": "r", "start_ns": 5, "ttft_s": 1e7}"#, "cannot be"),
            (r#"{"request": "r", "t0": 5, "ttft_ns": 1}"#, "wall clock"),
        ] {
            assert!(read(line, None).unwrap_err().contains(why), "{line}");
        }
    }
}
