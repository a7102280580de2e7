//! What a client measured of its requests, as `spans` of a run. They lie beside what was recorded, which is never written to.
//!
//! One JSON object a line. `request` (or `rid`, `request_id`): id as it was sent; `start_ns`, on the recording host's
//! `CLOCK_MONOTONIC`, or `t0`, seconds of wall clock; `ttft_s`, or `ttft_ns`, or `first_token_ns` on the clock of `start_ns`.
//! A request that failed has `error`, `failed_ns` (on the same clock) or `http` of 400 or more instead.
//! Wall clock, also in `start_ns`, is converted by the recording's own pair of clocks.

mod log;

use std::path::{Path, PathBuf};

use kvpath_analysis::error::LoadError;
use kvpath_analysis::load::{IMPORTED, Run};
use kvpath_schema::segment::{RunWriter, SegmentError, Written};
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::CaptureInfos;

use log::{Clocks, Log};

/// Tables whose rows say that something happened at that time.
const RECORDS: [&str; 6] = ["kernels", "memcpys", "nvtx_ranges", "nixl_transfers", "nixl_notifs", "api_calls"];

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// The segment.
    pub written: Option<Written>,
    /// Requests of the log.
    pub requests: usize,
    /// Those whose times were wall clock, and were put on the recording's clock.
    pub converted: usize,
    /// Those that were not being served while the recording ran.
    pub outside: usize,
    /// Those that had no first token.
    pub failed: usize,
    /// Lines that tell of no request.
    pub notes: usize,
}

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
    #[error(
        "{path}, line {line}: {why}; a line is an object with `request`, `start_ns` (CLOCK_MONOTONIC of the recording host, ns) or \
         `t0` (wall clock, s), and `ttft_s` (or `error`)"
    )]
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
pub fn import(log: &Path, run: &str, host: Option<&str>) -> Result<Imported, ClientError> {
    let opened = Run::open(run)?;
    let hosts = opened.hosts();
    let host = match host {
        Some(host) if hosts.contains(&host) => host,
        None if hosts.len() == 1 => hosts[0],
        _ => return Err(ClientError::Host { run: run.to_owned(), hosts: hosts.join(", ") }),
    };
    let host = host.to_owned();
    let of_host = opened.of_host(&host);
    let clocks = clocks(&of_host)?;
    let text = std::fs::read_to_string(log).map_err(|error| ClientError::Io { path: log.to_owned(), error })?;
    let log_lines =
        Log::read(&text, &clocks).map_err(|(line, why)| ClientError::Line { path: log.to_owned(), line, why })?;
    let Log { spans, converted, outside, failed, notes, requests } = log_lines;
    if spans.is_empty() {
        return Err(ClientError::Empty(log.to_owned()));
    }
    if !opened.root.is_dir() {
        return Err(ClientError::Elsewhere(run.to_owned()));
    }
    let writer = concat!("kvpath ", env!("CARGO_PKG_VERSION"));
    let mut writer = RunWriter::new(opened.root.join(IMPORTED), &host, writer, clocks.wall_at_zero_ns).imported();
    let written = writer.write("client", &spans, 0)?;
    Ok(Imported { written, requests, converted, outside, failed, notes })
}

/// The clocks of what a host recorded.
fn clocks(of_host: &Run) -> Result<Clocks, LoadError> {
    let mut wall_at_zero_ns = of_host.segments.iter().find_map(|segment| segment.meta.wall_at_zero_ns);
    if wall_at_zero_ns.is_none() {
        let info: CaptureInfos = of_host.table()?;
        let row = info.key.iter().position(|key| key == "wall_at_zero_ns");
        wall_at_zero_ns = row.and_then(|row| info.value[row].parse().ok());
    }
    // What clients told earlier is no record, and neither is what was true before the recording began.
    let own = of_host.segments.iter().filter(|segment| RECORDS.contains(&segment.meta.table.as_str()));
    let extents = own.filter_map(|segment| segment.extent);
    let extent = extents.reduce(|all, own| (all.0.min(own.0), all.1.max(own.1)));
    Ok(Clocks { wall_at_zero_ns, extent })
}
