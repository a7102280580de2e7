//! `kvpath-agent record`: the loop from probes to segments.

mod child;
mod folder;
mod gpu;
mod keeper;
mod libraries;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use kvpath_schema::segment::{CLOCK_MONOTONIC, RunWriter};
use kvpath_schema::wire::nixl::{DESCRIPTOR_LIMIT, Kind, Layout, Loss, RING_BYTES, TEXT_MAX};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::budget::Group;
use crate::capture::cupti::source::Source;
use crate::capture::nixl::assemble::{Assembler, Lack};
use crate::capture::nixl::attach::Programs;
use crate::capture::nixl::{builds, decode};
use crate::capture::{rdma, sched, sockets, telemetry, ucx};
use crate::cli::{self, More};
use crate::clock;
use crate::devices;
use crate::discover::library::Library;
use crate::discover::{Discovery, Notice};
use crate::error::AgentError;
use crate::ffi::{self, Clock, now_ns};
use crate::host;
use crate::privileges::Privileges;
use crate::processes::ProcessTable;
use crate::seccomp;
use crate::segments::{Facts, Segments};
use child::Child;
use keeper::Keeper;
use libraries::Libraries;

/// How long the ring buffer may fill before it is looked at. It holds much more than any program makes in that time.
const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// The same while no traced process is known; a new one wakes the loop by its perf record.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How often losses and living processes are looked at.
const CHECK_EVERY_NS: i64 = 200_000_000;
/// How often titles are read again.
const TITLES_EVERY_NS: i64 = 1_000_000_000;
/// How much time a segment covers; what a killed agent loses.
const SEGMENT_NS: i64 = 2_000_000_000;
/// Program and version.
const WRITER: &str = concat!("kvpath-agent ", env!("CARGO_PKG_VERSION"));

/// Records as the options say. The exit code is 1 if the recorded command failed.
///
/// # Errors
/// Recording cannot begin, or the run cannot be written.
pub fn run(options: &cli::Record) -> Result<ExitCode, AgentError> {
    if !host::sees_all_pids() {
        return Err(AgentError::PidNamespace);
    }
    let missing = Privileges::own().missing();
    if !missing.is_empty() {
        return Err(AgentError::Privileges { missing: missing.join(" and ") });
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| AgentError::System { what: "signal handler", error })?;
    }
    let wall = now_ns(Clock::Wall);
    let folder = folder::prepare(options.out.as_deref(), &host::utc(wall))?;
    if matches!(is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation), Ok(false)) {
        return Err(AgentError::Kernel);
    }
    let mut programs = Programs::load()?;
    let confined = seccomp::attempt(&mut programs);
    let host = options.node.clone().unwrap_or_else(host::name);
    let clock = clock(options, &host)?;
    let writer = RunWriter::new(&folder.path, &host, WRITER, Some(wall - now_ns(Clock::Monotonic)));
    let gpu = gpu::Plan::of(options)?;
    let source = gpu.source(now_ns(Clock::Monotonic));
    let now = now_ns(Clock::Monotonic);
    // Their libraries have return probes too, and no list of who maps them is kept.
    let asks = |more| options.sources.contains(&more);
    if let Some((_, asked)) = [(More::Ucx, "ucx"), (More::Rdma, "rdma")].into_iter().find(|(more, _)| asks(*more))
        && !confined.is_spared()
    {
        return Err(AgentError::Confined { asked });
    }
    let ucx = asks(More::Ucx).then(|| ucx::source::Source::start(now)).transpose()?;
    let keeper = Keeper::new(&mut programs, options.max_overhead, ucx.is_some(), !confined.is_spared(), now)?;
    let mut recorder = Recorder::new(programs, keeper, Segments::new(writer).in_background(), &confined, source);
    recorder.ucx = ucx;
    recorder.rdma = asks(More::Rdma).then(rdma::source::Source::start).transpose()?;
    recorder.sockets = asks(More::Sockets).then(|| sockets::source::Source::start(now)).transpose()?;
    recorder.sched = asks(More::Sched).then(|| sched::source::Source::start(now, &mut recorder.facts)).transpose()?;
    recorder.clock = clock;
    recorder.telemetry = asks(More::Telemetry).then(|| telemetry::source::Source::start(now));
    recorder.begin(options)?;
    // Written before the command starts: from then on the loop must be quick, or it misses the first calls.
    recorder.write()?;
    let child = if options.command.is_empty() {
        None
    } else {
        Some(Child::spawn(&options.command, &gpu.variables()).inspect_err(|_| folder.clear())?)
    };
    recorder.run(options, child, &stop)
}

/// Starts clock probes, if they are asked for.
fn clock(options: &cli::Record, host: &str) -> Result<Option<clock::Source>, AgentError> {
    let Some(settings) = options.clock.settings() else { return Ok(None) };
    let key = clock::key(&settings.key).map_err(|error| AgentError::ClockKey { path: settings.key.clone(), error })?;
    let source = clock::Source::start(&settings, key, host);
    source.map(Some).map_err(|error| AgentError::ClockListen { listen: settings.listen, error })
}

struct Recorder {
    programs: Programs,
    keeper: Keeper,
    discovery: Discovery,
    libraries: Libraries,
    processes: ProcessTable,
    assembler: Assembler,
    gpu: Option<Source>,
    ucx: Option<ucx::source::Source>,
    rdma: Option<rdma::source::Source>,
    sockets: Option<sockets::source::Source>,
    sched: Option<sched::source::Source>,
    telemetry: Option<telemetry::source::Source>,
    clock: Option<clock::Source>,
    segments: Segments,
    facts: Facts,
    layouts: Vec<Layout>,
    lacks: Vec<(Lack, u64)>,
    ending: Vec<(i32, i64)>,
    checked_ns: i64,
    titles_ns: i64,
    written_ns: i64,
}

impl Recorder {
    fn new(
        programs: Programs,
        keeper: Keeper,
        segments: Segments,
        confined: &seccomp::Verdict,
        gpu: Option<Source>,
    ) -> Self {
        let now = now_ns(Clock::Monotonic);
        let mut facts = Facts::default();
        facts.say("capture", "return_probes_and_seccomp", confined.to_string());
        Self {
            programs,
            keeper,
            discovery: Discovery::start(),
            libraries: Libraries::new(!confined.is_spared()),
            processes: ProcessTable::default(),
            assembler: Assembler::default(),
            gpu,
            ucx: None,
            rdma: None,
            sockets: None,
            sched: None,
            telemetry: None,
            clock: None,
            segments,
            facts,
            layouts: builds::layouts(),
            lacks: Vec::new(),
            ending: Vec::new(),
            checked_ns: now,
            titles_ns: now,
            written_ns: now,
        }
    }

    /// Attaches to what is there already.
    fn begin(&mut self, options: &cli::Record) -> Result<(), AgentError> {
        self.facts.say("capture", "writer", WRITER);
        self.facts.say("capture", "kernel", host::kernel());
        self.facts.say("capture", "host", options.node.clone().unwrap_or_else(host::name));
        self.facts.say("capture", "clock", CLOCK_MONOTONIC);
        self.facts.say("capture", "wall_at_zero_ns", (now_ns(Clock::Wall) - now_ns(Clock::Monotonic)).to_string());
        self.facts.say("capture", "started_ns", now_ns(Clock::Monotonic).to_string());
        self.facts.say("capture", "discovery", self.discovery.method());
        self.keeper.introduce(&mut self.facts);
        self.facts.say("nixl", "setting.ring_bytes", RING_BYTES.to_string());
        self.facts.say("nixl", "setting.text_limit_bytes", TEXT_MAX.to_string());
        self.facts.say("nixl", "setting.descriptor_limit", DESCRIPTOR_LIMIT.to_string());
        self.facts.say("nixl", "setting.segment_ns", SEGMENT_NS.to_string());
        self.facts.say("nixl", "builds.known", builds::known_releases());
        for path in &options.libraries {
            self.named(path)?;
        }
        // After the perf rings are open, so that nothing falls between.
        for notice in Discovery::scan_all(is_candidate) {
            self.take(notice);
        }
        // The driver may take its time.
        let (gpus, told) = devices::all();
        self.facts.say("capture", "gpus", told);
        self.segments.table("capture", &gpus, 0)?;
        Ok(())
    }

    fn run(
        &mut self,
        options: &cli::Record,
        mut child: Option<Child>,
        stop: &AtomicBool,
    ) -> Result<ExitCode, AgentError> {
        let mut code = ExitCode::SUCCESS;
        let began = now_ns(Clock::Monotonic);
        let limit = options.duration.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        loop {
            let wait = if self.processes.pids().is_empty() { IDLE_WAIT } else { DRAIN_EVERY };
            ffi::wait_readable(&self.discovery.files(), wait)
                .map_err(|error| AgentError::System { what: "poll", error })?;
            self.step()?;
            if let Some(child) = &mut child
                && let Some(outcome) = child.ended()
            {
                eprintln!("kvpath-agent: {} ended: {}", child.name(), outcome.text);
                if !outcome.is_success {
                    code = ExitCode::FAILURE;
                }
                self.facts.say("capture", "command", child.name());
                self.facts.say("capture", "command_outcome", outcome.text);
                break;
            }
            let over = limit.is_some_and(|limit| now_ns(Clock::Monotonic) - began >= limit);
            if over || stop.load(Ordering::Relaxed) {
                if let Some(child) = &child {
                    eprintln!("kvpath-agent: {} (pid {}) goes on", child.name(), child.pid());
                    self.facts.say("capture", "command", child.name());
                    self.facts.say("capture", "command_outcome", "still running when the recording ended");
                }
                break;
            }
        }
        self.finish()?;
        Ok(code)
    }

    /// One round: what was mapped, what was called, who has ended, and what can be written.
    fn step(&mut self) -> Result<(), AgentError> {
        let now = now_ns(Clock::Monotonic);
        for notice in self.discovery.notices(now, is_candidate) {
            self.take(notice);
        }
        self.drain();
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.step(now, &self.processes, &mut self.facts);
        }
        self.mind_budget(now)?;
        let full = self.gpu.as_mut().is_some_and(|gpu| gpu.step(now, &mut self.processes, &mut self.facts));
        if now - self.checked_ns >= CHECK_EVERY_NS {
            self.checked_ns = now;
            self.count_losses()?;
            let pids = self.processes.pids();
            self.libraries.spare_confined(&pids, &mut self.programs, &mut self.facts);
            self.ending.extend(pids.into_iter().map(|pid| (pid, now)));
        }
        for (pid, end_ns) in std::mem::take(&mut self.ending) {
            if self.processes.known(pid).is_some() && !self.processes.is_alive(pid) {
                self.end_process(pid, end_ns);
            }
        }
        if now - self.titles_ns >= TITLES_EVERY_NS {
            self.titles_ns = now;
            for pid in self.processes.pids() {
                self.processes.refresh(pid);
            }
        }
        if full || now - self.written_ns >= SEGMENT_NS {
            self.assembler.settle(now);
            self.write()?;
        }
        Ok(())
    }

    /// A library that the command line names.
    fn named(&mut self, path: &Path) -> Result<(), AgentError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let open = || Library::open(path).map_err(|error| AgentError::Library { path: path.to_owned(), error });
        match (&mut self.ucx, &mut self.rdma) {
            (Some(ucx), _) if ucx::functions::is_candidate(name) => ucx.found(open()?, name, &mut self.facts),
            (_, Some(rdma)) if rdma::is_candidate(name) => rdma.found(open()?, &mut self.facts),
            _ => self.libraries.named(path, &mut self.programs, &mut self.facts)?,
        }
        Ok(())
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Mapped { pid, mapping } if ucx::functions::is_candidate(mapping.file_name()) => {
                if let Some(ucx) = &mut self.ucx {
                    ucx.mapped(pid, &mapping, &mut self.facts);
                }
            }
            Notice::Mapped { pid, mapping } if rdma::is_candidate(mapping.file_name()) => {
                if let Some(rdma) = &mut self.rdma {
                    rdma.mapped(pid, &mapping, &mut self.facts);
                }
            }
            Notice::Mapped { pid, mapping } => {
                if self.libraries.mapped(pid, &mapping, &mut self.programs, &mut self.facts) {
                    self.processes.id_of(pid);
                }
            }
            Notice::Exec { pid } => {
                if let Some(process_id) = self.processes.known(pid) {
                    self.drain();
                    self.assembler.image_replaced(process_id);
                    if let Some(ucx) = &mut self.ucx {
                        ucx.image_replaced(process_id);
                    }
                    self.processes.refresh(pid);
                }
            }
            Notice::Renamed { pid, .. } => self.processes.refresh(pid),
            Notice::Exit { pid, time_ns } => {
                if self.processes.known(pid).is_some() {
                    self.ending.push((pid, time_ns));
                }
            }
            Notice::Lost => {
                for notice in Discovery::scan_all(is_candidate) {
                    self.take(notice);
                }
            }
        }
    }

    fn drain(&mut self) {
        let Self { programs, processes, assembler, layouts, lacks, .. } = self;
        programs.drain(|bytes| match decode::record(bytes, layouts) {
            Ok((at, event)) => {
                let process_id = processes.id_of(at.pid);
                processes.saw_thread(at.pid, at.tid);
                assembler.push(process_id, at.tid, at.time_ns, event);
            }
            Err(error) => {
                let lack = Lack::of("nixl_transfers", error.to_string());
                lacks.push((lack, 1));
            }
        });
        if let Some(ucx) = &mut self.ucx {
            ucx.drain(&mut self.processes);
        }
        if let Some(rdma) = &mut self.rdma {
            rdma.drain(&mut self.processes);
        }
        if let Some(sockets) = &mut self.sockets {
            sockets.step(&self.processes);
        }
        if let Some(sched) = &mut self.sched {
            sched.step(&self.processes);
        }
    }

    fn mind_budget(&mut self, now: i64) -> Result<(), AgentError> {
        let Self { keeper, programs, libraries, ucx, assembler, facts, .. } = self;
        if let Some(group) = keeper.step(now, programs, libraries, ucx.as_mut(), assembler, facts)? {
            // What came before them first. A later call on the same thread must not be taken for the end of one of these.
            self.drain();
            self.calls_in_flight(|_, kind| Group::of(kind) == group);
        }
        Ok(())
    }

    fn count_losses(&mut self) -> Result<(), AgentError> {
        for (loss, kind, count) in self.programs.losses()? {
            let lack = Lack::of(table_of(kind), reason_of(loss));
            self.lacks.push((lack, count));
        }
        Ok(())
    }

    fn end_process(&mut self, pid: i32, end_ns: i64) {
        self.drain();
        let Some(process_id) = self.processes.known(pid) else {
            return;
        };
        self.leftovers(Some(pid));
        self.assembler.process_ended(process_id);
        if let Some(ucx) = &mut self.ucx {
            ucx.process_ended(pid, process_id, end_ns, &mut self.processes);
        }
        if let Some(sockets) = &mut self.sockets {
            sockets.process_ended(pid, end_ns);
        }
        if let Some(sched) = &mut self.sched {
            sched.process_ended(process_id, end_ns);
        }
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.process_ended(process_id, &mut self.facts);
        }
        self.processes.end(pid, end_ns);
    }

    /// What the kernel half remembers of calls and transfers that have not ended.
    fn leftovers(&mut self, pid: Option<i32>) {
        self.calls_in_flight(|of, _| pid.is_none_or(|pid| pid == of));
        for (pid, handle, polls) in self.programs.take_polls(pid) {
            if let Some(process_id) = self.processes.known(pid) {
                self.assembler.polls_left(process_id, handle, polls);
            }
        }
    }

    /// Forgets calls whose return will not be seen; what was posted so is a transfer all the same.
    fn calls_in_flight(&mut self, wanted: impl Fn(i32, Kind) -> bool) {
        for call in self.programs.take_in_flight(wanted) {
            if call.kind == Kind::Post {
                let process_id = self.processes.id_of(call.pid);
                self.assembler.post_in_flight(process_id, call.tid, call.agent_ptr, call.handle, call.entry_ns);
            }
        }
    }

    fn write(&mut self) -> Result<(), AgentError> {
        self.write_all(false)
    }

    fn write_all(&mut self, is_last: bool) -> Result<(), AgentError> {
        let now = now_ns(Clock::Monotonic);
        self.written_ns = now;
        // First, for it may make processes known.
        if let Some(ucx) = &mut self.ucx {
            ucx.write(now, is_last, &mut self.processes, &mut self.segments)?;
        }
        if let Some(rdma) = &mut self.rdma {
            rdma.write(now, &mut self.segments)?;
        }
        if let Some(sockets) = &mut self.sockets {
            sockets.write(now, &mut self.segments)?;
        }
        if let Some(sched) = &mut self.sched {
            sched.write(now, is_last, &mut self.segments)?;
        }
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.write(now, &mut self.segments)?;
        }
        if let Some(clock) = &mut self.clock {
            clock.write(now, is_last, &mut self.segments, &mut self.facts)?;
        }
        self.lacks.extend(self.assembler.take_lacks());
        let rows = self.assembler.take_rows();
        let lacks = std::mem::take(&mut self.lacks);
        self.segments.write(now, &rows, &lacks, &mut self.processes, &mut self.facts)?;
        if let Some(gpu) = &mut self.gpu {
            gpu.write(now, &mut self.segments)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), AgentError> {
        let now = now_ns(Clock::Monotonic);
        for notice in self.discovery.notices(now, is_candidate) {
            self.take(notice);
        }
        self.drain();
        for pid in self.processes.pids() {
            self.processes.refresh(pid);
            if !self.processes.is_alive(pid) {
                let seen = self.ending.iter().find(|(ended, _)| *ended == pid).map_or(now, |(_, time)| *time);
                self.end_process(pid, seen);
            }
        }
        self.mind_budget(now)?;
        self.leftovers(None);
        self.drain();
        self.assembler.finish();
        if let Some(gpu) = &mut self.gpu {
            gpu.finish(now, &mut self.processes, &mut self.facts);
        }
        self.count_losses()?;
        self.keeper.finish(now, &mut self.facts);
        self.facts.say("capture", "ended_ns", now_ns(Clock::Monotonic).to_string());
        self.write_all(true)?;
        self.segments.end()?;
        let gpu = self.gpu.as_ref().map_or(0, |gpu| gpu.total);
        summary::print(
            self.processes.count(),
            gpu,
            self.assembler.totals(),
            summary::Lost { dropped: self.segments.dropped, sheds: self.keeper.sheds },
            self.segments.root(),
        );
        if let Some(gpu) = &self.gpu {
            summary::warn_of_silence(&gpu.silent);
        }
        Ok(())
    }
}

/// Whether a file of that name may be a library that is probed.
fn is_candidate(file_name: &str) -> bool {
    builds::is_candidate(file_name) || ucx::functions::is_candidate(file_name) || rdma::is_candidate(file_name)
}

/// The table that a record of that kind would have gone to.
fn table_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => "nixl_agents",
        Kind::Regions | Kind::RegionsEnd => "nixl_regions",
        Kind::MakeSpan | Kind::MakeVector | Kind::Create | Kind::Post | Kind::Status | Kind::Release => {
            "nixl_transfers"
        }
        Kind::Descriptors => "nixl_descriptors",
        Kind::NotifSent | Kind::NotifArrived | Kind::NotifPassed | Kind::NotifTaken => "nixl_notifs",
    }
}

fn reason_of(loss: Loss) -> &'static str {
    match loss {
        Loss::RingFull => "ring buffer full",
        Loss::EntriesFull => "too many calls in flight",
        Loss::PollsFull => "too many transfers in flight: their polls are not counted",
        Loss::Unreadable => "memory of the process could not be read",
        Loss::Untold => "more notifications taken at once than are recorded, or into a map that held some",
    }
}
