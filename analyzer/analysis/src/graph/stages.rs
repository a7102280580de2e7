//! Which forward pass made what an operation waited for, its own stage's or that of the stage before: what a walk falls back on
//! where the records of sending and receiving, or of waiting for the pass, were lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvpath_schema::tables::derived::{Chunks, Role, Stages as Table};

use super::{Gate, GateKind, Graph, Method, Node, Op, op};
use crate::intervals::Span;
use crate::timeline::LaneAt;

/// A thread that waited for its GPU or another stage goes on within this, ns: messages and the planning of a step take as long.
pub(super) const REACTS_NS: i64 = 5_000_000;

/// A pass, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pass {
    start: i64,
    /// Of the pass before: its end, and the process that ran it.
    before: (i64, i64),
}

/// The passes of a run.
#[derive(Debug, Default)]
pub struct Stages {
    /// Those that have one before them, by process, each by start.
    passes: HashMap<i64, Vec<Pass>>,
    /// All, by process, each by end.
    all: HashMap<i64, Vec<Span>>,
    /// The process that gives each worker its steps.
    pub(super) cores: BTreeMap<i64, i64>,
}

/// Passes of one chunk: each with its process.
type PassesOfChunk = Vec<(i64, Span)>;

impl Stages {
    /// From the derived tables, and the passes of each process by time. The pass before is that of the same chunk on the stage
    /// before; where nothing tells requests apart, the last that the stage before had ended by then.
    #[must_use]
    pub fn of(stages: &Table, chunks: &Chunks, passes: &BTreeMap<i64, Vec<Span>>) -> Self {
        let by_end = |own: &Vec<Span>| {
            let mut own = own.clone();
            own.sort_unstable_by_key(|(start, end)| (*end, *start));
            own
        };
        let all: HashMap<i64, Vec<Span>> = passes.iter().map(|(process, own)| (*process, by_end(own))).collect();
        let with_before =
            if chunks.request.is_empty() { by_time(stages, passes, &all) } else { by_chunk(stages, chunks) };
        let mut found: HashMap<i64, Vec<Pass>> = HashMap::new();
        for (process, pass) in with_before {
            found.entry(process).or_default().push(pass);
        }
        for passes in found.values_mut() {
            passes.sort_unstable();
        }
        Self { passes: found, all, cores: BTreeMap::new() }
    }

    /// With the processes that give workers their steps.
    #[must_use]
    pub fn with_cores(self, cores: BTreeMap<i64, i64>) -> Self {
        Self { cores, ..self }
    }

    /// The pass of a process that ran at a time, else the next one.
    fn at(&self, process: i64, time: i64) -> Option<&Pass> {
        let passes = self.passes.get(&process)?;
        let begun = passes.partition_point(|pass| pass.start <= time);
        begun.checked_sub(1).and_then(|at| passes.get(at)).or_else(|| passes.first())
    }

    /// The first pass that a process began at or after a time.
    fn next(&self, process: i64, from: i64) -> Option<&Pass> {
        let passes = self.passes.get(&process)?;
        passes.get(passes.partition_point(|pass| pass.start < from))
    }

    /// The last pass of a process that had ended by then.
    pub(super) fn ended_by(&self, process: i64, by: i64) -> Option<Span> {
        last(self.all.get(&process)?, by)
    }
}

fn last(by_end: &[Span], by: i64) -> Option<Span> {
    by_end.partition_point(|(_, end)| *end <= by).checked_sub(1).map(|at| by_end[at])
}

/// Of a request whose chunks have not all as many passes it is not known which belong together.
fn by_chunk(stages: &Table, chunks: &Chunks) -> Vec<(i64, Pass)> {
    let prefill = (0..stages.stage_id.len()).filter(|row| stages.role[*row] != Role::Decode);
    let process_of: HashMap<i32, i64> = prefill.map(|row| (stages.stage_id[row], stages.process_id[row])).collect();
    let mut requests: BTreeMap<i32, BTreeMap<i32, PassesOfChunk>> = BTreeMap::new();
    for row in 0..chunks.request.len() {
        let Some(process) = process_of.get(&chunks.stage_id[row]) else { continue };
        let span = (chunks.start_ns[row], chunks.start_ns[row].saturating_add(chunks.dur_ns[row]));
        let of_request = requests.entry(chunks.request[row]).or_default();
        of_request.entry(chunks.chunk[row]).or_default().push((*process, span));
    }
    let are_whole = |chunks: &&BTreeMap<i32, PassesOfChunk>| {
        let mut counts = chunks.values().map(Vec::len);
        counts.next().is_some_and(|first| counts.all(|other| other == first))
    };
    let mut found = Vec::new();
    for passes in requests.values().filter(are_whole).flat_map(BTreeMap::values) {
        for (process, (start, _)) in passes {
            let before = passes.iter().filter(|(other, (_, end))| other != process && end <= start);
            let before = before.map(|(other, (_, end))| (*end, *other)).max();
            found.extend(before.map(|before| (*process, Pass { start: *start, before })));
        }
    }
    found
}

/// Where a run has but one pipeline: the pass that the stage before ended last made what a pass computes on.
fn by_time(stages: &Table, passes: &BTreeMap<i64, Vec<Span>>, all: &HashMap<i64, Vec<Span>>) -> Vec<(i64, Pass)> {
    let mut by_rank: BTreeMap<Option<i32>, Vec<(i32, i64)>> = BTreeMap::new();
    for row in (0..stages.stage_id.len()).filter(|row| stages.role[*row] != Role::Decode) {
        if let Some(rank) = stages.pp_rank[row] {
            by_rank.entry(stages.tp_rank[row]).or_default().push((rank, stages.process_id[row]));
        }
    }
    let mut found = Vec::new();
    for mut ranks in by_rank.into_values() {
        ranks.sort_unstable();
        let numbers: BTreeSet<i32> = ranks.iter().map(|(rank, _)| *rank).collect();
        if numbers.len() < ranks.len() {
            continue;
        }
        for pair in ranks.windows(2) {
            let (from, to) = (pair[0].1, pair[1].1);
            let (Some(before), Some(own)) = (all.get(&from), passes.get(&to)) else { continue };
            let pass = |(start, _): &Span| Some((to, Pass { start: *start, before: (last(before, *start)?.1, from) }));
            found.extend(own.iter().filter_map(pass));
        }
    }
    found
}

impl Graph<'_> {
    /// A pass that no message that was received explains began after that of the stage before, for its stage receives.
    pub(super) fn pass_start(&self, lane: LaneAt, start: i64, into: &mut Vec<Gate>) {
        let process = self.timeline.id(lane).process;
        if !self.is_main(lane) || !self.pairs.is_receiver(process) {
            return;
        }
        let pass = self.stages.next(process, start).filter(|pass| pass.start == start);
        self.pass_end(pass.map(|pass| pass.before), GateKind::PeerDone, into);
    }

    /// A stage cannot compute what the stage before has not made. A thread that made no call while that ran, and goes on with what
    /// follows as soon as it ended, waited for it: over sockets and shared memory, which are not on record.
    pub(super) fn fed(&self, (process, launched): (i64, i64), (since, until): (i64, i64), into: &mut Vec<Gate>) {
        let before = self.stages.at(process, launched).map(|pass| pass.before);
        let before = before.filter(|(end, _)| since < *end && *end <= until && until - end <= REACTS_NS);
        let kernel = before.and_then(|(end, process)| {
            let lane = self.timeline.processes.get(&process)?.main?;
            Some(op(lane, self.timeline.lane(lane).ended_by(end)?))
        });
        into.extend(kernel.map(|kernel| self.gate(Node::end(kernel), GateKind::PeerDone, Method::Structure)));
    }

    /// A thread that is about to launch a receive has been told what will come, over a socket that is not on record, by the thread
    /// that then launched the send: after that one's call before.
    pub(super) fn announced(&self, (stream, at): (LaneAt, usize), (since, until): (i64, i64), into: &mut Vec<Gate>) {
        let Ok(at) = u32::try_from(at) else { return };
        if self.pairs.receives(stream, at) != Some(true) {
            return;
        }
        let call = self.pairs.partner(stream, at).and_then(|(sent, _)| {
            let Op::Lane(lane, sent) = sent else { return None };
            let key = self.timeline.lane(lane).key[sent as usize];
            let (thread, launch) = self.timeline.call(self.timeline.id(lane).process, key)?;
            let before = self.timeline.lane(thread).before(launch)?;
            Some((self.timeline.lane(thread).end[before], Node::end(op(thread, before))))
        });
        let call = call.filter(|(end, _)| since < *end && *end <= until && until - end <= REACTS_NS);
        into.extend(call.map(|(_, node)| self.gate(node, GateKind::PeerSends, Method::Structure)));
    }

    /// A message that waited for nothing of the pass before it was sent after that, for its stream waits for others.
    pub(super) fn send_start(&self, lane: LaneAt, start: i64, into: &mut Vec<Gate>) {
        let process = self.timeline.id(lane).process;
        let Some(made) = self.stages.ended_by(process, start) else { return };
        let has_waited = into.iter().any(|gate| gate.kind == GateKind::EventWait && gate.at > made.0);
        if !has_waited && self.timeline.waits.is_waiting(lane) {
            self.pass_end(Some((made.1, process)), GateKind::EventWait, into);
        }
    }

    /// A receive whose other end was lost ended after the pass that made what it received.
    pub(super) fn lost_send(&self, lane: LaneAt, (start, end): (i64, i64), into: &mut Vec<Gate>) {
        let process = self.timeline.id(lane).process;
        if !self.pairs.is_receiver(process) {
            return;
        }
        let before = self.stages.next(process, end).map(|pass| pass.before);
        let before = before.filter(|(made, _)| start < *made && *made <= end);
        self.pass_end(before, GateKind::PeerStarted, into);
    }

    /// The end of a pass, if that came after all else that is known.
    fn pass_end(&self, pass: Option<(i64, i64)>, kind: GateKind, into: &mut Vec<Gate>) {
        let later = pass.filter(|(end, _)| into.iter().all(|gate| gate.at < *end));
        let kernel = later.and_then(|(end, process)| {
            let lane = self.timeline.processes.get(&process)?.main?;
            Some(op(lane, self.timeline.lane(lane).ended_by(end)?))
        });
        into.extend(kernel.map(|kernel| self.gate(Node::end(kernel), kind, Method::Engine)));
    }

    fn is_main(&self, lane: LaneAt) -> bool {
        let process = self.timeline.processes.get(&self.timeline.id(lane).process);
        process.and_then(|process| process.main) == Some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::pairs::Pairs;
    use crate::graph::{Request, Transfers};
    use crate::timeline::recorded::{EventRecord, Sync, SyncKind};
    use crate::timeline::{LaneId, LaneKind, Timeline, Waits};

    const US: i64 = 1_000;

    fn stream(process: i64, stream: i32) -> LaneId {
        LaneId { process, kind: LaneKind::Stream { context: 1, stream } }
    }

    /// Three passes of two stages: a kernel of 1 ms on stream 7, each with its message on stream 8. Returns what ran, but for the
    /// kernel with number `lost` of a process, and the passes.
    fn two_stages(lost: (i64, i64)) -> (Timeline, Stages) {
        let mut timeline = Timeline::default();
        let mut stages = Stages::default();
        let mut add = |process: i64, on: i32, name: &str, span_and_key: (i64, i64, i64)| {
            if (process, span_and_key.2) != lost {
                timeline.add_kernel(stream(process, on), 0, name, span_and_key);
            }
        };
        for pass in 0..3 {
            let (at, key) = (pass * 1_500 * US, pass * 10 + 1);
            let (end, there) = (at + 1_000 * US, at + 1_400 * US);
            add(1, 7, "gemm", (at, end, key));
            add(1, 8, "ncclDevKernel_SendRecv", (end + 2 * US, there, key + 2));
            add(2, 8, "ncclDevKernel_SendRecv", (at, there, key + 2));
            add(2, 7, "gemm", (there + 2 * US, there + 1_002 * US, key + 4));
            let before = (end, 1);
            stages.passes.entry(2).or_default().push(Pass { start: there + 2 * US, before });
            stages.all.entry(1).or_default().push((at, end));
            stages.all.entry(2).or_default().push((there + 2 * US, there + 1_002 * US));
        }
        (timeline, stages)
    }

    /// The gate that binds the start or the end of the last operation on a stream.
    fn binds(timeline: &Timeline, stages: &Stages, of: LaneId, is_end: bool) -> Option<(GateKind, Method, i64)> {
        let pairs = Pairs::of(timeline, &[vec![1, 2]]);
        let transfers = Transfers::default();
        let graph = Graph { timeline, transfers: &transfers, pairs: &pairs, stages };
        let lane = timeline.find(of)?;
        let node = Node { op: op(lane, timeline.lane(lane).len() - 1), is_end };
        let mut gates = Vec::new();
        graph.gates(node, &Request::default(), &mut gates);
        crate::graph::last(&gates).map(|gate| (gate.kind, gate.method, gate.at / US))
    }

    #[test]
    fn a_thread_that_is_told_of_a_message_goes_on_after_the_sender_came_to_it() {
        let (mut timeline, stages) = two_stages((0, 0));
        // Of the third pass: the sender's call before the send's launch, the receiver's before and after its wait.
        timeline.add_call(1, 1, "cudaEventRecord", (3_090 * US, 3_100 * US, 22));
        timeline.add_call(1, 1, "cuLaunchKernelEx", (3_700 * US, 3_710 * US, 23));
        timeline.add_call(2, 2, "cudaEventRecord", (1_000 * US, 1_010 * US, 22));
        timeline.add_call(2, 2, "cuLaunchKernelEx", (3_500 * US, 3_510 * US, 23));
        let thread = LaneId { process: 2, kind: LaneKind::Thread(2) };
        let found = binds(&timeline, &stages, thread, false);
        assert_eq!(found, Some((GateKind::PeerSends, Method::Structure, 3_100)));
        // So late that it was not that which it waited for.
        let (mut timeline, stages) = two_stages((0, 0));
        timeline.add_call(1, 1, "cudaEventRecord", (900 * US, 990 * US, 22));
        timeline.add_call(1, 1, "cuLaunchKernelEx", (3_700 * US, 3_710 * US, 23));
        timeline.add_call(2, 2, "cudaEventRecord", (1_000 * US, 1_010 * US, 22));
        timeline.add_call(2, 2, "cuLaunchKernelEx", (3_500 * US, 3_510 * US, 23));
        assert_ne!(binds(&timeline, &stages, thread, false).map(|found| found.0), Some(GateKind::PeerSends));
    }

    #[test]
    fn a_pass_whose_receive_was_lost_began_after_that_of_the_stage_before() {
        let (timeline, stages) = two_stages((2, 23));
        let found = binds(&timeline, &stages, stream(2, 7), false);
        assert_eq!(found, Some((GateKind::PeerDone, Method::Engine, 4_000)));
    }

    #[test]
    fn a_receive_whose_send_was_lost_ended_after_the_pass_that_made_it() {
        let (timeline, stages) = two_stages((0, 0));
        let found = binds(&timeline, &stages, stream(2, 8), true);
        assert_eq!(found, Some((GateKind::PeerStarted, Method::Count, 4_002)));
        let (timeline, stages) = two_stages((1, 23));
        let found = binds(&timeline, &stages, stream(2, 8), true);
        assert_eq!(found, Some((GateKind::PeerStarted, Method::Engine, 4_000)));
    }

    #[test]
    fn a_send_whose_wait_was_lost_began_after_the_pass_that_made_it() {
        let (mut timeline, stages) = two_stages((0, 0));
        let found = binds(&timeline, &stages, stream(1, 8), false);
        assert_eq!(found, Some((GateKind::StreamOrder, Method::Order, 2_900)), "no waits are recorded at all");
        // Those of the first two are.
        let record = |pass: i64| EventRecord {
            process: 1,
            context: 1,
            stream: 7,
            event: 5,
            recording: Some(pass),
            correlation: pass * 10 + 2,
        };
        let wait = |pass: i64| Sync {
            process: 1,
            context: 1,
            stream: Some(8),
            event: Some(5),
            recording: Some(pass),
            correlation: pass * 10 + 2,
            kind: SyncKind::StreamWait,
        };
        timeline.waits = Waits::by_hand(&[wait(0), wait(1)], &[record(0), record(1)], |id| timeline.find(id));
        let found = binds(&timeline, &stages, stream(1, 8), false);
        assert_eq!(found, Some((GateKind::EventWait, Method::Engine, 4_000)));
    }
}
