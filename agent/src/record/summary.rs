//! The last words of a recording.

use std::path::Path;

/// What a recording lacks.
#[derive(Debug, Clone, Copy)]
pub struct Lost {
    /// Records.
    pub dropped: u64,
    /// How often probes were taken off for what they cost.
    pub sheds: u32,
}

/// One paragraph; `parts` is what each source recorded.
pub fn text(processes: usize, parts: &[String], lost: Lost, root: &Path) -> String {
    let Lost { dropped, sheds } = lost;
    let lost = match (dropped, sheds) {
        (0, 0) => "nothing lost".to_owned(),
        (0, _) => format!("no record lost, but probes were off {sheds} times for what they cost (`kvpath check`)"),
        (_, 0) => format!("{dropped} records lost (table `drops`)"),
        _ => format!("{dropped} records lost, and probes were off {sheds} times for what they cost (`kvpath check`)"),
    };
    let parts: String = parts.iter().map(|part| format!("{part}, ")).collect();
    format!("recorded {processes} processes, {parts}{lost}; run in {}", root.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_losses_and_the_folder() {
        let nixl = || "6 transfers (5 done, 3.0 MiB), 12 notifications sent and 11 arrived".to_owned();
        let lost = |dropped, sheds| Lost { dropped, sheds };
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
    }
}
