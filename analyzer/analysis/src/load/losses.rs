//! What a recording itself says that it lacks: counted drops, files cut off in writing, probes that were off, no end.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfos, Drop, Drops};

use super::Run;
use crate::error::LoadError;

/// Losses that the recording tells of.
#[derive(Debug, Default)]
pub struct Losses {
    /// Counted losses.
    pub drops: Vec<Drop>,
    /// Files whose writing was cut off.
    pub partial: Vec<String>,
    /// What was not recorded, and why.
    pub notes: Vec<String>,
}

/// Words by which the recorder says that something was not recorded.
const OFF: [&str; 4] = ["probes off", "cannot be opened", "off:", "off at "];

impl Losses {
    /// Reads them.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn of(run: &Run) -> Result<Self, LoadError> {
        let drops: Drops = run.table()?;
        let info: CaptureInfos = run.table()?;
        Ok(Self {
            drops: (0..drops.len()).map(|row| drops.row(row)).collect(),
            partial: run.partial.iter().map(|path| path.display().to_string()).collect(),
            notes: notes(&info),
        })
    }

    /// Whether nothing is lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drops.is_empty() && self.partial.is_empty() && self.notes.is_empty()
    }

    /// All of them for people, a line each; drops of one cause are added up.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut sums: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
        for drop in &self.drops {
            let table = drop.table_name.as_deref().unwrap_or("several tables");
            let sum = sums.entry((&drop.source, table, &drop.reason)).or_default();
            *sum = sum.saturating_add(drop.count);
        }
        let counted = sums
            .into_iter()
            .map(|((source, table, reason), count)| format!("{count} records of {source} ({table}) dropped: {reason}"));
        let cut = self
            .partial
            .iter()
            .map(|path| format!("{path}: its writing was cut off; the segments before it are whole"));
        counted.chain(cut).chain(self.notes.iter().cloned()).collect()
    }
}

fn notes(info: &CaptureInfos) -> Vec<String> {
    // What was said last of a key holds: the table is written anew while recording.
    let mut said: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for row in 0..info.len() {
        said.insert((&info.source[row], &info.key[row]), &info.value[row]);
    }
    let mut notes = Vec::new();
    if said.contains_key(&("capture", "started_ns")) && !said.contains_key(&("capture", "ended_ns")) {
        notes.push(
            "the recording has no end: the agent was killed, and what came after its last segment is missing"
                .to_owned(),
        );
    }
    let off = said.iter().filter(|(_, value)| OFF.iter().any(|word| value.contains(word)));
    notes.extend(off.map(|((_, key), value)| format!("{key}: {value}")));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::tables::capture::CaptureInfo;

    fn info(pairs: &[(&str, &str)]) -> CaptureInfos {
        let mut info = CaptureInfos::default();
        for (key, value) in pairs {
            info.push(CaptureInfo { source: "capture".into(), key: (*key).to_owned(), value: (*value).to_owned() });
        }
        info
    }

    #[test]
    fn a_recording_without_end_and_probes_that_were_off_are_said() {
        assert!(notes(&info(&[("started_ns", "1"), ("ended_ns", "2"), ("kernel", "6.18")])).is_empty());
        assert!(notes(&info(&[])).is_empty(), "an import has neither");
        let said = notes(&info(&[("started_ns", "1"), ("library x", "unknown build: probes off (known: NIXL 1.5.1)")]));
        assert_eq!(said.len(), 2);
        let shed = [
            ("budget polls off at 7", "off at 7 ns for 10 s: probes cost 9 % of a core"),
            ("budget polls on", "on again at 8 ns"),
        ];
        assert_eq!(notes(&info(&shed)).len(), 1);
        assert!(said[0].contains("no end") && said[1].starts_with("library x: unknown build"), "{said:?}");
    }

    #[test]
    fn drops_of_one_cause_are_added_up() {
        let drop = |count| Drop {
            time_ns: 1,
            source: "nixl".into(),
            table_name: Some("nixl_transfers".into()),
            reason: "ring buffer full".into(),
            count,
            process_id: None,
        };
        let losses = Losses { drops: vec![drop(3), drop(4)], ..Losses::default() };
        assert_eq!(losses.lines(), ["7 records of nixl (nixl_transfers) dropped: ring buffer full"]);
    }
}
