//! Which streams' copies carry KV. A record of a copy names neither its addresses nor the transfer that asked for it, and devices
//! do not tell: a decode worker may run on a GPU that prefill uses too. What tells is who copied, when, and on which stream: a
//! library that moves KV copies on streams of its own, on which no kernel ever runs, while a transfer of that process is under
//! way.
//!
//! A stage's activations may be copied in such a way as well: into its own device, or to that of another stage. So the peer copies
//! that go elsewhere come first. Only if these are less than the process's transfers, streams on which no kernel ran count with all
//! their copies, within a device too, if these are as large as descriptors and made while a transfer was under way.

use std::collections::{BTreeSet, HashMap, HashSet};

use kvpath_schema::tables::nixl::{XferOp, XferStatus};

use crate::facts::{Copy, CopyRoute, Facts};
use crate::intervals::{Span, Union};
use crate::timeline::{LaneId, LaneKind, Timeline};

/// Share of a stream's copies that must fit.
const FITTING: f64 = 0.9;

/// Context and stream.
type Stream = (i32, i32);

/// The copies that carry KV, of each process that posted transfers.
#[derive(Debug, Default)]
pub struct Carriers {
    of_process: HashMap<i64, Own>,
    /// Prefill stages: their processes, and the device of each.
    devices: HashMap<i64, i32>,
    /// They seem to number devices alike: each is on another one.
    are_apart: bool,
}

/// Whether numbers of devices may be compared between prefill stages, given as processes with the device of each: two that are on the
/// same one by their own count mostly number different ones alike (`CUDA_VISIBLE_DEVICES`), and no record tells which they are.
#[must_use]
pub fn number_alike(stages: &[(i64, Option<i32>)]) -> bool {
    let known: Vec<i32> = stages.iter().filter_map(|(_, device)| *device).collect();
    known.iter().collect::<HashSet<_>>().len() == known.len()
}

/// Of a process.
#[derive(Debug, Default)]
struct Own {
    /// All of its transfers are pushes.
    pushes_only: bool,
    /// Streams of which all copies carry KV.
    whole: HashSet<Stream>,
    /// Whether any copy does.
    any: bool,
}

/// What is known of a stream's copies.
#[derive(Default)]
struct Seen {
    copies: usize,
    fitting: usize,
}

impl Carriers {
    /// Of a run; `stages` are the processes of prefill with their devices.
    #[must_use]
    pub fn of(facts: &Facts, timeline: &Timeline, stages: &[(i64, Option<i32>)]) -> Self {
        let devices: HashMap<i64, i32> =
            stages.iter().filter_map(|(process, device)| Some((*process, (*device)?))).collect();
        let are_apart = number_alike(stages);
        let mut found = Self { of_process: HashMap::new(), devices, are_apart };
        let posters: BTreeSet<i64> = facts.transfers.process_id.iter().copied().collect();
        for process in posters {
            let own = found.own(facts, timeline, process);
            found.of_process.insert(process, own);
        }
        found
    }

    /// Whether that copy carries KV, for all that is known.
    #[must_use]
    pub fn carries(&self, way: &CopyRoute) -> bool {
        let pushes_only = self.of_process.get(&way.process).is_some_and(|own| own.pushes_only);
        self.is_of_whole_stream(way) || way.is_peer && !self.may_be_activation(way, pushes_only)
    }

    /// Whether all copies of its stream carry KV, wherever they go.
    #[must_use]
    pub fn is_of_whole_stream(&self, way: &CopyRoute) -> bool {
        self.of_process.get(&way.process).is_some_and(|own| own.whole.contains(&(way.context, way.stream)))
    }

    /// Whether a process copied KV at all.
    #[must_use]
    pub fn has(&self, process: i64) -> bool {
        self.of_process.get(&process).is_some_and(|own| own.any)
    }

    /// Into its own device, unless it pulls, or to that of another stage.
    fn may_be_activation(&self, way: &CopyRoute, pushes_only: bool) -> bool {
        let Some(own) = self.devices.get(&way.process) else { return false };
        let comes_in = way.to == Some(*own) && way.from != way.to;
        let is_stage = |device: i32| self.are_apart && self.devices.values().any(|of| *of == device);
        comes_in && pushes_only || way.to != Some(*own) && way.to.is_some_and(is_stage)
    }

    fn own(&self, facts: &Facts, timeline: &Timeline, process: i64) -> Own {
        let asked = Asked::of(facts, process);
        let mut own = Own { pushes_only: asked.pushes_only, ..Own::default() };
        let Some(copies) = facts.device_copies.of_process(process) else { return own };
        let mut bytes = 0i64;
        let mut seen: HashMap<Stream, Seen> = HashMap::new();
        for (way, copy) in copies.ways() {
            if way.is_peer && !self.may_be_activation(&way, own.pushes_only) {
                own.any = true;
                bytes = bytes.saturating_add(if asked.is_open(copy.span.0) { copy.bytes } else { 0 });
                continue;
            }
            let stream = seen.entry((way.context, way.stream)).or_default();
            stream.copies += 1;
            stream.fitting += usize::from(asked.may_be(&copy));
        }
        if bytes < asked.bytes {
            #[expect(clippy::cast_precision_loss, reason = "counts of copies are far below 2^52")]
            let fits = |seen: &Seen| seen.fitting as f64 >= FITTING * seen.copies as f64;
            let whole = seen.iter().filter(|(stream, seen)| fits(seen) && !runs_kernels(timeline, process, **stream));
            own.whole = whole.map(|(stream, _)| *stream).collect();
            own.any |= !own.whole.is_empty();
        }
        own
    }
}

/// Whether a kernel of a process ran on that stream.
fn runs_kernels(timeline: &Timeline, process: i64, (context, stream): Stream) -> bool {
    let Some(lane) = timeline.find(LaneId { process, kind: LaneKind::Stream { context, stream } }) else {
        return false;
    };
    let own = timeline.lane(lane);
    (0..own.len()).any(|at| timeline.names.class(own.name[at]).table() == "kernels")
}

/// What the transfers of a process asked for.
struct Asked {
    /// When one of them was under way.
    open: Union,
    /// Of those that were done.
    bytes: i64,
    /// Of their descriptors; none where not all of those were recorded.
    sizes: Option<HashSet<i64>>,
    pushes_only: bool,
}

impl Asked {
    fn of(facts: &Facts, process: i64) -> Self {
        let table = &facts.transfers;
        let mut spans: Vec<Span> = Vec::new();
        let mut bytes = 0i64;
        let mut sizes = Some(HashSet::new());
        let mut pushes_only = true;
        for row in (0..table.transfer_id.len()).filter(|row| table.process_id[*row] == process) {
            let Some(posted) = table.posted_ns[row] else { continue };
            pushes_only &= *table.op[row] != XferOp::Read;
            let over = table.done_poll_ns[row].or(table.released_ns[row]);
            spans.push((posted, over.unwrap_or(i64::MAX)));
            if *table.status[row] == XferStatus::Done && facts.is_on_gpu(row) {
                bytes = bytes.saturating_add(table.bytes[row].unwrap_or(0));
            }
            let own = facts.descriptors.of(table.transfer_id[row]);
            let is_whole = table.descriptors[row].is_none_or(|count| usize::try_from(count) == Ok(own.len()));
            sizes = sizes.filter(|_| is_whole && own.len() > 0);
            if let Some(sizes) = &mut sizes {
                sizes.extend(own.map(|descriptor| descriptor.bytes));
            }
        }
        Self { open: Union::of(spans), bytes, sizes, pushes_only }
    }

    fn is_open(&self, at: i64) -> bool {
        let spans = self.open.spans();
        spans.partition_point(|span| span.0 <= at).checked_sub(1).is_some_and(|last| at <= spans[last].1)
    }

    fn may_be(&self, copy: &Copy) -> bool {
        self.is_open(copy.span.0) && self.sizes.as_ref().is_none_or(|sizes| sizes.contains(&copy.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Descriptor;
    use crate::model::Recording;
    use crate::synthetic::MS;

    const KV: i64 = 1 << 20;

    /// Process 1, a stage on device 0 beside another one on device 1, writes `KV` bytes in one piece from 10 to 20 ms.
    fn written() -> Recording {
        let mut recording = Recording::default();
        recording.agent(1, "p");
        recording.agent(9, "d");
        recording.write(1, "p", "d", 10 * MS, KV, "r");
        recording.transfers.local_memory[0] = Some("VRAM".into());
        recording.transfers.descriptors[0] = Some(1);
        recording.descriptors.push(0, Descriptor { local: 0x1000, remote: None, bytes: KV });
        recording
    }

    fn carrying(recording: &Recording) -> Vec<i64> {
        let carriers = Carriers::of(&recording.facts, &recording.timeline, &[(1, Some(0)), (2, Some(1))]);
        let copies = recording.facts.device_copies.of_process(1).unwrap().ways();
        copies.filter(|(way, _)| carriers.carries(way)).map(|(_, copy)| copy.span.0 / MS).collect()
    }

    #[test]
    fn kv_may_go_to_a_gpu_that_another_stage_uses() {
        let mut recording = written();
        recording.device_copies.extend(1, (0, 1), [((11 * MS, MS), KV)]);
        assert_eq!(carrying(&recording), [11]);
        // Nothing of it was copied before the transfer, or in other pieces.
        recording.device_copies.extend(1, (0, 1), (0..9).map(|at| ((at * MS, 1), KV / 2)));
        assert!(carrying(&recording).is_empty());
    }

    #[test]
    fn activations_are_none_where_other_copies_are_enough() {
        let mut recording = written();
        recording.device_copies.extend(1, (0, 2), [((11 * MS, MS), KV)]);
        recording.device_copies.extend(1, (0, 1), [((12 * MS, MS), KV)]);
        assert_eq!(carrying(&recording), [11]);
    }

    #[test]
    fn a_stream_that_computes_carries_none() {
        let mut recording = written();
        recording.device_copies.extend(1, (0, 1), [((11 * MS, MS), KV)]);
        recording.kernel(1, 9, "gemm", MS, MS);
        assert!(carrying(&recording).is_empty());
    }
}
