//! What the time on a path was spent on.

use super::walk::{Step, StepKind};
use crate::graph::{GateKind, Graph, HOLE_NS, Method, Op};
use crate::timeline::threads::Blocking;
use crate::timeline::{Class, LaneAt, LaneKind, dispatch};

/// Defines the categories: each with its name in tables, and with its documentation as its meaning.
macro_rules! categories {
    ($($(#[doc = $doc:literal])+ $category:ident => $name:literal,)+) => {
        /// A category, by its name in tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Category {
            $($(#[doc = $doc])+ $category,)+
        }

        impl Category {
            /// All, in the order in which a request meets them.
            pub const ALL: &[Self] = &[$(Self::$category),+];

            /// Name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$category => $name),+
                }
            }

            /// What the time goes to, for people.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$category => concat!($($doc),+).trim()),+
                }
            }
        }
    };
}

categories! {
    /// From the request's arrival to its first work: HTTP, queue, scheduler.
    Queue => "queue",
    /// A host thread works: calls, what lies between calls that follow each other closely, and time that it is known to have been
    /// on a CPU.
    Host => "host",
    /// A host thread waits: off the CPU, for what the path names (a sleep, a lock, a socket), or makes no call for long, and whether it
    /// ran is not on record.
    Waiting => "waiting",
    /// From a launch to the start of what it launched.
    Launch => "launch",
    /// Dispatch of work on a GPU after what it waited for there.
    KernelGap => "kernel_gap",
    /// A compute kernel runs.
    Compute => "compute",
    /// Activations are on their way between stages.
    P2p => "p2p",
    /// A collective runs, or another kernel that moves data between GPUs.
    Collective => "collective",
    /// The GPU copies or sets memory, not to another device.
    Copy => "copy",
    /// A blocking call returns.
    Sync => "sync",
    /// Prefill is done, and decode is to learn of it; or decode's registration is made and on its way.
    ReadyWait => "ready_wait",
    /// Two agents meet for the first time: they exchange what they say of themselves, and connect.
    Handshake => "handshake",
    /// `makeXferReq`, and the waking of the thread that calls it.
    Make => "make",
    /// `postXferReq`.
    Post => "post",
    /// Bytes of a transfer are on their way.
    Wire => "wire",
    /// A notification is on its way, waits to be sent until a poll shows the completion,
    /// or waits to be fetched by the receiver.
    Notify => "notify",
    /// The receiver brings the KV that came into its own layout, before its model runs on it.
    Relayout => "relayout",
    /// KV is copied from a GPU into the host memory that it is handed over from, tensor by tensor: the copies, the kernels that collect its
    /// blocks, and what the thread does between two of them in host memory.
    StagingOut => "staging_out",
    /// The same from host memory to the receiver's GPU.
    StagingIn => "staging_in",
    /// Decode has the notification and does not launch yet: it polls, plans, and ends its step for other requests.
    Schedule => "schedule",
    /// From the last work on the path to the first token at the client.
    Respond => "respond",
    /// Nothing that was recorded explains it.
    Unexplained => "unexplained",
}

impl Category {
    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|category| category.name() == name)
    }

    /// Whether records show what the time goes to. Of the time before the first and after the last of them, and of a thread that makes
    /// no call, they show only that it passed.
    #[must_use]
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::Queue | Self::Waiting | Self::Respond | Self::Unexplained)
    }

    /// Of a step.
    #[must_use]
    pub fn of(graph: &Graph, step: &Step) -> Self {
        // Something that is not recorded may have come later.
        if step.kind != StepKind::Work && matches!(step.gate, Some((_, Method::Partial))) {
            return Self::Unexplained;
        }
        if step.kind == StepKind::NotificationWait {
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
            Op::Contact(_) | Op::Registration(_) | Op::Lane(..) if has_met(step) => Self::Handshake,
            Op::Contact(_) if matches!(step.gate, Some((GateKind::Registered, _))) => Self::Handshake,
            Op::Contact(_) | Op::Registration(_) => Self::ReadyWait,
            // It had waited when the request came: for that.
            Op::OffCpu(row) if step.kind == StepKind::Work && is_idle(graph, step, row) => Self::Queue,
            Op::OffCpu(_) if step.kind == StepKind::Work => Self::Waiting,
            Op::OffCpu(_) | Op::Wake(_) => Self::of_call(Class::Call, step),
            Op::Lane(lane, at) => {
                let class = graph.timeline.class(lane, at as usize);
                match graph.timeline.id(lane).kind {
                    LaneKind::Thread(_) => {
                        let staging = graph.timeline.is_staging(lane, at as usize).filter(|_| is_program_order(step));
                        staging.map_or_else(|| Self::of_call(class, step), Self::of_staging)
                    }
                    LaneKind::Stream { .. } if is_order(step) && graph.timeline.may_lack_before(lane, at as usize) => {
                        Self::Unexplained
                    }
                    LaneKind::Stream { .. } if is_launch(step) && is_late(graph, step, (lane, at as usize)) => {
                        Self::Unexplained
                    }
                    LaneKind::Stream { .. } => Self::of_gpu(class, step, graph.timeline.lane(lane).dispatch_ns),
                }
            }
        }
    }

    fn of_call(class: Class, step: &Step) -> Self {
        match (class, step.kind, step.gate) {
            (_, StepKind::Source, _) => Self::Queue,
            (_, StepKind::Gap | StepKind::Completion, Some((GateKind::PrefillDone, _))) => Self::ReadyWait,
            (_, StepKind::Completion, Some((GateKind::Notified | GateKind::Transferred, _))) => Self::Schedule,
            (Class::Post, ..) => Self::Post,
            (Class::Make, StepKind::Gap, Some((GateKind::ProgramOrder, _))) if step.end - step.start > HOLE_NS => {
                Self::Waiting
            }
            (Class::Make, ..) => Self::Make,
            (_, StepKind::Completion, _) => Self::Sync,
            (_, StepKind::Gap, Some((GateKind::PeerDone, _))) => Self::P2p,
            (_, StepKind::Gap, Some((GateKind::Notified | GateKind::Transferred, _))) => Self::Schedule,
            (_, StepKind::Gap, Some((GateKind::KvWritten, _))) => Self::Waiting,
            (_, StepKind::Gap, Some((GateKind::ProgramOrder | GateKind::Blocked, _)))
                if step.end - step.start > HOLE_NS =>
            {
                Self::Waiting
            }
            _ => Self::Host,
        }
    }

    fn of_staging(class: Class) -> Self {
        match class {
            Class::StagedOut | Class::StagingGather => Self::StagingOut,
            _ => Self::StagingIn,
        }
    }

    fn of_gpu(class: Class, step: &Step, dispatch_ns: i64) -> Self {
        if step.kind == StepKind::Source {
            return Self::Queue;
        }
        match step.gate {
            Some((GateKind::PrefillDone, _)) if step.kind != StepKind::Work => return Self::ReadyWait,
            Some((GateKind::Notified | GateKind::Transferred, _)) if step.kind == StepKind::Completion => {
                return Self::Schedule;
            }
            _ => {}
        }
        if step.kind != StepKind::Gap {
            return match class {
                Class::Compute | Class::GraphRun => Self::Compute,
                Class::Relayout => Self::Relayout,
                _ if class.is_of_handoff() => Self::of_staging(class),
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

/// Whether it went on since agents had begun to meet.
fn has_met(step: &Step) -> bool {
    step.kind == StepKind::Gap && matches!(step.gate, Some((GateKind::Met, _)))
}

/// Whether it is what a thread did between two of its calls.
fn is_program_order(step: &Step) -> bool {
    step.kind == StepKind::Gap && matches!(step.gate, Some((GateKind::ProgramOrder, _)))
}

/// Whether a thread had begun to wait before what the step shows of that, and no record says for what.
fn is_idle(graph: &Graph, step: &Step, row: u32) -> bool {
    let wait = graph.timeline.threads.interval(row);
    wait.start < step.start && matches!(wait.blocking, Blocking::Unknown | Blocking::Woken)
}

fn is_posted(step: &Step) -> bool {
    matches!(step.gate, Some((GateKind::Posted, _)))
}

fn is_launch(step: &Step) -> bool {
    step.kind == StepKind::Gap && matches!(step.gate, Some((GateKind::Launch, Method::Id)))
}

/// A launch reaches its GPU within some us after its call has returned. What takes longer waits for something there, and no stream
/// or event shows what.
fn is_late(graph: &Graph, step: &Step, (lane, at): (LaneAt, usize)) -> bool {
    let key = graph.timeline.lane(lane).key[at];
    let call = graph.timeline.call(graph.timeline.id(lane).process, key);
    let returned = call.map_or(step.start, |(thread, call)| graph.timeline.lane(thread).end[call]);
    step.end.saturating_sub(returned.max(step.start)) > dispatch::MOST_NS
}

/// Whether it is what a stream did between two of its operations.
fn is_order(step: &Step) -> bool {
    step.kind == StepKind::Gap && matches!(step.gate, Some((GateKind::StreamOrder, _)))
}
