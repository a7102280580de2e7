//! Whether a layout that was assumed of a build is its own. Until the first posts have shown it, what is known of transfers is held
//! back; what contradicts the layout ends all that is recorded by it. Pure.

mod evidence;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvpath_schema::wire::nixl::{Kind, Polls};

use super::decode::Event;
use crate::losses::{Cause, Losses};
use evidence::Evidence;

/// Whole posts that must agree with a layout before it is believed.
pub const POSTS: u32 = 4;
/// Most descriptors that are held back, and how many of them an event without any is worth: what holds 48 MB.
const HELD_MAX: usize = 1 << 20;
const HELD_EVENT: usize = 16;
/// Why records are lost.
const CONTRADICTED: &str = "the layout that was assumed of this build of NIXL is not its own";
/// The same of those that came to no judgement.
const UNJUDGED: &str = "no whole post came by which the assumed layout of this build of NIXL could be judged";
const TOO_MANY: &str = "more came than is held back until an assumed layout is judged";

/// Who made a call, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its process in the tables.
    pub process_id: i64,
    /// OS pid.
    pub pid: i32,
    /// OS thread.
    pub tid: i32,
    /// The time of the record, ns.
    pub time_ns: i64,
}

/// Something about transfers that waits for a judgement.
#[derive(Debug)]
pub enum Waiting {
    /// A record.
    Event(Event),
    /// Polls of a transfer that was not seen to end.
    PollsLeft { handle: u64, polls: Polls },
    /// A post that was not seen to return.
    PostInFlight { agent_ptr: u64, handle: u64, entry_ns: i64 },
    /// The process runs another program.
    ImageReplaced,
    /// The process has ended.
    Ended,
}

/// What to do with an event.
#[derive(Debug)]
pub enum Ruling {
    /// Take it.
    Take(Event),
    /// It is held back, or was counted as lost.
    Kept,
    /// The layout is believed from now on: take these, in this order.
    Believed(Vec<(Caller, Waiting)>),
    /// The layout is not the build's own, and why.
    Contradicted(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    Believed,
    Contradicted,
}

#[derive(Debug)]
struct Slot {
    verdict: Verdict,
    evidence: Evidence,
    held: Vec<(Caller, Waiting)>,
    weight: usize,
    processes: BTreeSet<(i64, i32)>,
}

/// The assumed layouts of a recording, by their index in the map of layouts.
#[derive(Debug, Default)]
pub struct Judge {
    slots: BTreeMap<u32, Slot>,
    of_process: HashMap<i64, u32>,
    /// Whether polls were not recorded for a while, of what is held back.
    misses_polls: bool,
    losses: Losses,
}

impl Judge {
    /// A layout is assumed.
    pub fn assume(&mut self, slot: u32) {
        self.slots.entry(slot).or_insert_with(|| Slot {
            verdict: Verdict::Open,
            evidence: Evidence::default(),
            held: Vec::new(),
            weight: 0,
            processes: BTreeSet::new(),
        });
    }

    /// What an event says of its layout, and what to do with it.
    pub fn rule(&mut self, slot: u32, caller: Caller, event: Event) -> Ruling {
        let Some(of) = self.slots.get_mut(&slot) else { return Ruling::Take(event) };
        if of.processes.insert((caller.process_id, caller.pid)) {
            self.of_process.insert(caller.process_id, slot);
        }
        if of.verdict == Verdict::Contradicted {
            count(&mut self.losses, CONTRADICTED, caller.process_id, &event);
            return Ruling::Kept;
        }
        if let Err(why) = of.evidence.take(caller.process_id, &event, of.verdict == Verdict::Believed) {
            let why = of.warned(why);
            count(&mut self.losses, CONTRADICTED, caller.process_id, &event);
            of.verdict = Verdict::Contradicted;
            for (caller, waiting) in &of.held {
                count_waiting(&mut self.losses, CONTRADICTED, *caller, waiting);
            }
            of.held.retain(|(_, waiting)| matches!(waiting, Waiting::ImageReplaced | Waiting::Ended));
            return Ruling::Contradicted(why);
        }
        if of.verdict == Verdict::Believed || !is_of_a_transfer(&event) {
            return Ruling::Take(event);
        }
        let weight = if let Event::Descriptors { local, .. } = &event { local.len() } else { HELD_EVENT };
        if of.weight + weight > HELD_MAX {
            count(&mut self.losses, TOO_MANY, caller.process_id, &event);
            return Ruling::Kept;
        }
        of.weight += weight;
        of.held.push((caller, Waiting::Event(event)));
        if of.evidence.posts() < POSTS { Ruling::Kept } else { Ruling::Believed(of.believe()) }
    }

    /// Holds back what is said of a process outside of records, if something of it is held back already; else gives it back.
    pub fn hold(&mut self, caller: Caller, waiting: Waiting) -> Option<Waiting> {
        let slot = self.of_process.get(&caller.process_id).and_then(|slot| self.slots.get_mut(slot));
        match slot {
            Some(slot) if slot.verdict == Verdict::Contradicted && !is_end(&waiting) => None,
            Some(slot) if slot.held.iter().any(|(held, _)| held.process_id == caller.process_id) => {
                slot.held.push((caller, waiting));
                None
            }
            _ => Some(waiting),
        }
    }

    /// Forgets what a process has not finished.
    pub fn process_ended(&mut self, process_id: i64) {
        if let Some(slot) = self.of_process.remove(&process_id).and_then(|slot| self.slots.get_mut(&slot)) {
            slot.evidence.process_ended(process_id);
        }
    }

    /// Polls are not recorded now: those of what is held back are not known.
    pub fn miss_polls(&mut self) {
        self.misses_polls |= self.slots.values().any(|slot| !slot.held.is_empty());
    }

    /// Whether polls of what was held back are not known; said once.
    pub fn take_misses_polls(&mut self) -> bool {
        std::mem::take(&mut self.misses_polls)
    }

    /// The processes that used a layout, as the tables and the system call them.
    pub fn processes_of(&self, slot: u32) -> Vec<(i64, i32)> {
        self.slots.get(&slot).map(|slot| slot.processes.iter().copied().collect()).unwrap_or_default()
    }

    /// Whole posts that agree with a layout so far.
    pub fn posts(&self, slot: u32) -> u32 {
        self.slots.get(&slot).map_or(0, |slot| slot.evidence.posts())
    }

    /// Ends of processes of a contradicted layout, that were held back.
    pub fn take_ends(&mut self, slot: u32) -> Vec<(Caller, Waiting)> {
        self.slots.get_mut(&slot).map(|slot| std::mem::take(&mut slot.held)).unwrap_or_default()
    }

    /// The recording ends: what may be taken of what is held back, by layout. A layout that one whole post agrees with is believed.
    pub fn finish(&mut self) -> Vec<(u32, Vec<(Caller, Waiting)>)> {
        let mut taken = Vec::new();
        for (index, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.verdict == Verdict::Open) {
            if slot.evidence.posts() > 0 {
                taken.push((*index, slot.believe()));
                continue;
            }
            for (caller, waiting) in &slot.held {
                count_waiting(&mut self.losses, UNJUDGED, *caller, waiting);
            }
            slot.held.retain(|(_, waiting)| is_end(waiting));
            taken.push((*index, std::mem::take(&mut slot.held)));
        }
        taken
    }

    /// What was lost; forgotten here.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }
}

impl Slot {
    /// What contradicts a layout, with what was taken by it before.
    fn warned(&self, why: String) -> String {
        if self.verdict == Verdict::Believed {
            format!("{why}; {} posts agreed with it before, and their rows may be wrong", self.evidence.posts())
        } else {
            why
        }
    }

    fn believe(&mut self) -> Vec<(Caller, Waiting)> {
        self.verdict = Verdict::Believed;
        std::mem::take(&mut self.held)
    }
}

fn is_end(waiting: &Waiting) -> bool {
    matches!(waiting, Waiting::ImageReplaced | Waiting::Ended)
}

/// Whether rows of transfers are made of it. Names, notifications and lists of memory are judged each by itself.
fn is_of_a_transfer(event: &Event) -> bool {
    matches!(
        event,
        Event::Made { .. }
            | Event::Posted { .. }
            | Event::Descriptors { .. }
            | Event::Status { .. }
            | Event::Released { .. }
            | Event::CallEnd { of: Kind::Release, .. }
    )
}

fn count(losses: &mut Losses, why: &'static str, process_id: i64, event: &Event) {
    let (table, count) = match event {
        Event::Posted { .. } => ("nixl_transfers", 1),
        Event::Descriptors { local, .. } => ("nixl_descriptors", local.len()),
        Event::Regions { ranges, .. } => ("nixl_regions", ranges.len()),
        Event::PreparedRow(_) => ("nixl_prepared", 1),
        Event::Contradicted { of, .. } => match of {
            Kind::Regions => ("nixl_regions", 1),
            Kind::Prepare | Kind::PrepareStrided => ("nixl_prepared", 1),
            _ => ("nixl_transfers", 1),
        },
        _ => return,
    };
    losses.add(Cause::of(table, why).in_process(process_id), count as u64);
}

fn count_waiting(losses: &mut Losses, why: &'static str, caller: Caller, waiting: &Waiting) {
    match waiting {
        Waiting::Event(event) => count(losses, why, caller.process_id, event),
        Waiting::PostInFlight { .. } => {
            losses.add(Cause::of("nixl_transfers", why).in_process(caller.process_id), 1);
        }
        Waiting::PollsLeft { .. } | Waiting::ImageReplaced | Waiting::Ended => {}
    }
}

#[cfg(test)]
mod tests;
