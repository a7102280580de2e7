//! The ring of one process.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use kvpath_ring::Reader;
use kvpath_schema::tables::capture::RecordingState;
use kvpath_schema::wire::ring::{Kind, Level, Loss, State, header};

use super::decode::{Decoder, ThreadFact};
use super::interned::InternedNames;
use super::rows::GpuRows;
use super::silence::{Silence, SilenceChange};
use crate::capture::Context;
use crate::losses::{Cause, Losses};
use crate::states::Subject;

/// A ring that is drained.
pub struct Tap {
    /// Its file.
    pub path: PathBuf,
    /// Reads it.
    pub reader: Reader<File>,
    /// Makes rows of it.
    pub decoder: Decoder,
    names: InternedNames,
    /// Pid on this host.
    pub pid: i32,
    process_id: i64,
    counted: HashMap<(Loss, Kind), u64>,
    damages: u64,
    /// What was last said of it.
    state: Option<(State, Option<Level>)>,
    silence: Silence,
}

impl Tap {
    /// A ring that was opened. What it lost until now is not this recording's, if it is older.
    pub fn new(path: PathBuf, reader: Reader<File>, pid: i32, process_id: i64, since_ns: i64, is_older: bool) -> Self {
        let losses = if is_older { reader.losses() } else { Vec::new() };
        Self {
            path,
            decoder: Decoder::new(process_id, since_ns),
            names: InternedNames::default(),
            pid,
            process_id,
            counted: losses.into_iter().map(|(loss, kind, count)| ((loss, kind), count)).collect(),
            damages: 0,
            state: None,
            silence: Silence::default(),
            reader,
        }
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// The ring cannot be read.
    pub fn drain(&mut self, now_ns: i64, rows: &mut GpuRows, context: &mut Context) -> std::io::Result<()> {
        let Self { reader, decoder, names, pid, silence, .. } = self;
        let Context { processes, devices, .. } = context;
        let mut asides = Vec::new();
        // Its first record finds them, if they are known at all.
        let mut asks_for_devices = decoder.devices.is_empty();
        let drained = reader.drain_with_names(u64::try_from(now_ns).unwrap_or(0), |record, there| {
            silence.saw(record.kind);
            if std::mem::take(&mut asks_for_devices) {
                let uuids = there.devices().unwrap_or_default();
                decoder.devices = uuids.into_iter().map(|uuid| devices.id(uuid)).collect();
            }
            let mut name = |id| names.get(id, || there.get(id).ok().flatten());
            asides.extend(decoder.take(&record, &mut name, rows));
        })?;
        let mut seen = HashSet::new();
        for aside in asides {
            match aside {
                ThreadFact::Thread(tid) if seen.insert(tid) => processes.saw_thread(*pid, tid),
                ThreadFact::Thread(_) => {}
                ThreadFact::ThreadName(tid, name) => processes.name_thread(*pid, tid, name),
            }
        }
        self.damages += drained.damages;
        Ok(())
    }

    /// What was lost since the last look, and how CUPTI is.
    pub fn count(&mut self, losses: &mut Losses, context: &mut Context) {
        if self.reader.look().is_err() {
            return;
        }
        for (loss, kind, count) in self.reader.losses() {
            let before = self.counted.insert((loss, kind), count).unwrap_or(0);
            // A counter that goes back is a producer's lie.
            losses.add(self.cause(table_of(kind), loss.text()), count.saturating_sub(before));
        }
        for (count, reason) in [
            (std::mem::take(&mut self.damages), "damaged ring: records up to its head were skipped"),
            (std::mem::take(&mut self.decoder.unknown), "records that this agent does not know"),
        ] {
            losses.add(self.cause(None, reason), count);
        }
        let (state, refused) = (self.reader.state(), self.reader.refused());
        if self.state.replace((state, refused)) != Some((state, refused)) {
            self.say(state, context);
            if state == State::Aside {
                losses.add(self.cause(None, state.text()), 1);
            }
        }
    }

    /// Whether it records and nothing of the GPU comes, as of the last look.
    pub fn listen(&mut self, now_ns: i64, silent: &mut BTreeSet<i32>, context: &mut Context) {
        let is_recording = self.reader.state() == State::Running && self.reader.level() != Level::Off;
        let key = format!("process.{}.silence", self.pid);
        match self.silence.look(now_ns, is_recording) {
            Some(SilenceChange::Silent(others)) => {
                silent.insert(self.pid);
                let seen =
                    format!("it records, {others} API calls and NVTX events came, and not one GPU record in 10 s");
                context.facts.say("cupti", key, seen.as_str());
                context.set(self.subject(), RecordingState::Silent, seen);
            }
            Some(SilenceChange::Heard) => {
                silent.remove(&self.pid);
                context.facts.say("cupti", key, "GPU records came late: none in the first 10 s");
                context.set(self.subject(), RecordingState::Recording, "GPU records came late");
            }
            None => {}
        }
    }

    /// The process, in `source_states`.
    pub fn subject(&self) -> Subject {
        Subject::process("cupti", self.pid)
    }

    fn say(&self, state: State, context: &mut Context) {
        let facts = &mut context.facts;
        let key = |what: &str| format!("process.{}.{what}", self.pid);
        facts.say("cupti", key("state"), state.text());
        facts.say("cupti", key("state_since_ns"), self.reader.word(header::STATE_NS).to_string());
        let level = self.reader.level().text();
        let level = match self.reader.refused() {
            Some(refused) => format!("{level}; {} was asked for and is refused", refused.text()),
            None => level.to_owned(),
        };
        facts.say("cupti", key("level"), level.as_str());
        facts.say("cupti", key("cupti_api_version"), self.reader.word(header::CUPTI_VERSION).to_string());
        facts.say("cupti", key("cupti_error"), self.reader.word(header::CUPTI_ERROR).to_string());
        facts.say("cupti", key("calls_refused"), self.reader.word(header::CALLS_REFUSED).to_string());
        let (recording, reason) = match state {
            State::Running if self.reader.level() == Level::Off => (RecordingState::Off, "the level is off".to_owned()),
            State::Running => (RecordingState::Recording, format!("GPU at level {level}")),
            State::Unused | State::Waiting => (RecordingState::Waiting, state.text().to_owned()),
            State::NotFound | State::Unsuitable => (RecordingState::Unavailable, state.text().to_owned()),
            State::Refused => (RecordingState::Refused, state.text().to_owned()),
            State::Aside => (RecordingState::Displaced, state.text().to_owned()),
        };
        context.set(self.subject(), recording, reason);
    }

    /// Why this process lost records of a table.
    pub fn cause(&self, table: Option<&'static str>, reason: &'static str) -> Cause {
        Cause { table, reason: reason.into(), process_id: Some(self.process_id) }
    }
}

/// The table that records of a kind go to; `None`: several.
fn table_of(kind: Kind) -> Option<&'static str> {
    (kind != Kind::Other).then(|| kind.table())
}
