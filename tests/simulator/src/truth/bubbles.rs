//! Why a stage's compute stream was idle, ns by ns.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, GateKind, Node, Ns, Op, OpId, OpKind, StepKind, WalkMove};

/// Why the compute stream of a stage was idle, apart from fill and drain, which the request's window decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The stage before had not sent.
    UpstreamLate,
    /// Bytes were on their way.
    P2pExposed,
    /// The launch was not there.
    Host,
    /// A blocking call had not returned.
    Sync,
    /// KV blocks had not been freed.
    HandoffBackpressure,
    /// Nothing was admitted.
    NoWork,
}

/// Number of classes.
pub const CLASSES: usize = 6;
/// All classes, by number.
pub const ALL: [Class; CLASSES] =
    [Class::UpstreamLate, Class::P2pExposed, Class::Host, Class::Sync, Class::HandoffBackpressure, Class::NoWork];

/// Idle time by class, ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idle {
    /// By class.
    pub by_class: [Ns; CLASSES],
    /// Of the host's, dispatch of kernels back to back.
    pub kernel_gap_ns: Ns,
}

impl Idle {
    /// Of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> Ns {
        self.by_class[class as usize]
    }

    /// Of all classes.
    #[must_use]
    pub fn total(&self) -> Ns {
        self.by_class.iter().sum()
    }

    /// By class, without dispatch between kernels back to back: every stage has that in every interval, so it makes none
    /// late.
    #[must_use]
    pub fn waits(&self) -> [Ns; CLASSES] {
        let mut waits = self.by_class;
        waits[Class::Host as usize] -= self.kernel_gap_ns;
        waits
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, ns)| *sum += ns);
        self.kernel_gap_ns += other.kernel_gap_ns;
    }
}

/// Follows the compute stream of one stage.
#[derive(Debug, Default)]
pub struct Tracker {
    /// End of the last kernel.
    last_end: Option<Ns>,
    /// Idle intervals between kernels, by time, as far back as some window may reach.
    idle: VecDeque<(Ns, Ns)>,
}

impl Tracker {
    /// Takes the next kernel of the stream and classifies the time since the one before; zero before the first.
    pub fn kernel(&mut self, engine: &Engine, stage: i16, id: OpId, op: &Op) -> Idle {
        let mut idle = Idle::default();
        match self.last_end {
            Some(since) if since < op.start => {
                self.idle.push_back((since, op.start));
                classify(engine, stage, id, op, since, &mut idle);
            }
            // Idle ever since, for the windows that begin before.
            None => self.idle.push_back((Ns::MIN, op.start)),
            Some(_) => {}
        }
        self.last_end = Some(op.end);
        idle
    }

    /// Time without a kernel from `start` to `end`, ns; time after the last kernel counts as idle.
    #[must_use]
    pub fn idle_within(&self, start: Ns, end: Ns) -> Ns {
        let from = self.idle.partition_point(|(_, until)| *until <= start);
        let between: Ns = self
            .idle
            .iter()
            .skip(from)
            .take_while(|(since, _)| *since < end)
            .map(|(since, until)| (*until).min(end) - (*since).max(start))
            .sum();
        between + self.last_end.map_or(0, |last| (end - last.max(start)).max(0))
    }

    /// Forgets what ended before `floor`.
    pub fn forget(&mut self, floor: Ns) {
        while self.idle.front().is_some_and(|(_, until)| *until <= floor) {
            self.idle.pop_front();
        }
    }
}

/// Who the kernel is waiting for, as the walk back from its start goes on.
#[derive(Clone, Copy, PartialEq)]
enum Blame {
    Own,
    Sticky(Class),
}

fn classify(engine: &Engine, stage: i16, id: OpId, op: &Op, since: Ns, idle: &mut Idle) {
    // Nearly every gap: dispatch after the kernel before.
    if let Some(gate) = op.start_gate.filter(|gate| gate.at == since && gate.gate.kind == GateKind::StreamOrder) {
        idle.by_class[Class::Host as usize] += op.start - gate.at;
        idle.kernel_gap_ns += op.start - gate.at;
        return;
    }
    let mut blame = Blame::Own;
    let reached = engine.walk(Node::start(id), since, |step| {
        match step {
            WalkMove::Step(step) => {
                let class = match blame {
                    Blame::Sticky(class) => class,
                    Blame::Own => own(engine, step.op, step.kind),
                };
                idle.by_class[class as usize] += step.end - step.start;
            }
            WalkMove::Through(gate) => {
                let left = engine.get(gate.from.op).map_or(stage, |op| op.label.stage);
                blame = match (blame, gate.kind) {
                    (Blame::Sticky(class), _) => Blame::Sticky(class),
                    (_, GateKind::BlocksFreed) => Blame::Sticky(Class::HandoffBackpressure),
                    (_, GateKind::Admitted | GateKind::Arrived) => Blame::Sticky(Class::NoWork),
                    // A message is labelled with its receiver, whose wait it is while it travels.
                    (_, GateKind::Carried) => Blame::Own,
                    _ if left != stage => Blame::Sticky(Class::UpstreamLate),
                    _ => Blame::Own,
                };
            }
        }
        true
    });
    // What lies before the source of the walk: no request had come.
    idle.by_class[Class::NoWork as usize] += reached - since;
}

fn own(engine: &Engine, op: OpId, kind: StepKind) -> Class {
    match engine.get(op).map(|op| op.label.what) {
        Some(OpKind::Message) => Class::P2pExposed,
        Some(OpKind::ReceiveKernel) if kind != StepKind::Gap => Class::P2pExposed,
        Some(OpKind::EventSync) if kind == StepKind::Completion => Class::Sync,
        _ => Class::Host,
    }
}
