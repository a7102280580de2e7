//! Processes, threads, streams and links on top of the engine, and the CUDA calls that work on them.

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Gate, GateKind, Label, LaneId, NewOp, Ns, OpId, OpKind, Policy};
use crate::names;

/// What a lane stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneKind {
    /// A host thread; its operations run in program order.
    Thread,
    /// A CUDA stream.
    Stream,
    /// The wire between two stages, one message after another.
    Link,
    /// The NIC that carries hand-offs to decode, in the order in which they are posted.
    Nic,
    /// Messages that do not hinder each other: notifications, requests.
    Messages,
}

/// A lane as the truth and the records name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneInfo {
    /// What it is.
    pub kind: LaneKind,
    /// Position in the processes of the rig; `None` for links.
    #[serde(skip)]
    pub process: Option<usize>,
    /// `processes.process_id`; null for links.
    pub process_id: Option<i64>,
    /// Thread id, of threads.
    pub tid: Option<i32>,
    /// `kernels.stream_id`, of streams.
    pub stream_id: Option<i32>,
    /// Stage it belongs to; of a link, the one it leads from; null if it serves several.
    pub stage: Option<i16>,
    /// What it is for.
    pub name: String,
}

/// A traced process.
#[derive(Debug, Clone)]
pub struct Process {
    /// `processes.process_id`, and its pid.
    pub process_id: i64,
    /// Title.
    pub title: String,
    /// Position of its host in the run.
    pub host: usize,
    /// CUDA ordinal and context.
    pub device_id: i32,
    /// Name of its NIXL agent.
    pub agent: Option<String>,
    next_correlation: u64,
    /// Events recorded so far.
    next_event: u64,
}

/// What CUDA calls cost, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCosts {
    /// A launch.
    pub launch_ns: Ns,
    /// Recording an event, or making a stream wait for one.
    pub event_ns: Ns,
    /// From the last gate of a kernel to its start.
    pub dispatch_ns: Ns,
    /// From the end of what a blocking call waits for to its return.
    pub sync_ns: Ns,
}

/// An event that was recorded into a stream.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The operation that ends when the event fires; `None` if the stream was empty.
    pub after: Option<OpId>,
    /// `event_sync_id`; counts within a process.
    pub sync_id: u64,
    stream: LaneId,
}

/// Everything that a model is built from.
#[derive(Debug, Default)]
pub struct Rig {
    /// The engine.
    pub engine: Engine,
    /// Lanes, by id.
    pub lanes: Vec<LaneInfo>,
    /// Processes.
    pub processes: Vec<Process>,
    /// Waits that the next operation of a stream must heed, by lane.
    waits: Vec<Vec<Gate>>,
    /// Legacy default stream and the blocking streams of a process: (default stream, blocking stream).
    barriers: Vec<(LaneId, LaneId)>,
}

impl Rig {
    /// Kernel names by [`Label::name`].
    #[must_use]
    pub fn names() -> &'static [names::KernelName] {
        names::NAMES
    }

    /// Adds a process.
    pub fn process(&mut self, process_id: i64, title: &str, host: usize, device_id: i32) -> usize {
        let title = title.to_owned();
        let (agent, next_correlation, next_event) = (None, 0, 0);
        self.processes.push(Process { process_id, title, host, device_id, agent, next_correlation, next_event });
        self.processes.len() - 1
    }

    /// Adds a thread of a process.
    pub fn thread(&mut self, process: usize, tid: i32, stage: i16, name: &str) -> LaneId {
        self.lane(LaneInfo {
            kind: LaneKind::Thread,
            process: Some(process),
            process_id: Some(self.processes[process].process_id),
            tid: Some(tid),
            stream_id: None,
            stage: Some(stage),
            name: name.to_owned(),
        })
    }

    /// Adds a stream of a process.
    pub fn stream(&mut self, process: usize, stream_id: i32, stage: i16, name: &str) -> LaneId {
        self.lane(LaneInfo {
            kind: LaneKind::Stream,
            process: Some(process),
            process_id: Some(self.processes[process].process_id),
            tid: None,
            stream_id: Some(stream_id),
            stage: Some(stage),
            name: name.to_owned(),
        })
    }

    /// Adds a lane between processes.
    pub fn wire(&mut self, kind: LaneKind, stage: Option<i16>, name: &str) -> LaneId {
        let name = name.to_owned();
        self.lane(LaneInfo { kind, process: None, process_id: None, tid: None, stream_id: None, stage, name })
    }

    fn lane(&mut self, info: LaneInfo) -> LaneId {
        let policy = match info.kind {
            LaneKind::Thread => Policy::Ordered(GateKind::ProgramOrder),
            LaneKind::Stream => Policy::Ordered(GateKind::StreamOrder),
            LaneKind::Link => Policy::Ordered(GateKind::LaneOrder),
            LaneKind::Nic => Policy::Arrival,
            LaneKind::Messages => Policy::Free,
        };
        let watched = info.name == "compute";
        self.lanes.push(info);
        self.waits.push(Vec::new());
        self.engine.add_lane(policy, watched)
    }

    /// Makes `default` the legacy default stream for `blocking`: work on one waits for all earlier work on the other.
    pub fn barrier(&mut self, default: LaneId, blocking: LaneId) {
        self.barriers.push((default, blocking));
    }

    /// Something that a thread does.
    pub fn host(&mut self, thread: LaneId, work_ns: Ns, label: Label, starts: &[Gate]) -> OpId {
        self.engine.add(NewOp::new(thread, work_ns, label), starts, &[])
    }

    fn correlation(&mut self, lane: LaneId) -> u64 {
        let Some(process) = self.lanes[usize::from(lane)].process else { return 0 };
        let next = &mut self.processes[process].next_correlation;
        *next += 1;
        *next
    }

    /// Launches a kernel; returns it.
    pub fn launch(
        &mut self,
        costs: &CallCosts,
        thread: LaneId,
        stream: LaneId,
        (name, work_ns): (u16, Ns),
        label: Label,
    ) -> OpId {
        let (new, gates) = self.launch_call(costs, thread, stream, (name, work_ns), label);
        self.engine.add(new, &gates, &[])
    }

    /// Launches a kernel whose finish gates follow by [`Engine::close`].
    pub fn launch_open(
        &mut self,
        costs: &CallCosts,
        thread: LaneId,
        stream: LaneId,
        (name, work_ns): (u16, Ns),
        label: Label,
    ) -> OpId {
        let (new, gates) = self.launch_call(costs, thread, stream, (name, work_ns), label);
        self.engine.add_open(new, &gates)
    }

    fn launch_call(
        &mut self,
        costs: &CallCosts,
        thread: LaneId,
        stream: LaneId,
        (name, work_ns): (u16, Ns),
        label: Label,
    ) -> (NewOp, Vec<Gate>) {
        let correlation = self.correlation(thread);
        let call = Label { correlation, ..label.doing(OpKind::Launch) };
        let call = self.host(thread, costs.launch_ns, call, &[]);
        let mut gates = self.stream_gates(stream);
        gates.push(Gate::after(call, GateKind::Launch));
        (NewOp::new(stream, work_ns, Label { name, correlation, ..label }).lead(costs.dispatch_ns), gates)
    }

    /// Launches a graph of kernels: name, duration and, for each, the earlier nodes it waits for. Nodes run on the stream
    /// that `streams` names for them; returns the kernels.
    pub fn launch_graph(
        &mut self,
        costs: &CallCosts,
        thread: LaneId,
        streams: &[LaneId],
        nodes: &[(u16, Ns, &[usize])],
        label: Label,
    ) -> Vec<OpId> {
        let correlation = self.correlation(thread);
        let call = Label { correlation, ..label.doing(OpKind::GraphLaunch) };
        let call = self.host(thread, costs.launch_ns, call, &[]);
        let mut kernels: Vec<OpId> = Vec::with_capacity(nodes.len());
        for (at, (name, work_ns, after)) in nodes.iter().enumerate() {
            let mut gates: Vec<Gate> = after.iter().map(|n| Gate::after(kernels[*n], GateKind::GraphEdge)).collect();
            if gates.is_empty() {
                gates = self.stream_gates(streams[at]);
                gates.push(Gate::after(call, GateKind::Launch));
            }
            let label = Label { name: *name, correlation, aux: at as u64 + 1, ..label };
            let new = NewOp::new(streams[at], *work_ns, label).lead(costs.dispatch_ns);
            kernels.push(self.engine.add(new, &gates, &[]));
        }
        kernels
    }

    /// What the next operation of a stream must heed besides the stream itself.
    fn stream_gates(&mut self, stream: LaneId) -> Vec<Gate> {
        let mut gates = std::mem::take(&mut self.waits[usize::from(stream)]);
        for (default, blocking) in &self.barriers {
            let other = match stream {
                s if s == *default => *blocking,
                s if s == *blocking => *default,
                _ => continue,
            };
            gates.extend(self.engine.last_on(other).map(|op| Gate::after(op, GateKind::DefaultStream)));
        }
        gates
    }

    /// Records an event into a stream.
    pub fn record_event(&mut self, costs: &CallCosts, thread: LaneId, stream: LaneId, label: Label) -> Event {
        let sync_id = self.lanes[usize::from(thread)].process.map_or(0, |process| {
            self.processes[process].next_event += 1;
            self.processes[process].next_event
        });
        let correlation = self.correlation(thread);
        let label = Label { correlation, aux: sync_id, stream, ..label.doing(OpKind::EventRecord) };
        self.host(thread, costs.event_ns, label, &[]);
        Event { after: self.engine.last_on(stream), sync_id, stream }
    }

    /// Makes the next operation of a stream wait for an event.
    pub fn wait_event(&mut self, costs: &CallCosts, thread: LaneId, stream: LaneId, event: Event, label: Label) {
        let correlation = self.correlation(thread);
        let label = Label { correlation, aux: event.sync_id, stream, ..label.doing(OpKind::StreamWait) };
        self.host(thread, costs.event_ns, label, &[]);
        self.waits[usize::from(stream)].extend(event.after.map(|op| Gate::after(op, GateKind::EventWait)));
    }

    /// Blocks a thread until an event fires.
    pub fn sync_event(&mut self, costs: &CallCosts, thread: LaneId, event: Event, label: Label) -> OpId {
        let correlation = self.correlation(thread);
        let label = Label { correlation, aux: event.sync_id, stream: event.stream, ..label.doing(OpKind::EventSync) };
        let gate = event.after.map(|op| Gate::after(op, GateKind::HostSync));
        self.engine.add(NewOp::new(thread, costs.sync_ns, label), &[], gate.as_slice())
    }

    /// Connects a send and a receive, both launched open, over a link: the message leaves when the send starts and, where
    /// it does not fit into the FIFO, not before the receive does. Returns the message.
    pub fn connect(&mut self, send: OpId, receive: OpId, link: LaneId, message: Message, label: Label) -> OpId {
        let mut starts = vec![Gate::with(send, GateKind::SendStarted)];
        if !message.fits_fifo {
            starts.push(Gate::with(receive, GateKind::ReceiveStarted));
        }
        let new = NewOp::new(link, message.work_ns, label.doing(OpKind::Message)).lead(message.latency_ns);
        let carried = self.engine.add(new, &starts, &[]);
        let gate = Gate::after(carried, GateKind::Carried);
        // A message that fits is handed over to the FIFO, whoever receives it.
        self.engine.close(send, if message.fits_fifo { &[] } else { std::slice::from_ref(&gate) });
        self.engine.close(receive, std::slice::from_ref(&gate));
        carried
    }
}

/// A message from one stage to the next.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Time on the wire, ns.
    pub work_ns: Ns,
    /// From both ends ready to the first byte, ns.
    pub latency_ns: Ns,
    /// Whether the send can end without the receive.
    pub fits_fifo: bool,
}
