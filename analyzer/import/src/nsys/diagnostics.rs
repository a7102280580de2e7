//! What Nsight Systems itself says went wrong: its losses are the run's.

use super::error::ImportError;
use super::file::Opened;
use super::read::{DIAGNOSTICS, pid};
use super::rows::{each, int, text};

/// `ENUM_DIAGNOSTIC_SEVERITY_LEVEL`: what is worth to be told.
const WARNING: i64 = 2;
const ERROR: i64 = 3;
/// `ENUM_DIAGNOSTIC_TIMESTAMP_SOURCE`: by the clock of the records.
const BY_TARGET: i64 = 1;

/// Words of those that tell of records that are missing. That a program made none, or that something was not asked for, is no loss.
const LOSS: [&str; 7] = ["lost", "dropped", "discarded", "not all", "truncated", "overflow", "missing"];

/// A warning or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// When, ns; 0 where that is not by the clock of the records.
    pub(super) time_ns: i64,
    /// What.
    pub(super) text: String,
    /// Of which process; 0 where of none.
    pub(super) process: i64,
    /// If it tells of a loss: the table, if it is one, and how many records, at least.
    pub(super) lost: Option<(Option<&'static str>, i64)>,
}

pub(super) fn read(opened: &Opened) -> Result<Vec<Said>, ImportError> {
    let mut found = Vec::new();
    let columns = ["timestamp", "timestampType", "severity!", "text!", "globalPid"];
    each(opened, DIAGNOSTICS, &columns, |row| {
        let severity = int(row, 2)?.unwrap_or(0);
        if severity != WARNING && severity != ERROR {
            return Ok(());
        }
        let (Some(text), by) = (text(row, 3)?, int(row, 1)?) else { return Ok(()) };
        let time_ns = int(row, 0)?.filter(|_| by == Some(BY_TARGET)).unwrap_or(0);
        let (lost, process) = (loss(&text), pid(int(row, 4)?.unwrap_or(0)));
        found.push(Said { time_ns, text, process, lost });
        Ok(())
    })?;
    Ok(found)
}

fn loss(text: &str) -> Option<(Option<&'static str>, i64)> {
    let lower = text.to_lowercase();
    if !LOSS.iter().any(|word| lower.contains(word)) {
        return None;
    }
    // A number of events or records, with at most a word between: other numbers are of processes.
    let words: Vec<&str> = lower.split_whitespace().collect();
    let is_count =
        |at: usize| words.iter().skip(at + 1).take(2).any(|w| w.starts_with("event") || w.starts_with("record"));
    let mut counts = words.iter().enumerate().filter(|(at, _)| is_count(*at));
    let count = counts.find_map(|(_, word)| word.parse::<i64>().ok()).unwrap_or(1);
    Some((lower.contains("nvtx").then_some("nvtx_ranges"), count.max(1)))
}

#[cfg(test)]
mod tests {
    use super::loss;

    #[test]
    fn what_tells_of_missing_records_is_a_loss() {
        assert_eq!(loss("Not all NVTX events might have been collected."), Some((Some("nvtx_ranges"), 1)));
        assert_eq!(loss("Dropped 1234 CUDA events: buffers were full"), Some((None, 1234)));
        assert_eq!(loss("Process 4711: not all CUDA events might have been collected."), Some((None, 1)));
        assert_eq!(loss("CUDA profiling stopped early, events may be missing"), Some((None, 1)));
        assert_eq!(loss("No NVTX events collected. Does the process use NVTX?"), None);
        assert_eq!(loss("Installed CUDA driver version (13.2) is not supported by this build"), None);
    }
}
