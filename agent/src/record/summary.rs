//! The last words of a recording, on stderr.

use std::collections::BTreeSet;
use std::path::Path;

use crate::capture::nixl::assemble::Totals;

/// What a recording lacks.
#[derive(Debug, Clone, Copy)]
pub struct Lost {
    /// Records.
    pub dropped: u64,
    /// How often probes were taken off for what they cost.
    pub sheds: u32,
}

/// Prints one paragraph.
pub fn print(processes: usize, gpu_rows: u64, totals: Totals, lost: Lost, root: &Path) {
    eprintln!("{}", text(processes, gpu_rows, totals, lost, root));
}

fn text(processes: usize, gpu_rows: u64, totals: Totals, lost: Lost, root: &Path) -> String {
    let Lost { dropped, sheds } = lost;
    let lost = match (dropped, sheds) {
        (0, 0) => "nothing lost".to_owned(),
        (0, _) => format!("no record lost, but probes were off {sheds} times for what they cost (`kvpath check`)"),
        (_, 0) => format!("{dropped} records lost (table `drops`)"),
        _ => format!("{dropped} records lost, and probes were off {sheds} times for what they cost (`kvpath check`)"),
    };
    let gpu = if gpu_rows == 0 { String::new() } else { format!("{gpu_rows} GPU and NVTX records, ") };
    format!(
        "kvpath-agent: recorded {processes} processes, {gpu}{} transfers ({} done, {}), {} notifications sent and {} arrived, {lost}; run in {}",
        totals.transfers,
        totals.done,
        bytes(totals.bytes),
        totals.notifs_sent,
        totals.notifs_arrived,
        root.display(),
    )
}

/// Says which processes recorded, and sent nothing of the GPU.
pub fn warn_of_silence(silent: &BTreeSet<i32>) {
    if let Some(text) = silence(silent) {
        eprintln!("{text}");
    }
}

fn silence(silent: &BTreeSet<i32>) -> Option<String> {
    let pids = silent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!silent.is_empty()).then(|| {
        format!(
            "kvpath-agent: no GPU record came from pid {pids}, though CUPTI was on and the process made calls or NVTX \
             ranges: it did not use its GPU, or CUPTI is at fault (table `capture_info`, key `process.PID.silence`)"
        )
    })
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_processes_are_named() {
        assert_eq!(silence(&BTreeSet::new()), None);
        let said = silence(&BTreeSet::from([12, 7])).unwrap();
        assert!(said.contains("from pid 7, 12, though CUPTI was on"), "{said}");
    }

    #[test]
    fn the_summary_names_losses_and_the_folder() {
        let totals = Totals { transfers: 6, done: 5, bytes: 3 << 20, notifs_sent: 12, notifs_arrived: 11 };
        let lost = |dropped, sheds| Lost { dropped, sheds };
        let line = text(3, 0, totals, lost(0, 0), Path::new("run"));
        assert_eq!(
            line,
            "kvpath-agent: recorded 3 processes, 6 transfers (5 done, 3.0 MiB), 12 notifications sent and 11 arrived, nothing lost; run in run"
        );
        assert!(text(0, 5, totals, lost(7, 0), Path::new("run")).contains("7 records lost (table `drops`)"));
        assert!(
            text(0, 5, totals, lost(7, 2), Path::new("run"))
                .contains("0 processes, 5 GPU and NVTX records, 6 transfers")
        );
        assert!(
            text(0, 5, totals, lost(0, 2), Path::new("run")).contains("no record lost, but probes were off 2 times")
        );
        assert_eq!((bytes(0), bytes(1023), bytes(1 << 40)), ("0 B".into(), "1023 B".into(), "1.0 TiB".into()));
    }
}
