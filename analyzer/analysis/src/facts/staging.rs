//! KV that is handed over from host memory, and was copied there from a GPU before, or is copied to one after.
//!
//! A worker that registers host memory and none of a GPU has its KV staged: once a forward pass is done it copies the blocks that
//! were written, tensor by tensor, and once a hand-off came those that it brought. Host addresses of copies are not recorded, so a
//! series of them shows it: one after another of one size, the same direction and stream, together with the bytes of a transfer that
//! was posted before the copies to the GPU, or after those from it. A chunk of a prompt is but a part of a transfer: of copies from the GPU
//! a series has as many as there are registered regions, or half as many (K and V of a layer in two regions, one tensor).
//! Whether a forward pass comes between, the timeline shows.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::tables::nixl::XferOp;

use super::Facts;
use super::agents::AgentNames;
use super::host_copies::{HostCopy, HostRoute};
use crate::intervals::Span;

/// Copies of one go, a tensor each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedSeries {
    /// Process that asked for them.
    pub process: i64,
    /// To the host, not from it.
    pub is_out: bool,
    /// From the first one's start to the last one's end, ns.
    pub span: Span,
    /// Of all.
    pub bytes: i64,
    /// `correlation_id` of each.
    pub copies: Vec<i64>,
}

/// The series of a run, by process and start.
#[derive(Debug, Default)]
pub struct Staging(Vec<StagedSeries>);

impl Staging {
    /// Those of a run.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let staging = regions_of_stagers(facts);
        if staging.is_empty() {
            return Self::default();
        }
        let carried = Carried::of(facts);
        let mut found = Vec::new();
        let mut run: Vec<HostCopy> = Vec::new();
        for copy in facts.host_copies.iter().filter(|copy| staging.contains_key(&copy.way.process)) {
            if run.last().is_some_and(|last| (last.way, last.bytes) != (copy.way, copy.bytes)) {
                add(&run, &staging, &carried, &mut found);
                run.clear();
            }
            run.push(copy);
        }
        add(&run, &staging, &carried, &mut found);
        found.sort_by_key(|series| (series.process, series.span));
        Self(found)
    }

    /// Those for which that holds.
    #[must_use]
    pub fn retained(mut self, keep: impl FnMut(&StagedSeries) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &StagedSeries> {
        self.0.iter()
    }

    /// Those of a process in one direction, by start.
    pub fn of_process(&self, process: i64, is_out: bool) -> impl Iterator<Item = &StagedSeries> {
        let from = self.0.partition_point(|series| series.process < process);
        let own = self.0[from..].iter().take_while(move |series| series.process == process);
        own.filter(move |series| series.is_out == is_out)
    }
}

/// The number of regions of each process that registered host memory alone.
fn regions_of_stagers(facts: &Facts) -> BTreeMap<i64, usize> {
    let mut found: BTreeMap<i64, BTreeSet<(u64, i64)>> = BTreeMap::new();
    let mut on_gpu: BTreeSet<i64> = BTreeSet::new();
    for row in 0..facts.regions.addr.len() {
        let process = facts.regions.process_id[row];
        match &*facts.regions.memory[row] {
            "DRAM" => _ = found.entry(process).or_default().insert((facts.regions.addr[row], facts.regions.bytes[row])),
            "VRAM" => _ = on_gpu.insert(process),
            _ => {}
        }
    }
    found.retain(|process, _| !on_gpu.contains(process));
    found.into_iter().map(|(process, regions)| (process, regions.len())).collect()
}

/// Transfers by the process and direction that a copy of their bytes would have, and by bytes: when each was posted.
struct Carried(BTreeMap<(i64, bool, i64), Vec<i64>>);

impl Carried {
    fn of(facts: &Facts) -> Self {
        let names = AgentNames::of(facts);
        let mut found: BTreeMap<(i64, bool, i64), Vec<i64>> = BTreeMap::new();
        let table = &facts.transfers;
        for row in 0..table.transfer_id.len() {
            let Some((bytes, posted)) = table.bytes[row].zip(table.posted_ns[row]) else { continue };
            let peer = table.peer[row].as_deref().and_then(|name| names.at(name, posted));
            let is_read = *table.op[row] == XferOp::Read;
            found.entry((table.process_id[row], !is_read, bytes)).or_default().push(posted);
            if let Some(peer) = peer {
                found.entry((peer, is_read, bytes)).or_default().push(posted);
            }
        }
        Self(found)
    }

    /// Whether a transfer of those bytes was posted after such copies out, or before such copies in.
    fn has(&self, way: HostRoute, series: &StagedSeries) -> bool {
        let posts = self.0.get(&(way.process, way.is_out, series.bytes)).map_or(&[][..], Vec::as_slice);
        posts.iter().any(|posted| if way.is_out { *posted >= series.span.1 } else { *posted <= series.span.0 })
    }
}

/// Copies of one size that follow each other, as one series or several. What came to decode has the bytes of a transfer; what
/// prefill copies may be one chunk of several.
fn add(run: &[HostCopy], regions: &BTreeMap<i64, usize>, carried: &Carried, into: &mut Vec<StagedSeries>) {
    let Some(way) = run.first().map(|copy| copy.way) else { return };
    let series = |copies: &[HostCopy]| StagedSeries {
        process: way.process,
        is_out: way.is_out,
        span: (copies[0].span.0, copies.iter().map(|copy| copy.span.1).max().unwrap_or(copies[0].span.1)),
        bytes: copies.iter().fold(0i64, |sum, copy| sum.saturating_add(copy.bytes)),
        copies: copies.iter().map(|copy| copy.correlation).collect(),
    };
    let count = regions.get(&way.process).copied().unwrap_or(0);
    let counts = [Some(count), count.is_multiple_of(2).then_some(count / 2)];
    let by_count = counts.into_iter().flatten().filter(|each| way.is_out && *each > 1);
    if let Some(each) = by_count.into_iter().find(|each| run.len().is_multiple_of(*each)) {
        into.extend(run.chunks(each).map(series));
        return;
    }
    let are_carried = |each: &usize| {
        run.len().is_multiple_of(*each) && run.chunks(*each).all(|copies| carried.has(way, &series(copies)))
    };
    let each = (1..=run.len()).map(|parts| run.len() / parts).find(are_carried);
    into.extend(each.into_iter().flat_map(|each| run.chunks(each)).map(series));
}

#[cfg(test)]
impl super::HostCopies {
    /// Adds copies by hand, on stream 7 of context 1, 10 ns long and apart from a time on; returns the next number.
    pub(crate) fn extend(&mut self, (process, is_out): (i64, bool), sizes: &[i64], (from, key): (i64, i64)) -> i64 {
        let way = HostRoute { process, context: 1, stream: 7, is_out };
        for (at, bytes) in (0..).zip(sizes) {
            let start = from + at * 20;
            self.add(HostCopy { way, span: (start, start + 10), bytes: *bytes, correlation: key + at }).unwrap();
        }
        self.finish(&crate::spill::Memory::default()).unwrap();
        key + i64::try_from(sizes.len()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: i64 = 1;
    const D: i64 = 9;

    /// Prefill and decode with so many regions of host memory each.
    fn some_facts(regions: u64) -> Facts {
        let mut facts = Facts::default();
        for (process, name) in [(P, "p"), (D, "d")] {
            facts.agent(process, name);
            for region in 0..regions {
                facts.region(process, i32::try_from(region).unwrap(), 0x10_0000 * (region + 1), 0x10_0000);
            }
        }
        facts.regions.memory.fill("DRAM".into());
        facts
    }

    /// Direction, start and bytes of each series of a process.
    fn found(facts: &Facts, process: i64) -> Vec<(bool, i64, i64, usize)> {
        let all = Staging::of(facts);
        let own = all.iter().filter(|series| series.process == process);
        own.map(|series| (series.is_out, series.span.0, series.bytes, series.copies.len())).collect()
    }

    #[test]
    fn a_copy_of_each_region_is_a_series_and_copies_of_a_step_are_none() {
        let mut facts = some_facts(4);
        // The numbers of blocks, then each tensor; two requests of one length in one go; a part of a series; K and V of two layers.
        facts.host_copies.extend((P, true), &[8000, 65536, 65536, 65536, 65536], (1000, 1));
        facts.host_copies.extend((P, true), &[70_000; 8], (2000, 10));
        facts.host_copies.extend((P, true), &[80_000; 3], (3000, 20));
        facts.host_copies.extend((P, true), &[90_000; 2], (4000, 30));
        let expected = [
            (true, 1020, 4 * 65536, 4),
            (true, 2000, 4 * 70_000, 4),
            (true, 2080, 4 * 70_000, 4),
            (true, 4000, 180_000, 2),
        ];
        assert_eq!(found(&facts, P), expected);
        assert_eq!(Staging::of(&facts).of_process(P, false).count(), 0);
    }

    #[test]
    fn copies_that_bring_what_a_transfer_brought_are_a_series() {
        let mut facts = some_facts(4);
        facts.host_copies.extend((D, false), &[65536; 4], (900, 1));
        facts.host_copies.extend((D, false), &[32768; 4], (9000, 8));
        facts.write(P, "p", "d", 5000, 4 * 65536, "r");
        assert_eq!(found(&facts, D), [], "it came before the hand-off, or has other bytes");
        facts.host_copies.extend((D, false), &[65536; 8], (20_000, 20));
        assert_eq!(found(&facts, D), [(false, 20_000, 4 * 65536, 4), (false, 20_080, 4 * 65536, 4)]);
    }

    #[test]
    fn one_region_of_all_layers_is_told_by_the_bytes_of_a_transfer() {
        let mut facts = some_facts(1);
        facts.host_copies.extend((P, true), &[65536; 6], (1000, 1));
        assert_eq!(found(&facts, P), [], "no transfer is recorded");
        facts.write(P, "p", "d", 5000, 6 * 65536, "r");
        assert_eq!(found(&facts, P), [(true, 1000, 6 * 65536, 6)]);
    }

    #[test]
    fn a_worker_that_registers_gpu_memory_stages_nothing() {
        let mut facts = some_facts(4);
        facts.host_copies.extend((P, true), &[65536; 4], (1000, 1));
        assert_eq!(found(&facts, P).len(), 1);
        facts.regions.memory[0] = "VRAM".into();
        assert_eq!(found(&facts, P), []);
    }
}
