//! What a process did and when, in its own words.
//!
//! A truth file is text: a line of column names, then a line an action, tab-separated, sorted by `start_ns`. Times are
//! `CLOCK_MONOTONIC` ns. A field that does not apply is empty.
//!
//! | column | meaning |
//! |---|---|
//! | `pid`, `tid` | who |
//! | `agent` | its NIXL agent |
//! | `what` | see below |
//! | `start_ns`, `end_ns` | just before and just after the call or the work |
//! | `request` | request id of the decode side |
//! | `peer` | the other end's agent |
//! | `result` | what the call said, or the text of a notification |
//! | `bytes` | payload, or size of a region |
//! | `descriptors` | descriptors asked for |
//! | `detail` | address of a region; `chunk=N`, `layer=N`; number of polls; `tokens=N` |
//!
//! `what`: `agent` (constructor and backend), `register`, `make`, `post`, `poll_pending_first`, `poll_pending_last`, `poll_done`,
//! `release`, `notif_sent` (genNotif), `notif_taken` (getNotifs gave it); of a stage `take` (activations of the one before), `chunk`
//! (all of its layers on one chunk, to the end, and what is posted between them), `layer` (one of these; on a GPU, when it was launched,
//! unless each is handed over),
//! `give` (activations to the next); of a decode worker `decode_step`, `verified` (it compared every byte; `bytes` of them were right);
//! of the router `ttft` (a request came, its first token came); `fault` (what was planted: `host_pause`, `fail_request`,
//! `kill_decode`; a layer that is slow has result `slow_layer`). A process with `--skew` writes its own clock's times.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::ffi::{now_ns, thread_id};

/// Names of the columns.
const COLUMNS: &str = "pid\ttid\tagent\twhat\tstart_ns\tend_ns\trequest\tpeer\tresult\tbytes\tdescriptors\tdetail";

/// What is known of an action beside its time.
#[derive(Debug, Clone, Default)]
pub struct ActionInfo<'a> {
    /// Request.
    pub request: &'a str,
    /// Peer.
    pub peer: &'a str,
    /// Result.
    pub result: &'a str,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Descriptors.
    pub descriptors: Option<usize>,
    /// Detail.
    pub detail: String,
}

/// Start and end of an action.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Start, ns.
    pub start_ns: i64,
    /// End, ns.
    pub end_ns: i64,
}

/// Does something and says when.
pub fn timed<T>(act: impl FnOnce() -> T) -> (Span, T) {
    let start_ns = now_ns();
    let value = act();
    (Span { start_ns, end_ns: now_ns() }, value)
}

/// The truth of one process. Each line is written at once, so that a killed process leaves what it did.
#[derive(Debug)]
pub struct Truth {
    file: File,
    agent: String,
}

/// Where a process of a run keeps its truth.
pub fn part(dir: &Path, agent: &str) -> PathBuf {
    dir.join(format!("truth-{agent}.tsv"))
}

impl Truth {
    /// Of the process with that agent.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(dir: &Path, agent: &str) -> anyhow::Result<Self> {
        let path = part(dir, agent);
        let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { file, agent: agent.to_owned() })
    }

    /// Writes an action down.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn say(&mut self, what: &str, span: Span, about: &ActionInfo<'_>) -> anyhow::Result<()> {
        let line = line(&self.agent, what, span, about);
        self.file.write_all(line.as_bytes()).context("writing the truth")
    }
}

fn line(agent: &str, what: &str, span: Span, about: &ActionInfo<'_>) -> String {
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let mut line = String::new();
    let _ = writeln!(
        line,
        "{}\t{}\t{agent}\t{what}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        std::process::id(),
        thread_id(),
        span.start_ns,
        span.end_ns,
        about.request,
        about.peer,
        about.result,
        number(about.bytes),
        number(about.descriptors.map(|count| count as u64)),
        about.detail
    );
    line
}

/// The parts of a run as one file.
///
/// # Errors
/// A part cannot be read, or the file cannot be written.
pub fn merge(parts: &[PathBuf], into: &Path) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for part in parts {
        let text = std::fs::read_to_string(part).with_context(|| format!("{}", part.display()))?;
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort_by_key(|line| line.split('\t').nth(4).and_then(|ns| ns.parse::<i64>().ok()).unwrap_or(i64::MAX));
    let text = format!("{COLUMNS}\n{}\n", lines.join("\n"));
    std::fs::write(into, text).with_context(|| format!("{}", into.display()))
}

/// What a whole truth says of the time to first token, in words.
///
/// # Errors
/// It cannot be read.
pub fn ttft(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let times = text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|fields| fields[3] == "ttft");
    let mut us: Vec<i64> =
        times.filter_map(|f| Some((f[5].parse::<i64>().ok()? - f[4].parse::<i64>().ok()?) / 1000)).collect();
    us.sort_unstable();
    let Some(last) = us.last() else { bail!("{} holds no request", path.display()) };
    Ok(format!(
        "TTFT p50 {}.{:03} ms, most {}.{:03} ms",
        us[us.len() / 2] / 1000,
        us[us.len() / 2] % 1000,
        last / 1000,
        last % 1000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_columns_and_merge_by_time() {
        let dir = tempfile::tempdir().unwrap();
        for (agent, at) in [("b", 20), ("a", 10)] {
            let mut truth = Truth::create(dir.path(), agent).unwrap();
            let about = ActionInfo { request: "r", bytes: Some(5), ..ActionInfo::default() };
            truth.say("post", Span { start_ns: at, end_ns: at + 1 }, &about).unwrap();
        }
        let into = dir.path().join("truth.tsv");
        merge(&[part(dir.path(), "b"), part(dir.path(), "a")], &into).unwrap();
        let text = std::fs::read_to_string(&into).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.len() == 12), "{text}");
        assert_eq!((rows[1][2], rows[2][2], rows[1][4], rows[1][9]), ("a", "b", "10", "5"));
    }
}
