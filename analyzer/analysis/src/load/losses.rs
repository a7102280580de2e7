//! What a recording itself says that it lacks: counted drops, files cut off in writing, what was not recorded, no end.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::table::{Columns, TableDef};
use kvpath_schema::tables::capture::{CaptureInfos, Drop, Drops, RecordingState, SourceState, SourceStates};

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
    /// Sources of the recorder that were off, or lost something, for a time.
    pub sources: BTreeSet<String>,
}

impl Losses {
    /// Reads them.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn of(run: &Run) -> Result<Self, LoadError> {
        let drops: Drops = run.table()?;
        let hosts = run.hosts();
        let mut notes = Vec::new();
        let mut sources = BTreeSet::new();
        for host in &hosts {
            let of_host = run.of_host(host);
            let states: SourceStates = of_host.table()?;
            sources.extend(losing(&states).map(|state| state.source.to_string()));
            let found = notes_of(&states, &of_host.table()?);
            let prefix = if hosts.len() > 1 { format!("{host}: ") } else { String::new() };
            notes.extend(found.into_iter().map(|note| format!("{prefix}{note}")));
        }
        Ok(Self {
            drops: (0..drops.len()).map(|row| drops.row(row)).collect(),
            partial: run.partial.iter().map(|path| path.display().to_string()).collect(),
            notes,
            sources,
        })
    }

    /// Whether nothing is lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drops.is_empty() && self.partial.is_empty() && self.notes.is_empty()
    }

    /// Whether a source, or one of its tables, is known to lack records.
    #[must_use]
    pub fn has_lost(&self, source: &str, tables: &[&TableDef]) -> bool {
        let is_of = |drop: &Drop| match drop.table_name.as_deref() {
            Some(name) => tables.iter().any(|table| table.name == name),
            None => &*drop.source == source,
        };
        self.drops.iter().any(is_of) || self.sources.contains(source) || !self.partial.is_empty()
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

/// What one host's recording says in words or states.
fn notes_of(states: &SourceStates, info: &CaptureInfos) -> Vec<String> {
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
    notes.extend(if states.is_empty() { notes_by_words(&said) } else { notes_by_states(states) });
    notes
}

/// What was not recorded, of runs from before there were states: told by words that the recorder used for it, some of which are
/// not among these.
fn notes_by_words(said: &BTreeMap<(&str, &str), &str>) -> Vec<String> {
    const OFF: [&str; 4] = ["probes off", "cannot be opened", "off:", "off at "];
    let off = said.iter().filter(|(_, value)| OFF.iter().any(|word| value.contains(word)));
    off.map(|((_, key), value)| format!("{key}: {value}")).collect()
}

/// What was not recorded, by its state. One that this version does not know counts: a newer recorder may lack records for it.
fn notes_by_states(states: &SourceStates) -> Vec<String> {
    // The table is written anew while recording, so a run that was cut off may hold a row twice; the later one knows more.
    let mut rows: BTreeMap<(&str, i64, &str, &str, &str), SourceState> = BTreeMap::new();
    for at in 0..states.len() {
        let key = (
            &*states.source[at],
            states.since_ns[at],
            &*states.subject[at],
            states.name[at].as_str(),
            &*states.state[at],
        );
        let row = states.row(at);
        rows.entry(key).and_modify(|known| known.until_ns = known.until_ns.or(row.until_ns)).or_insert(row);
    }
    rows.into_values().filter(is_loss).map(|row| note(&row)).collect()
}

/// The states in which records are lost.
fn losing(states: &SourceStates) -> impl Iterator<Item = SourceState> + '_ {
    (0..states.len()).map(|row| states.row(row)).filter(is_loss)
}

fn is_loss(row: &SourceState) -> bool {
    RecordingState::from_word(&row.state).is_none_or(RecordingState::is_loss)
}

fn note(row: &SourceState) -> String {
    let SourceState { source, subject, name, state, since_ns, until_ns, reason } = row;
    let until = until_ns.map_or_else(|| "the end".to_owned(), |ns| format!("{ns} ns"));
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{source} {subject} {name}: {state} from {since_ns} ns to {until}{reason}")
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

    fn state(source: &str, subject: &str, name: &str, state: &str, until_ns: Option<i64>, reason: &str) -> SourceState {
        SourceState {
            source: source.into(),
            subject: subject.into(),
            name: name.to_owned(),
            state: state.into(),
            since_ns: 5,
            until_ns,
            reason: Some(reason.to_owned()),
        }
    }

    fn states(rows: &[SourceState]) -> SourceStates {
        let mut states = SourceStates::default();
        for row in rows {
            states.push(row.clone());
        }
        states
    }

    /// Notes of a run without states.
    fn old_notes(pairs: &[(&str, &str)]) -> Vec<String> {
        notes_of(&SourceStates::default(), &info(pairs))
    }

    #[test]
    fn a_recording_without_end_and_probes_that_were_off_are_said() {
        assert!(old_notes(&[("started_ns", "1"), ("ended_ns", "2"), ("kernel", "6.18")]).is_empty());
        assert!(old_notes(&[]).is_empty(), "an import has neither");
        let said = old_notes(&[("started_ns", "1"), ("library x", "unknown build: probes off (known: NIXL 1.5.1)")]);
        assert_eq!(said.len(), 2);
        let shed = [
            ("budget polls off at 7", "off at 7 ns for 10 s: probes cost 9 % of a core"),
            ("budget polls on", "on again at 8 ns"),
        ];
        assert_eq!(old_notes(&shed).len(), 1);
        assert!(said[0].contains("no end") && said[1].starts_with("library x: unknown build"), "{said:?}");
    }

    #[test]
    fn what_no_word_tells_its_state_does() {
        let words = [
            ("ring./dev/shm/kvpath-0/7-9.ring", "not drained: another agent reads it"),
            ("budget polls cannot go on again at 7", "cannot go on again at 7 ns"),
            ("process.7.state", "CUPTI refused to record"),
        ];
        assert_eq!(old_notes(&words), [""; 0], "none of the words of runs without states is in these");
        let typed = states(&[
            state("cupti", "ring", "/dev/shm/kvpath-0/7-9.ring", "not_drained", Some(9), "another agent reads it"),
            state("nixl", "group", "polls", "refused", None, "cannot go on again"),
            state("cupti", "process", "7", "refused", Some(9), "CUPTI refused to record"),
            state("cupti", "process", "8", "recording", Some(9), "level kernel"),
            state("cupti", "process", "9", "off", Some(9), "level off"),
            state("nixl", "source", "nixl", "recording", Some(9), ""),
        ]);
        assert_eq!(
            notes_of(&typed, &info(&words)),
            [
                "cupti process 7: refused from 5 ns to 9 ns: CUPTI refused to record",
                "cupti ring /dev/shm/kvpath-0/7-9.ring: not_drained from 5 ns to 9 ns: another agent reads it",
                "nixl group polls: refused from 5 ns to the end: cannot go on again",
            ]
        );
    }

    #[test]
    fn a_row_that_a_cut_run_holds_twice_is_said_once_and_an_unknown_state_counts() {
        let row = |until_ns| state("nixl", "group", "polls", "shed", until_ns, "too dear");
        let twice = states(&[row(None), row(Some(9)), state("x", "library", "y", "asleep", None, "?")]);
        assert_eq!(
            notes_by_states(&twice),
            ["nixl group polls: shed from 5 ns to 9 ns: too dear", "x library y: asleep from 5 ns to the end: ?"]
        );
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
