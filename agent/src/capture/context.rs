//! What the sources of a recording share.

use kvpath_schema::segment::SegmentError;
use kvpath_schema::tables::capture::{RecordingState, SubjectKind};

use crate::devices::DeviceIds;
use crate::processes::ProcessTable;
use crate::segments::{Facts, Segments};
use crate::states::{States, Subject};

/// Its time, the processes, what is known of it, and where rows go.
pub struct Context {
    /// The time of this round, ns.
    pub now_ns: i64,
    /// The traced processes.
    pub processes: ProcessTable,
    /// Numbers of GPUs.
    pub devices: DeviceIds,
    /// Facts about the recording.
    pub facts: Facts,
    /// What is recorded, and what is not.
    pub states: States,
    /// Where rows go.
    pub segments: Segments,
}

impl Context {
    /// Of a recording that begins.
    #[must_use]
    pub fn new(now_ns: i64, segments: Segments) -> Self {
        Self {
            now_ns,
            processes: ProcessTable::default(),
            devices: DeviceIds::default(),
            facts: Facts::default(),
            states: States::default(),
            segments,
        }
    }

    /// A subject is in a state from now on. What is new is logged; gives whether it is.
    pub fn set(&mut self, subject: Subject, state: RecordingState, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        let line = format!("{}: {}: {reason}", shown(&subject), words(&subject, state));
        let is_new = self.states.set(self.now_ns, subject, state, reason);
        if is_new {
            match state {
                _ if state.is_loss() => tracing::warn!("{line}"),
                RecordingState::Recording => tracing::info!("{line}"),
                _ => tracing::debug!("{line}"),
            }
        }
        is_new
    }

    /// Writes what is known of processes and of the recording itself, where that has changed.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(&mut self) -> Result<(), SegmentError> {
        self.segments.write(&mut self.processes, &mut self.facts, &mut self.states)
    }
}

/// A subject for people, who know a path for what it is.
fn shown(subject: &Subject) -> String {
    match subject.kind {
        SubjectKind::Process => format!("pid {}", subject.name),
        _ => subject.name.clone(),
    }
}

fn words(subject: &Subject, state: RecordingState) -> &'static str {
    match (subject.kind, state) {
        (SubjectKind::Library | SubjectKind::Probe, state) if state.is_loss() => "probes off",
        (SubjectKind::Library, RecordingState::Recording) => "attached",
        (_, RecordingState::NotDrained) => "not drained",
        (_, state) => state.word(),
    }
}
