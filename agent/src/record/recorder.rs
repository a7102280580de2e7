//! The loop: what was mapped, what was called, who has ended, and what can be written.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvpath_schema::tables::capture::RecordingState;

use super::child::Child;
use super::keeper::Keeper;
use super::summary;
use crate::capture::{Context, EndedProcess, RecordSource};
use crate::devices;
use crate::discover::{Discovery, Notice};
use crate::error::AgentError;
use crate::settings::Settings;
use crate::states::Subject;
use crate::system::{self, Clock, now_ns};

/// How long the ring buffers may fill before they are looked at. They hold much more than any program makes in that time.
const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// The same while no traced process is known; a new one wakes the loop by its perf record.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How often living processes are looked at.
const CHECK_EVERY_NS: i64 = 200_000_000;
/// How often titles are read again.
const TITLES_EVERY_NS: i64 = 1_000_000_000;
/// How much time a segment covers; what a killed agent loses.
pub const SEGMENT_NS: i64 = 2_000_000_000;

/// A recording that goes on.
pub struct Recorder {
    sources: Vec<Box<dyn RecordSource>>,
    keeper: Keeper,
    discovery: Discovery,
    context: Context,
    ending: Vec<(i32, i64)>,
    checked_ns: i64,
    titles_ns: i64,
    written_ns: i64,
}

impl Recorder {
    /// Of these sources.
    pub fn new(sources: Vec<Box<dyn RecordSource>>, keeper: Keeper, context: Context) -> Self {
        let now = context.now_ns;
        Self {
            sources,
            keeper,
            discovery: Discovery::start(),
            context,
            ending: Vec::new(),
            checked_ns: now,
            titles_ns: now,
            written_ns: now,
        }
    }

    /// Attaches to what is there already.
    ///
    /// # Errors
    /// A library that the settings name is none, or the run cannot be written.
    pub fn begin(&mut self, settings: &Settings) -> Result<(), AgentError> {
        self.context.facts.say("capture", "discovery", self.discovery.method());
        for source in &self.sources {
            let subject = Subject::source(source.name());
            self.context.states.set(self.context.now_ns, subject, RecordingState::Recording, "");
        }
        for path in &settings.libraries {
            for source in self.sources.iter_mut().rev() {
                if source.named(path, &mut self.context)? {
                    break;
                }
            }
        }
        // After the perf rings are open, so that nothing falls between.
        self.scan();
        // The driver may take its time.
        let (gpus, told) = devices::all();
        self.context.facts.say("capture", "gpus", told);
        self.context.devices.know(&gpus);
        self.context.segments.table("capture", &gpus, 0)?;
        Ok(())
    }

    /// Records until the command or the time ends, or until told to stop.
    ///
    /// # Errors
    /// The kernel refuses, or the run cannot be written.
    pub fn run(
        &mut self,
        settings: &Settings,
        mut child: Option<Child>,
        stop: &AtomicBool,
    ) -> Result<ExitCode, AgentError> {
        let mut code = ExitCode::SUCCESS;
        let began = now_ns(Clock::Monotonic);
        let limit = settings.duration.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        loop {
            let wait = if self.context.processes.pids().is_empty() { IDLE_WAIT } else { DRAIN_EVERY };
            system::wait_readable(&self.discovery.files(), wait)
                .map_err(|error| AgentError::System { what: "poll", error })?;
            self.step()?;
            if let Some(child) = &mut child
                && let Some(outcome) = child.ended()
            {
                tracing::info!("{} ended: {}", child.name(), outcome.text);
                if !outcome.is_success {
                    code = ExitCode::FAILURE;
                }
                self.say_command(child, outcome.text);
                break;
            }
            let over = limit.is_some_and(|limit| now_ns(Clock::Monotonic) - began >= limit);
            if over || stop.load(Ordering::Relaxed) {
                if let Some(child) = &child {
                    tracing::info!("{} (pid {}) goes on", child.name(), child.pid());
                    self.say_command(child, "still running when the recording ended".to_owned());
                }
                break;
            }
        }
        self.finish()?;
        let leaves_out = |state| {
            matches!(state, RecordingState::UnknownBuild | RecordingState::Contradicted | RecordingState::NotDrained)
        };
        Ok(if self.context.states.count(leaves_out) > 0 { ExitCode::FAILURE } else { code })
    }

    fn say_command(&mut self, child: &Child, outcome: String) {
        self.context.facts.say("capture", "command", child.name());
        self.context.facts.say("capture", "command_outcome", outcome);
    }

    fn step(&mut self) -> Result<(), AgentError> {
        let now = now_ns(Clock::Monotonic);
        self.context.now_ns = now;
        self.take_notices();
        self.drain();
        self.keeper.step(&mut self.sources, &mut self.context)?;
        for source in &mut self.sources {
            source.step(&mut self.context)?;
        }
        if now - self.checked_ns >= CHECK_EVERY_NS {
            self.checked_ns = now;
            self.ending.extend(self.context.processes.pids().into_iter().map(|pid| (pid, now)));
        }
        for (pid, end_ns) in std::mem::take(&mut self.ending) {
            if self.context.processes.known(pid).is_some() && !self.context.processes.is_alive(pid) {
                self.end_process(pid, end_ns);
            }
        }
        if now - self.titles_ns >= TITLES_EVERY_NS {
            self.titles_ns = now;
            for pid in self.context.processes.pids() {
                self.context.processes.refresh(pid);
            }
        }
        if now - self.written_ns >= SEGMENT_NS || self.sources.iter().any(|source| source.is_full()) {
            self.write()?;
        }
        Ok(())
    }

    fn take_notices(&mut self) {
        let Self { discovery, sources, .. } = self;
        let is_wanted = |name: &str| sources.iter().any(|source| source.is_candidate(name));
        for notice in discovery.notices(self.context.now_ns, is_wanted) {
            self.take(notice);
        }
    }

    fn scan(&mut self) {
        let sources = &self.sources;
        for notice in Discovery::scan_all(|name| sources.iter().any(|source| source.is_candidate(name))) {
            self.take(notice);
        }
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Mapped { pid, mapping } => {
                let takes = |source: &&mut Box<dyn RecordSource>| source.is_candidate(mapping.file_name());
                for source in self.sources.iter_mut().filter(takes) {
                    source.mapped(pid, &mapping, &mut self.context);
                }
            }
            Notice::Exec { pid } => {
                if let Some(process_id) = self.context.processes.known(pid) {
                    self.drain();
                    for source in &mut self.sources {
                        source.image_replaced(process_id, &mut self.context);
                    }
                    self.context.processes.refresh(pid);
                }
            }
            Notice::Renamed { pid, .. } => self.context.processes.refresh(pid),
            Notice::Exit { pid, time_ns } => {
                if self.context.processes.known(pid).is_some() {
                    self.ending.push((pid, time_ns));
                }
            }
            Notice::Lost => self.scan(),
        }
    }

    fn drain(&mut self) {
        for source in &mut self.sources {
            source.drain(&mut self.context);
        }
    }

    fn end_process(&mut self, pid: i32, end_ns: i64) {
        self.drain();
        let Some(process_id) = self.context.processes.known(pid) else {
            return;
        };
        for source in &mut self.sources {
            source.process_ended(EndedProcess { pid, process_id, end_ns }, &mut self.context);
        }
        self.context.processes.end(pid, end_ns);
    }

    /// Writes what is ready.
    ///
    /// # Errors
    /// The run cannot be written.
    pub fn write(&mut self) -> Result<(), AgentError> {
        self.context.now_ns = now_ns(Clock::Monotonic);
        self.written_ns = self.context.now_ns;
        for source in &mut self.sources {
            source.write(&mut self.context)?;
        }
        // Last, for a source may make processes known as it writes.
        self.context.write()?;
        Ok(())
    }

    /// Ends what is written, of a recording that comes to nothing.
    pub fn give_up(&mut self) {
        // Whatever went wrong there, the run is removed.
        let _ = self.context.segments.end();
    }

    fn finish(&mut self) -> Result<(), AgentError> {
        let now = now_ns(Clock::Monotonic);
        self.context.now_ns = now;
        self.take_notices();
        self.drain();
        for pid in self.context.processes.pids() {
            self.context.processes.refresh(pid);
            if !self.context.processes.is_alive(pid) {
                let seen = self.ending.iter().find(|(ended, _)| *ended == pid).map_or(now, |(_, time)| *time);
                self.end_process(pid, seen);
            }
        }
        self.keeper.step(&mut self.sources, &mut self.context)?;
        for source in &mut self.sources {
            source.finish(&mut self.context)?;
        }
        self.keeper.finish(&mut self.context);
        let ended_ns = now_ns(Clock::Monotonic);
        self.context.facts.say("capture", "ended_ns", ended_ns.to_string());
        self.context.states.end_all(ended_ns);
        self.write()?;
        self.context.segments.end()?;
        let parts: Vec<String> = self.sources.iter().filter_map(|source| source.summary()).collect();
        let is_left_out = |state: RecordingState| state.is_loss() && state != RecordingState::Shed;
        let lost = summary::RecordingLoss {
            dropped: self.context.segments.dropped,
            sheds: self.keeper.sheds,
            left_out: self.context.states.count(is_left_out),
        };
        let processes = self.context.processes.count();
        tracing::info!("{}", summary::text(processes, &parts, lost, self.context.segments.root()));
        for warning in self.sources.iter().filter_map(|source| source.warning()) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}
