//! Our one thread.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use kvpath_cupti_sys::driver::Driver;
use kvpath_schema::wire::ring::{Kind, Level, Loss, State};

use super::attach::{self, GraphTrace, Patience};
use super::buffers::Buffers;
use super::ffi::{ActivityRecord, Cupti};
use super::level::Calls;
use super::names::NameIds;
use super::{FLUSH_NS, decode, level};
use crate::ffi::now_ns;
use crate::session::Session;

/// Silence of CUPTI after which another client is suspected, ns; and again after each such time.
const SILENCE_NS: u64 = 1_000_000_000;
/// How often it is tried whether the other client has gone, ns. Seldom: a client that comes in that very moment is refused.
const RESUME_NS: u64 = 5_000_000_000;
/// How often a context is looked for, ns, and for how long that often. What is launched before it is found is not recorded.
const LOOK_NS: u64 = 1_000_000;
const LOOK_OFTEN_NS: u64 = 5_000_000_000;
/// How often after that, ns.
const LOOK_SELDOM_NS: u64 = 10_000_000;

/// Runs until the process ends.
pub extern "C" fn main(_: *mut c_void) -> *mut c_void {
    let Some(session) = Session::current() else { return std::ptr::null_mut() };
    if catch_unwind(AssertUnwindSafe(|| run(session))).is_err() {
        session.ring.lose(Loss::Panic, Kind::Other, 1);
        session.ring.set_state(State::Refused, now_ns(), 0);
    }
    session.gpu.ended.store(true, Ordering::Release);
    std::ptr::null_mut()
}

/// What the thread knows.
struct Recorder {
    session: &'static Session,
    cupti: &'static Cupti,
    buffers: &'static Buffers,
    driver: Option<Driver>,
    /// Whether it is said which devices the process sees, before records of them.
    are_devices_told: bool,
    began_ns: u64,
    patience: Patience,
    names: NameIds,
    calls: Calls,
    graph_trace: GraphTrace,
    /// The level in force; `None` where CUPTI is not attached to.
    in_force: Option<Level>,
    /// The level that was in force when recording stood aside.
    left_on: Option<Level>,
    /// The highest level that buffers which are still to be read can be of.
    read_at: Level,
    /// When another client was last suspected, ns.
    suspected_ns: u64,
}

fn run(session: &'static Session) {
    let gpu = &session.gpu;
    let (Some(cupti), Some(buffers)) = (gpu.cupti.get(), gpu.buffers.get()) else { return };
    let early = gpu.attached_early.load(Ordering::Acquire).then_some(session.level);
    let began_ns = now_ns();
    let mut recorder = Recorder {
        session,
        cupti,
        buffers,
        driver: Driver::of_process(),
        are_devices_told: false,
        began_ns,
        patience: Patience::default(),
        names: NameIds::default(),
        calls: if early.is_some() { Calls::Chosen } else { Calls::Picked },
        graph_trace: GraphTrace::new(cupti.version(), early),
        in_force: early,
        left_on: None,
        read_at: early.unwrap_or(Level::Off),
        suspected_ns: began_ns,
    };
    let mut due_ns = began_ns + FLUSH_NS;
    loop {
        gpu.wake.wait(due_ns);
        recorder.tell_devices();
        recorder.read_all();
        let ending = gpu.ending.load(Ordering::Acquire);
        let now = now_ns();
        if now < due_ns && !ending {
            continue;
        }
        session.ring.beat(now);
        recorder.round(now, ending);
        if ending {
            // CUPTI may be gone any moment now.
            return;
        }
        due_ns = now + recorder.pause(now);
    }
}

impl Recorder {
    fn round(&mut self, now: u64, ending: bool) {
        match (self.session.ring.state(), self.in_force) {
            (Some(State::Running), Some(level)) => {
                if level != Level::Off && !self.flush(now, level) {
                    self.stand_aside(level);
                } else if !ending {
                    self.follow(now, level);
                }
            }
            (Some(State::Waiting), _) if !ending => self.attach_if_due(now),
            (Some(State::Aside), _) if !ending && now.saturating_sub(self.suspected_ns) > RESUME_NS => {
                self.suspected_ns = now;
                self.attach_if_due(now);
            }
            _ => {}
        }
    }

    /// Says which devices the process sees, once the driver knows them.
    fn tell_devices(&mut self) {
        if !self.are_devices_told
            && let Some(uuids) = self.driver.and_then(|driver| driver.uuids())
        {
            self.session.ring.set_devices(&uuids);
            self.are_devices_told = true;
        }
    }

    /// How long until the next round, ns.
    fn pause(&self, now: u64) -> u64 {
        let is_waiting = self.session.ring.state() == Some(State::Waiting) && self.target(now).is_some();
        match now.saturating_sub(self.began_ns) {
            _ if !is_waiting => FLUSH_NS,
            age if age < LOOK_OFTEN_NS => LOOK_NS,
            _ => LOOK_SELDOM_NS,
        }
    }

    /// The level to record at, if it is one to attach for.
    fn target(&self, now: u64) -> Option<Level> {
        level::target(self.session, now).filter(|level| *level != Level::Off && self.graph_trace.allows(*level))
    }

    fn attach_if_due(&mut self, now: u64) {
        let ring = &self.session.ring;
        let asked = level::target(self.session, now);
        ring.set_refused(asked.filter(|asked| !self.graph_trace.allows(*asked)));
        let Some(level) = self.target(now) else { return };
        if let Some(driver) = self.driver
            && !self.patience.is_over(now, driver.has_context())
        {
            return;
        }
        let gpu = &self.session.gpu;
        gpu.attaching.store(true, Ordering::SeqCst);
        // Either the end of the process sees that, or we see the end.
        if !gpu.ending.load(Ordering::SeqCst) {
            let attached = attach::attach(self.session, self.cupti, self.calls, self.left_on, level);
            self.went_to(level, attached);
        }
        gpu.attaching.store(false, Ordering::SeqCst);
    }

    /// Takes what became of going to a level.
    fn went_to(&mut self, level: Level, outcome: Result<u32, (State, u32)>) {
        self.suspected_ns = now_ns();
        let (state, error) = match outcome {
            Ok(error) => {
                (self.in_force, self.left_on) = (Some(level), None);
                self.read_at = self.read_at.max(level);
                self.graph_trace.went_to(level);
                (State::Running, error)
            }
            Err((State::Aside, _)) if self.in_force.is_some() => {
                self.stand_aside(level);
                return;
            }
            Err(why) => why,
        };
        let ring = &self.session.ring;
        if ring.state() != Some(state) || error > 0 {
            ring.set_state(state, self.suspected_ns, error);
        }
    }

    fn stand_aside(&mut self, level: Level) {
        level::stand_aside(self.session, self.cupti, level);
        self.graph_trace.went_to(Level::Off);
        self.left_on = Some(level.max(self.in_force.unwrap_or(level)));
        self.in_force = None;
    }

    /// Takes what is complete; `false` if another client has taken the buffers over.
    fn flush(&mut self, now: u64, in_force: Level) -> bool {
        let ring = &self.session.ring;
        self.cupti.flush();
        self.read_all();
        self.read_at = in_force;
        let dropped = self.cupti.dropped();
        if dropped > 0 {
            ring.lose(Loss::Cupti, Kind::Other, dropped);
        }
        let silent_since = self.session.gpu.stirred_ns.load(Ordering::Relaxed).max(self.suspected_ns);
        if now.saturating_sub(silent_since) <= SILENCE_NS {
            return true;
        }
        self.suspected_ns = now;
        self.cupti.is_alone()
    }

    /// Goes to the level that is asked for.
    fn follow(&mut self, now: u64, in_force: Level) {
        let ring = &self.session.ring;
        let target = match level::target(self.session, now) {
            Some(asked) => asked,
            // Nobody reads: but what could not be turned on again stays on.
            None if self.graph_trace.can_return_to(in_force) => Level::Off,
            None => in_force,
        };
        if !self.graph_trace.allows(target) {
            ring.set_refused(Some(target));
            return;
        }
        ring.set_refused(None);
        if target != in_force {
            let applied = level::apply(self.session, self.cupti, self.calls, Some(in_force), target);
            self.went_to(target, applied);
        }
    }

    fn read_all(&mut self) {
        let (ring, cupti, names) = (&self.session.ring, self.cupti, &mut self.names);
        let (calls, level) = (self.calls, self.read_at);
        let mut take = |seen: &ActivityRecord<'_>| match seen {
            ActivityRecord::Api(domain, api) if !calls.keeps(level, *domain, api.cbid) => {}
            _ => decode::record(ring, names, seen),
        };
        while self.buffers.read_one(|buffer, bytes| cupti.records(buffer, bytes, |seen| take(&seen))) {}
    }
}
