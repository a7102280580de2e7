//! What the time on a path was spent on.

use super::walk::{Step, StepKind};
use crate::graph::{GateKind, Graph, Method, Op};
use crate::timeline::{Class, LaneKind};

/// A category, by its name in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// A compute kernel runs.
    Compute,
    /// Dispatch of work on a GPU after what it waited for there.
    KernelGap,
    /// From a launch to the start of what it launched.
    Launch,
    /// A host thread works: calls, and whatever it does between them.
    Host,
    /// A blocking call returns.
    Sync,
    /// Activations are on their way between stages.
    P2p,
    /// A collective of NCCL runs.
    Collective,
    /// The GPU copies or sets memory, not to another device.
    Copy,
    /// From the request's arrival to its first work: HTTP, queue, scheduler.
    Queue,
    /// Decode's registration is made and on its way.
    ReadyWait,
    /// `makeXferReq`, and the waking of the thread that calls it.
    Make,
    /// `postXferReq`.
    Post,
    /// Bytes of a transfer are on their way.
    Wire,
    /// A notification is on its way, or what shows that it can be sent has not been polled.
    Notify,
    /// Decode has been told, and does not launch yet: it polls and plans.
    Schedule,
    /// From the last work on the path to the first token at the client.
    Respond,
    /// No gate explains it.
    Unexplained,
}

impl Category {
    /// All, in the order in which a request meets them.
    pub const ALL: [Self; 17] = [
        Self::Queue,
        Self::Host,
        Self::Launch,
        Self::KernelGap,
        Self::Compute,
        Self::P2p,
        Self::Collective,
        Self::Copy,
        Self::Sync,
        Self::ReadyWait,
        Self::Make,
        Self::Post,
        Self::Wire,
        Self::Notify,
        Self::Schedule,
        Self::Respond,
        Self::Unexplained,
    ];

    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::KernelGap => "kernel_gap",
            Self::Launch => "launch",
            Self::Host => "host",
            Self::Sync => "sync",
            Self::P2p => "p2p",
            Self::Collective => "collective",
            Self::Copy => "copy",
            Self::Queue => "queue",
            Self::ReadyWait => "ready_wait",
            Self::Make => "make",
            Self::Post => "post",
            Self::Wire => "wire",
            Self::Notify => "notify",
            Self::Schedule => "schedule",
            Self::Respond => "respond",
            Self::Unexplained => "unexplained",
        }
    }

    /// Of a step.
    #[must_use]
    pub fn of(graph: &Graph, step: &Step) -> Self {
        // Something that is not recorded may have come later.
        if step.kind != StepKind::Work && matches!(step.gate, Some((_, Method::Partial))) {
            return Self::Unexplained;
        }
        if step.kind == StepKind::Untaken {
            return Self::Notify;
        }
        match step.op {
            // What led to it is not known: neither is when it left.
            Op::Wire(_) if step.kind == StepKind::Source => Self::Unexplained,
            Op::Wire(_) if step.kind == StepKind::Gap && matches!(step.gate, Some((GateKind::PrefillDone, _))) => {
                Self::ReadyWait
            }
            // Of the calls that made it no record is left.
            Op::Wire(_) if step.kind == StepKind::Gap && !is_posted(step) => Self::Make,
            Op::Wire(_) => Self::Wire,
            Op::Notif(_) => Self::Notify,
            Op::Registration(_) => Self::ReadyWait,
            Op::Lane(lane, at) => {
                let class = graph.timeline.class(lane, at as usize);
                match graph.timeline.id(lane).kind {
                    LaneKind::Thread(_) => Self::of_call(class, step),
                    LaneKind::Stream { .. } if is_order(step) && graph.timeline.may_lack_before(lane, at as usize) => {
                        Self::Unexplained
                    }
                    LaneKind::Stream { .. } => Self::of_gpu(class, step, graph.timeline.lane(lane).dispatch_ns),
                }
            }
        }
    }

    fn of_call(class: Class, step: &Step) -> Self {
        match (class, step.kind, step.gate) {
            (Class::Post, ..) => Self::Post,
            (Class::Make, StepKind::Gap, Some((GateKind::PrefillDone, _))) => Self::ReadyWait,
            (Class::Make, ..) => Self::Make,
            (_, StepKind::Source, _) => Self::Queue,
            (_, StepKind::Completion, _) => Self::Sync,
            (_, StepKind::Gap, Some((GateKind::PeerDone, _))) => Self::P2p,
            (_, StepKind::Gap, Some((GateKind::Notified | GateKind::Transferred, _))) => Self::Schedule,
            _ => Self::Host,
        }
    }

    fn of_gpu(class: Class, step: &Step, dispatch_ns: i64) -> Self {
        if step.kind == StepKind::Source {
            return Self::Queue;
        }
        if step.kind != StepKind::Gap {
            return match class {
                Class::Compute | Class::GraphRun => Self::Compute,
                Class::PointToPoint | Class::PeerCopy => Self::P2p,
                Class::Collective => Self::Collective,
                _ => Self::Copy,
            };
        }
        match step.gate {
            Some((GateKind::Launch, Method::Neighbour) | (GateKind::CopiedIn, _)) => Self::Host,
            Some((GateKind::Launch, _)) => Self::Launch,
            Some((GateKind::Notified | GateKind::Transferred, _)) => Self::Schedule,
            _ if step.end - step.start > dispatch_ns => Self::Unexplained,
            _ if class == Class::PointToPoint => Self::P2p,
            _ => Self::KernelGap,
        }
    }
}

fn is_posted(step: &Step) -> bool {
    matches!(step.gate, Some((GateKind::Posted, _)))
}

/// Whether it is what a stream did between two of its operations.
fn is_order(step: &Step) -> bool {
    step.kind == StepKind::Gap && matches!(step.gate, Some((GateKind::StreamOrder, _)))
}
