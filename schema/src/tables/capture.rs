//! What the recording itself was, and what it lacks.

use crate::cell::Name;

crate::define_table! {
    /// Records that were lost, by cause. No row means none: every source counts its losses.
    Raw drops: Drop, Drops, sorted by [time_ns] {
        /// When the loss was counted, ns.
        time_ns: i64 => Delta,
        /// Source: `nixl`, `cupti`, `nvtx`, `process`, or an importer.
        source: Name => Dict,
        /// Table that lacks the rows; null if several or unknown.
        table_name: Option<Name> => Dict,
        /// Why.
        reason: Name => Dict,
        /// How many records.
        count: i64 => Plain,
        /// Process that lost them; null if unknown.
        process_id: Option<i64> => Dict,
    }
}

crate::define_table! {
    /// A fact about the recording: tool and kernel versions, probes that were on or off and why, clock, settings.
    Raw capture_info: CaptureInfo, CaptureInfos, sorted by [source, key] {
        /// Source that says it.
        source: Name => Dict,
        /// What.
        key: String => Plain,
        /// Value.
        value: String => Plain,
    }
}

crate::define_table! {
    /// What each source did, with what, and from when to when: what was recorded, and what was not and why. A run that was recorded
    /// before this table was there, or imported, has no rows; `capture_info` says it in words.
    Raw source_states: SourceState, SourceStates, sorted by [source, since_ns] {
        /// Source: `nixl`, `cupti`, `ucx`, `rdma`, `sockets`, `sched`, `telemetry`, `clock`.
        source: Name => Dict,
        /// What it is about: `source` (all of it), `library`, `probe`, `group` (of probes), `process`, `ring` or `file`.
        subject: Name => Dict,
        /// Which: a path, an OS pid, the name of a group; of a `source` its own name.
        name: String => Plain,
        /// `recording`; `waiting` (there is nothing to record yet), `off` (so it was asked for), `silent` (it records, and nothing of
        /// the GPU comes); or, where records are missing: `shed` (taken off for what it cost), `unknown_build`, `contradicted` (taken off
        /// because the layout that was assumed of it is not its own), `spared` (left alone for the sake of processes confined by seccomp), `refused` (by the kernel, or by CUPTI), `unavailable` (what it needs is
        /// not there), `unreadable`, `not_drained` (another agent has it), `displaced` (another CUPTI client has CUPTI).
        state: Name => Dict,
        /// Since when, ns.
        since_ns: i64 => Plain,
        /// Until when, ns; null: the recording did not say that it ended.
        until_ns: Option<i64> => Plain,
        /// Why, or how, in words.
        reason: Option<String> => Plain,
    }
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[doc = $variant_doc])+ $variant, )+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[ $( Self::$variant ),+ ];

            /// The word for it in tables.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }

            /// The one with that word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }
    };
}

words! {
    /// What a row of `source_states` is about.
    SubjectKind {
        /// The source as a whole.
        Source = "source",
        /// A library that is probed.
        Library = "library",
        /// One probe of a library.
        Probe = "probe",
        /// Probes that are taken off together.
        Group = "group",
        /// A process.
        Process = "process",
        /// A ring of a process.
        Ring = "ring",
        /// A file that is read.
        File = "file",
    }
}

words! {
    /// What a source does with a subject: the states of `source_states`.
    RecordingState {
        /// What it does is recorded.
        Recording = "recording",
        /// There is nothing to record yet.
        Waiting = "waiting",
        /// Not recorded, as was asked for.
        Off = "off",
        /// It records, and nothing of the GPU comes.
        Silent = "silent",
        /// Taken off for what it cost.
        Shed = "shed",
        /// A build that is not known.
        UnknownBuild = "unknown_build",
        /// The layout that was assumed of it is not its own.
        Contradicted = "contradicted",
        /// Left alone for the sake of processes confined by seccomp.
        Spared = "spared",
        /// The kernel or CUPTI refuses.
        Refused = "refused",
        /// What it needs is not there.
        Unavailable = "unavailable",
        /// It cannot be opened or read.
        Unreadable = "unreadable",
        /// Another agent has it.
        NotDrained = "not_drained",
        /// Another CUPTI client has CUPTI.
        Displaced = "displaced",
    }
}

impl RecordingState {
    /// Whether the run lacks records for it that it should have.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        match self {
            Self::Recording | Self::Waiting | Self::Off | Self::Silent => false,
            Self::Shed
            | Self::UnknownBuild
            | Self::Contradicted
            | Self::Spared
            | Self::Refused
            | Self::Unavailable
            | Self::Unreadable
            | Self::NotDrained
            | Self::Displaced => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Columns as _;

    #[test]
    fn every_state_has_a_word_of_its_own_and_is_documented() {
        let docs = |column| SourceStates::DEF.column(column).unwrap().doc;
        for state in RecordingState::ALL {
            assert_eq!(RecordingState::from_word(state.word()), Some(*state));
            assert!(docs("state").contains(&format!("`{}`", state.word())), "{state:?}");
        }
        for subject in SubjectKind::ALL {
            assert_eq!(SubjectKind::from_word(subject.word()), Some(*subject));
            assert!(docs("subject").contains(&format!("`{}`", subject.word())), "{subject:?}");
        }
        assert_eq!(RecordingState::from_word("probes off"), None);
    }
}
