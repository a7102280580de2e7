//! Launches on a GPU whose work the trace lacks, and GPU work whose launch it lacks, by correlation id.

use std::collections::HashMap;

type Hashed<T> = HashMap<i64, T, foldhash::fast::RandomState>;

/// A set of ids: a bit each where they are dense, as CUPTI's are.
#[derive(Debug, Default)]
struct Ids(Hashed<u64>);

impl Ids {
    fn add(&mut self, id: i64) {
        *self.0.entry(id >> 6).or_default() |= 1 << (id & 63);
    }

    fn has(&self, id: i64) -> bool {
        self.0.get(&(id >> 6)).is_some_and(|bits| bits >> (id & 63) & 1 == 1)
    }

    fn join(&mut self, other: Self) {
        for (block, bits) in other.0 {
            *self.0.entry(block).or_default() |= bits;
        }
    }

    /// Those that `other` lacks.
    fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = i64> + 'a {
        self.0.iter().flat_map(|(block, bits)| {
            let left = bits & !other.0.get(block).copied().unwrap_or(0);
            (0..64).filter(move |bit| left >> bit & 1 == 1).map(move |bit| (block << 6) + bit)
        })
    }
}

/// What a call does that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kernel,
    Graph,
    CaptureBegins,
    CaptureEnds,
    Other,
}

impl Kind {
    /// Calls of CUDA and HIP; what others' launches begin is not known to carry their ids.
    fn of(call: &[u8]) -> Self {
        let has = |part: &[u8]| memchr::memmem::find(call, part).is_some();
        if !call.starts_with(b"cu") && !call.starts_with(b"hip") {
            Self::Other
        } else if has(b"LaunchKernel") || has(b"LaunchCooperativeKernel") {
            Self::Kernel
        } else if has(b"GraphLaunch") {
            Self::Graph
        } else if has(b"StreamBeginCapture") {
            Self::CaptureBegins
        } else if has(b"StreamEndCapture") {
            Self::CaptureEnds
        } else {
            Self::Other
        }
    }
}

/// Calls and GPU work of a process, in any order.
#[derive(Debug, Default)]
pub(crate) struct Launched {
    called: Ids,
    kernels: Ids,
    graphs: Ids,
    /// GPU work of any kind.
    worked: Ids,
    /// Where captures begin (`true`) and end.
    captures: Vec<(i64, bool)>,
    /// Kernels whose call was not met yet.
    waiting: Hashed<u64>,
    unknown: u64,
}

impl Launched {
    /// A call was met.
    pub(crate) fn call(&mut self, name: &[u8], correlation: i64) {
        self.called.add(correlation);
        match Kind::of(name) {
            Kind::Kernel if correlation > 0 => self.kernels.add(correlation),
            Kind::Graph if correlation > 0 => self.graphs.add(correlation),
            Kind::CaptureBegins => self.captures.push((correlation, true)),
            Kind::CaptureEnds => self.captures.push((correlation, false)),
            _ => {}
        }
    }

    /// A kernel was met; the id is 0 where it has none.
    pub(crate) fn kernel(&mut self, correlation: i64) {
        self.work(correlation);
        if correlation == 0 {
            self.unknown += 1;
        } else if !self.called.has(correlation) {
            *self.waiting.entry(correlation).or_default() += 1;
        }
    }

    /// GPU work of any kind was met.
    pub(crate) fn work(&mut self, correlation: i64) {
        self.worked.add(correlation);
    }

    /// Adds those of the part that follows.
    pub(crate) fn join(&mut self, part: Self) {
        self.called.join(part.called);
        self.kernels.join(part.kernels);
        self.graphs.join(part.graphs);
        self.worked.join(part.worked);
        self.captures.extend(part.captures);
        for (correlation, kernels) in part.waiting {
            if !self.called.has(correlation) {
                *self.waiting.entry(correlation).or_default() += kernels;
            }
        }
        self.unknown += part.unknown;
    }

    /// Kernels without a call.
    pub(crate) fn kernels_without_call(&self) -> u64 {
        let waiting = self.waiting.iter().filter(|(correlation, _)| !self.called.has(**correlation));
        self.unknown + waiting.map(|(_, kernels)| kernels).sum::<u64>()
    }

    /// Launches of kernels without GPU work; those that a stream captured into a graph begin none.
    pub(crate) fn kernels_without_work(&self) -> u64 {
        let captures = self.captured();
        let is_captured = |id: i64| {
            let before = captures.partition_point(|(begin, _)| *begin < id).checked_sub(1);
            before.is_some_and(|at| id < captures[at].1)
        };
        self.kernels.without(&self.worked).filter(|id| !is_captured(*id)).map(|_| 1).sum()
    }

    /// Launches of graphs without GPU work.
    pub(crate) fn graphs_without_work(&self) -> u64 {
        self.graphs.without(&self.worked).map(|_| 1).sum()
    }

    /// From the first call of each capture to its last; ids of calls rise.
    fn captured(&self) -> Vec<(i64, i64)> {
        let mut marks = self.captures.clone();
        marks.sort_unstable();
        let mut found: Vec<(i64, i64)> = Vec::new();
        let (mut open, mut begin) = (0u64, 0);
        for (id, is_begin) in marks {
            if is_begin {
                if open == 0 {
                    begin = id;
                }
                open += 1;
            } else if open > 0 {
                open -= 1;
                if open == 0 {
                    found.push((begin, id));
                }
            }
        }
        if open > 0 {
            found.push((begin, i64::MAX));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(calls: &[i64], kernels: &[i64]) -> Launched {
        let mut launched = Launched::default();
        for id in calls {
            launched.call(b"cudaLaunchKernel", *id);
        }
        for id in kernels {
            launched.kernel(*id);
        }
        launched
    }

    #[test]
    fn a_call_is_found_before_or_behind_its_kernels() {
        let mut launched = part(&[70], &[70, 71, 71, -5, 0]);
        assert_eq!(launched.kernels_without_call(), 4);
        launched.call(b"cudaLaunchKernel", 71);
        assert_eq!(launched.kernels_without_call(), 2);
        launched.call(b"cudaLaunchKernel", -5);
        assert_eq!(launched.kernels_without_call(), 1);
    }

    #[test]
    fn a_call_is_found_in_a_part_before_or_behind() {
        let mut all = part(&[1, 2], &[3, 3, 0]);
        all.join(part(&[4], &[1, 5, 3]));
        assert_eq!(all.kernels_without_call(), 5);
        all.join(part(&[3], &[5, 4]));
        assert_eq!(all.kernels_without_call(), 3);
    }

    #[test]
    fn launches_without_work_are_counted_but_for_those_that_were_captured() {
        let mut launched = part(&[10, 11, 200], &[11]);
        launched.call(b"hipLaunchKernel", 12);
        launched.call(b"xpuLaunchKernel", 13);
        assert_eq!(launched.kernels_without_work(), 3);
        for (id, name) in [(90, &b"cudaStreamBeginCapture"[..]), (300, b"cudaStreamEndCapture")] {
            launched.call(name, id);
        }
        assert_eq!(launched.kernels_without_work(), 2);
        launched.join(part(&[], &[10]));
        assert_eq!(launched.kernels_without_work(), 1);
    }

    #[test]
    fn graphs_that_replay_unrecorded_are_counted() {
        let mut launched = Launched::default();
        for id in [1, 2, 3] {
            launched.call(b"cudaGraphLaunch", id);
        }
        launched.work(2);
        assert_eq!((launched.graphs_without_work(), launched.kernels_without_work()), (2, 0));
    }
}
