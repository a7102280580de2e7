//! Records, on their way to rows: those of a layout that is assumed are judged first.

use kvpath_schema::wire::nixl::Header;

use super::super::assemble::Assembler;
use super::super::decode::Event;
use super::super::judge::{Caller, Ruling, Waiting};
use super::super::{builds, decode};
use super::Nixl;
use crate::capture::Context;
use crate::losses::Cause;

impl Nixl {
    /// Takes what is not of a record, unless that of its process is held back.
    pub(super) fn take_unless_held(&mut self, caller: Caller, waiting: Waiting) {
        if let Some(waiting) = self.judge.hold(caller, waiting) {
            take(&mut self.assembler, caller, waiting, false);
        }
    }

    /// What is known of an assumed layout since records were taken.
    fn heed(&mut self, verdicts: Vec<(u32, Option<String>)>, context: &mut Context) {
        for (layout, why) in verdicts {
            let Some(why) = why else {
                if let Err(error) = self.programs.believe(layout) {
                    tracing::error!("the probes go on judging a layout that is believed: {error}");
                }
                self.libraries.believed(layout, self.judge.posts(layout), context);
                continue;
            };
            self.libraries.contradicted(layout, &why, &mut self.programs, context);
            for (_, pid) in self.judge.processes_of(layout) {
                self.programs.take_in_flight(|of, _| of == pid);
                self.programs.take_polls(Some(pid));
            }
            for (caller, end) in self.judge.take_ends(layout) {
                take(&mut self.assembler, caller, end, false);
            }
        }
    }

    /// Takes the records that have come, and what was held back until they did.
    pub(super) fn take_all(&mut self, context: &mut Context) {
        let verdicts = self.take_records(context);
        self.heed(verdicts, context);
    }

    /// The recording ends: takes what may be taken of what is held back.
    pub(super) fn take_held(&mut self, context: &mut Context) {
        let misses_polls = self.judge.take_misses_polls();
        for (layout, held) in self.judge.finish() {
            self.libraries.believed(layout, self.judge.posts(layout), context);
            for (caller, waiting) in held {
                take(&mut self.assembler, caller, waiting, misses_polls);
            }
        }
    }

    /// Takes the records that have come; gives the layouts that they decide about, with what contradicts them.
    fn take_records(&mut self, context: &mut Context) -> Vec<(u32, Option<String>)> {
        for layout in self.libraries.assumed() {
            self.judge.assume(layout);
        }
        let Self { programs, assembler, judge, losses, libraries, .. } = self;
        let processes = &mut context.processes;
        let mut verdicts = Vec::new();
        programs.drain(|bytes, layouts| match decode::record(bytes, layouts) {
            Ok((at, event)) => {
                let process_id = processes.id_of(at.pid);
                processes.saw_thread(at.pid, at.tid);
                let layout = decode::read::<Header>(bytes).map_or(0, |header| header.layout);
                // The plugin has no layout of its own, and may be known otherwise.
                if layout >= builds::abis() && !matches!(event, Event::NotifArrived { .. }) {
                    assembler.layout_is(process_id, libraries.source_of(layout));
                }
                let caller = Caller { process_id, pid: at.pid, tid: at.tid, time_ns: at.time_ns };
                match judge.rule(layout, caller, event) {
                    Ruling::Take(event) => assembler.push(process_id, at.tid, at.time_ns, event),
                    Ruling::Kept => {}
                    Ruling::Believed(held) => {
                        let misses_polls = judge.take_misses_polls();
                        for (caller, waiting) in held {
                            take(assembler, caller, waiting, misses_polls);
                        }
                        verdicts.push((layout, None));
                    }
                    Ruling::Contradicted(why) => verdicts.push((layout, Some(why))),
                }
            }
            Err(error) => losses.add(Cause::of("nixl_transfers", error.to_string()), 1),
        });
        verdicts
    }
}

/// Takes what was held back, or need not be.
fn take(assembler: &mut Assembler, caller: Caller, waiting: Waiting, misses_polls: bool) {
    let Caller { process_id, tid, time_ns, .. } = caller;
    match waiting {
        Waiting::Event(event) => {
            let posted = if let Event::Posted { handle, .. } = &event { Some(*handle) } else { None };
            assembler.push(process_id, tid, time_ns, event);
            if let Some(handle) = posted.filter(|_| misses_polls) {
                assembler.polls_missed(process_id, handle);
            }
        }
        Waiting::PollsLeft { handle, polls } => assembler.polls_left(process_id, handle, polls),
        Waiting::PostInFlight { agent_ptr, handle, entry_ns } => {
            assembler.post_in_flight(process_id, tid, agent_ptr, handle, entry_ns);
        }
        Waiting::ImageReplaced => assembler.image_replaced(process_id),
        Waiting::Ended => assembler.process_ended(process_id),
    }
}
