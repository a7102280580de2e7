//! Copies of KV between a GPU and host memory that is handed over, and the kernels that collect the blocks before, or spread them
//! after: part of a hand-off, and of no forward pass.

use super::{Class, LaneAt, Timeline};
use crate::facts::staging::{StagedSeries, Staging};

/// Operations of the stream from one copy of a series to the next: a tensor takes a kernel or two. A forward pass has more.
const MOST_BETWEEN: usize = 8;

impl Timeline {
    /// Marks the series between whose copies no forward pass ran ([`Class::StagedOut`], [`Class::StagedIn`]), with their kernels, and
    /// returns those.
    #[must_use]
    pub fn mark_staging(&mut self, found: Staging) -> Staging {
        found.retained(|series| {
            let Some((lane, positions)) = self.positions(series) else { return false };
            self.mark_series(lane, &positions, series.is_out);
            true
        })
    }

    /// The stream of a series and its copies' positions there, if it is all there and nothing long comes between.
    fn positions(&self, series: &StagedSeries) -> Option<(LaneAt, Vec<usize>)> {
        let of = |key: &i64| self.started_by(series.process, *key);
        let all = series.copies.iter().map(of).collect::<Option<Vec<(LaneAt, usize)>>>()?;
        let lane = all.first()?.0;
        let is_own = |(own, at): &(LaneAt, usize)| *own == lane && self.class(lane, *at) == Class::Copy;
        let positions: Vec<usize> = all.iter().map(|(_, at)| *at).collect();
        let are_near = positions.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= MOST_BETWEEN);
        (are_near && all.iter().all(is_own)).then_some((lane, positions))
    }

    fn mark_series(&mut self, lane: LaneAt, positions: &[usize], is_out: bool) {
        let (copy, kernel) =
            if is_out { (Class::StagedOut, Class::StagingGather) } else { (Class::StagedIn, Class::StagingSpread) };
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return };
        // Of the first tensor the kernel comes before its copy, of the last one after it: alike those between.
        let base = |at: usize| self.names.base(self.lane(lane).name[at]);
        let is_alike = |at: &usize| (first + 1..*last).any(|between| base(between) == base(*at));
        let outer = if is_out { first.checked_sub(1) } else { Some(last + 1).filter(|at| *at < self.lane(lane).len()) };
        let kernels: Vec<usize> = (first + 1..*last).chain(outer.filter(is_alike)).collect();
        let kernels = kernels.into_iter().filter(|at| self.class(lane, *at) == Class::Compute).map(|at| (at, kernel));
        let all: Vec<(usize, Class)> =
            positions.iter().map(|at| (*at, copy)).chain(kernels.collect::<Vec<_>>()).collect();
        for (at, class) in all {
            let number = self.names.reclassed(self.lane(lane).name[at], class);
            self.lanes[lane as usize].1.name[at] = number;
        }
    }

    /// Whether a call of a thread comes between two copies of one series, as what it or one soon after launches and what one
    /// shortly before launched show, and which way: then the thread moves blocks within host memory before it.
    #[must_use]
    pub fn is_staging(&self, thread: LaneAt, at: usize) -> Option<Class> {
        // A launch, a copy and a wait a tensor.
        const NEAR: usize = 3;
        let (process, own) = (self.id(thread).process, self.lane(thread));
        let class = |call: usize| {
            let (stream, op) = self.started_by(process, own.key[call])?;
            let class = self.class(stream, op);
            matches!(class, Class::StagedOut | Class::StagedIn).then_some(class)
        };
        let next = (at..own.len().min(at + NEAR)).find_map(class)?;
        let last = (at.saturating_sub(NEAR)..at).rev().find_map(class)?;
        (next == last).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::timeline::{LaneId, LaneKind};

    const STREAM: LaneId = LaneId { process: 1, kind: LaneKind::Stream { context: 1, stream: 7 } };
    const THREAD: i32 = 1;

    /// Prefill's stream: a pass, and a kernel and a copy for each of three regions; what is between two copies.
    fn staged(between: usize, is_out: bool) -> (Timeline, Facts) {
        let (mut timeline, mut facts) = (Timeline::default(), Facts::default());
        for region in 0u8..3 {
            facts.region(1, region.into(), 0x1000 * u64::from(region), 0x1000);
        }
        let mut key = 0;
        let mut add = |timeline: &mut Timeline, name: &str| {
            key += 1;
            timeline.add_call(1, THREAD, "cudaLaunchKernel", (key * 10, key * 10 + 4, key));
            match name {
                "copy" => {
                    let way = if is_out { "DtoH" } else { "HtoD" };
                    timeline.add_copy(STREAM, way, (key * 10 + 5, key * 10 + 9, key));
                    facts.host_copies.extend((1, is_out), &[65536], (key * 10 + 5, key));
                }
                _ => timeline.add_kernel(STREAM, 0, name, (key * 10 + 5, key * 10 + 9, key)),
            }
        };
        add(&mut timeline, "gemm");
        for region in 0..3 {
            let kernels = if region == 1 { between } else { 1 };
            if is_out {
                (0..kernels).for_each(|_| add(&mut timeline, "gather"));
            }
            add(&mut timeline, "copy");
            if !is_out {
                (0..kernels).for_each(|_| add(&mut timeline, "put"));
            }
        }
        add(&mut timeline, "gemm");
        (timeline, facts)
    }

    fn classes(timeline: &Timeline) -> Vec<Class> {
        let lane = timeline.find(STREAM).unwrap();
        (0..timeline.lane(lane).len()).map(|at| timeline.class(lane, at)).collect()
    }

    #[test]
    fn the_copies_of_a_series_and_their_kernels_are_no_pass() {
        use Class::{Compute, StagedIn, StagedOut, StagingGather, StagingSpread};
        let (mut timeline, facts) = staged(1, true);
        let kept = timeline.mark_staging(Staging::of(&facts));
        let (a, b) = (StagingGather, StagedOut);
        assert_eq!(classes(&timeline), [Compute, a, b, a, b, a, b, Compute]);
        assert_eq!(kept.iter().count(), 1);
        let thread = timeline.find(LaneId { process: 1, kind: LaneKind::Thread(THREAD) }).unwrap();
        let between: Vec<Option<Class>> = (0..8).map(|at| timeline.is_staging(thread, at)).collect();
        assert_eq!(between[..4], [None, None, None, Some(b)]);
        assert_eq!(between[6..], [Some(b), None]);
        let (mut timeline, mut facts) = staged(1, false);
        facts.agent(1, "d");
        facts.write(2, "p", "d", 1, 3 * 65536, "r");
        let kept = timeline.mark_staging(Staging::of(&facts));
        let (a, b) = (StagedIn, StagingSpread);
        assert_eq!(classes(&timeline), [Compute, a, b, a, b, a, b, Compute]);
        assert_eq!(kept.iter().count(), 1);
    }

    #[test]
    fn copies_of_passes_that_follow_each_other_are_no_series() {
        let (mut timeline, facts) = staged(MOST_BETWEEN, true);
        let before = classes(&timeline);
        assert!(timeline.mark_staging(Staging::of(&facts)).is_empty());
        assert_eq!(classes(&timeline), before);
    }
}
