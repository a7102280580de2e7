//! What each source does with its libraries, processes and rings, until it is written as `source_states`.

use std::collections::HashMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::{RecordingState, SourceState, SourceStates, SubjectKind};

/// What a state is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The source.
    pub source: &'static str,
    /// What it is.
    pub kind: SubjectKind,
    /// Which one: a path, a pid, or the name of a group.
    pub name: String,
}

impl Subject {
    /// A subject of a source.
    pub fn new(source: &'static str, kind: SubjectKind, name: impl Into<String>) -> Self {
        Self { source, kind, name: name.into() }
    }

    /// A library.
    pub fn library(source: &'static str, path: impl Into<String>) -> Self {
        Self::new(source, SubjectKind::Library, path)
    }

    /// A source as a whole.
    pub fn source(source: &'static str) -> Self {
        Self::new(source, SubjectKind::Source, source)
    }

    /// A process.
    pub fn process(source: &'static str, pid: i32) -> Self {
        Self::new(source, SubjectKind::Process, pid.to_string())
    }
}

/// All states of a recording, in the order in which they began.
#[derive(Debug, Default)]
pub struct States {
    rows: Vec<(Subject, Row)>,
    /// The rows that hold still.
    open: HashMap<Subject, usize>,
    has_changed: bool,
}

#[derive(Debug)]
struct Row {
    is: RecordingState,
    since_ns: i64,
    until_ns: Option<i64>,
    reason: String,
}

impl States {
    /// A subject is in a state from now on; gives whether it was not before.
    pub fn set(&mut self, now_ns: i64, subject: Subject, state: RecordingState, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        if let Some(at) = self.open.get(&subject) {
            let before = &self.rows[*at].1;
            if (before.is, &before.reason) == (state, &reason) {
                return false;
            }
        }
        self.end(now_ns, &subject);
        self.has_changed = true;
        self.open.insert(subject.clone(), self.rows.len());
        self.rows.push((subject, Row { is: state, since_ns: now_ns, until_ns: None, reason }));
        true
    }

    /// A subject is gone.
    pub fn end(&mut self, now_ns: i64, subject: &Subject) {
        if let Some(at) = self.open.remove(subject) {
            self.rows[at].1.until_ns = Some(now_ns);
            self.has_changed = true;
        }
    }

    /// The recording is over.
    pub fn end_all(&mut self, now_ns: i64) {
        for at in std::mem::take(&mut self.open).into_values() {
            self.rows[at].1.until_ns = Some(now_ns);
            self.has_changed = true;
        }
    }

    /// How many subjects ever were in a state for which that holds.
    #[must_use]
    pub fn count(&self, holds: impl Fn(RecordingState) -> bool) -> usize {
        self.rows
            .iter()
            .filter(|(_, row)| holds(row.is))
            .map(|(subject, _)| subject)
            .collect::<std::collections::HashSet<_>>()
            .len()
    }

    /// The table as a whole, if anything has changed since the last call.
    pub fn rows_if_changed(&mut self) -> Option<SourceStates> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        let mut rows = SourceStates::default();
        for (subject, Row { is: state, since_ns, until_ns, reason }) in &self.rows {
            rows.push(SourceState {
                source: subject.source.into(),
                subject: subject.kind.word().into(),
                name: subject.name.clone(),
                state: state.word().into(),
                since_ns: *since_ns,
                until_ns: *until_ns,
                reason: (!reason.is_empty()).then(|| reason.clone()),
            });
        }
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_holds_until_the_next_and_is_said_once() {
        let mut states = States::default();
        let polls = || Subject::new("nixl", SubjectKind::Group, "polls");
        assert!(states.set(1, polls(), RecordingState::Recording, ""));
        assert!(!states.set(2, polls(), RecordingState::Recording, ""));
        assert!(states.set(3, polls(), RecordingState::Shed, "too dear"));
        assert!(states.set(4, Subject::process("cupti", 7), RecordingState::Recording, "level kernel"));
        let rows = states.rows_if_changed().unwrap();
        assert_eq!(rows.since_ns, [1, 3, 4]);
        assert_eq!(rows.until_ns, [Some(3), None, None]);
        assert_eq!(rows.reason, [None, Some("too dear".to_owned()), Some("level kernel".to_owned())]);
        assert!(states.rows_if_changed().is_none());
        states.end(5, &Subject::process("cupti", 7));
        states.end_all(9);
        assert_eq!(states.rows_if_changed().unwrap().until_ns, [Some(3), Some(9), Some(5)]);
        assert_eq!(states.count(RecordingState::is_loss), 1);
    }
}
