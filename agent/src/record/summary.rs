//! The last words of a recording.

use std::path::Path;

/// How much a recording lost or left out.
#[derive(Debug, Clone, Copy)]
pub struct RecordingLoss {
    /// Records.
    pub dropped: u64,
    /// How often probes were taken off for what they cost.
    pub sheds: u32,
    /// Libraries, processes, rings and the like that were not recorded for another reason.
    pub left_out: usize,
}

/// One paragraph; `parts` is what each source recorded.
pub fn text(processes: usize, parts: &[String], lost: RecordingLoss, root: &Path) -> String {
    let RecordingLoss { dropped, sheds, left_out } = lost;
    let mut off = Vec::new();
    if sheds > 0 {
        off.push(format!("probes were off {sheds} times for what they cost"));
    }
    match left_out {
        0 => {}
        1 => off.push("1 library, process or ring was not recorded".to_owned()),
        _ => off.push(format!("{left_out} libraries, processes or rings were not recorded")),
    }
    let lost = match (dropped, off.join(", and ")) {
        (0, off) if off.is_empty() => "nothing lost".to_owned(),
        (_, off) if off.is_empty() => format!("{dropped} records lost (table `drops`)"),
        (0, off) => format!("no record lost, but {off} (`kvpath check`)"),
        (_, off) => format!("{dropped} records lost, and {off} (`kvpath check`)"),
    };
    let all = [parts, &[lost]].concat().join(", ");
    format!("recorded {processes} processes, {all}; run in {}", root.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_losses_and_the_folder() {
        let nixl = || "6 transfers (5 done, 3.0 MiB), 12 notifications sent and 11 arrived".to_owned();
        let lost = |dropped, sheds| RecordingLoss { dropped, sheds, left_out: 0 };
        let line = text(3, &[nixl()], lost(0, 0), Path::new("run"));
        assert_eq!(
            line,
            "recorded 3 processes, 6 transfers (5 done, 3.0 MiB), 12 notifications sent and 11 arrived, nothing lost; run in run"
        );
        let gpu = ["5 GPU and NVTX records".to_owned(), nixl()];
        let line = |lost| text(0, &gpu, lost, Path::new("run"));
        assert!(line(lost(7, 0)).contains("7 records lost (table `drops`)"));
        assert!(line(lost(7, 2)).contains("0 processes, 5 GPU and NVTX records, 6 transfers"));
        assert!(line(lost(0, 2)).contains("no record lost, but probes were off 2 times"));
        let left_out = line(RecordingLoss { left_out: 2, ..lost(0, 1) });
        let both =
            "but probes were off 1 times for what they cost, and 2 libraries, processes or rings were not recorded (";
        assert!(left_out.contains(both), "{left_out}");
        assert!(
            line(RecordingLoss { left_out: 1, ..lost(3, 0) })
                .contains("3 records lost, and 1 library, process or ring was not")
        );
    }
}
