//! What is recorded of threads besides their calls: when they were off the CPU, and when they waited for code to be loaded.

use std::collections::BTreeMap;

use crate::intervals::Span;

/// A thread: process and thread id.
pub type ThreadId = (i64, i32);

/// Records of threads, each kind by time.
#[derive(Debug, Default)]
pub struct Threads {
    off_cpu: BTreeMap<ThreadId, Vec<Span>>,
    loads: BTreeMap<ThreadId, Vec<Span>>,
}

impl Threads {
    /// A thread was off the CPU.
    pub fn off(&mut self, thread: ThreadId, span: Span) {
        self.off_cpu.entry(thread).or_default().push(span);
    }

    /// A thread had code loaded into its GPU on first use.
    pub fn load(&mut self, thread: ThreadId, span: Span) {
        self.loads.entry(thread).or_default().push(span);
    }

    /// Puts them in order.
    pub(super) fn sort(&mut self) {
        self.off_cpu.values_mut().chain(self.loads.values_mut()).for_each(|spans| spans.sort_unstable());
    }

    /// When a thread is known to have run within `[from, to)`: what lies between its first and its last time off the CPU, without
    /// those. Nothing where no such time is recorded.
    #[must_use]
    pub fn ran(&self, thread: ThreadId, (from, to): Span) -> Vec<Span> {
        let Some(off) = self.off_cpu.get(&thread) else { return Vec::new() };
        let (Some(first), Some(last)) = (off.first(), off.last()) else { return Vec::new() };
        let (mut at, to) = (from.max(first.0), to.min(last.1));
        let mut ran = Vec::new();
        for (start, end) in &off[off.partition_point(|(_, end)| *end <= at)..] {
            if *start >= to {
                break;
            }
            if *start > at {
                ran.push((at, *start));
            }
            at = at.max(*end);
        }
        if at < to {
            ran.push((at, to));
        }
        ran
    }

    /// When a thread first had code loaded between two times.
    #[must_use]
    pub fn loaded(&self, thread: ThreadId, (from, to): Span) -> Option<i64> {
        let loads = self.loads.get(&thread)?;
        let next = loads.get(loads.partition_point(|(start, _)| *start <= from))?;
        (next.0 < to).then_some(next.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_ran_where_it_was_not_off_the_cpu_as_far_as_that_is_recorded() {
        let mut threads = Threads::default();
        for span in [(60, 70), (10, 30), (35, 40)] {
            threads.off((1, 2), span);
        }
        threads.sort();
        assert_eq!(threads.ran((1, 2), (0, 100)), [(30, 35), (40, 60)]);
        assert_eq!(threads.ran((1, 2), (32, 38)), [(32, 35)]);
        assert_eq!(threads.ran((1, 2), (45, 50)), [(45, 50)]);
        assert_eq!(threads.ran((1, 3), (0, 100)), [], "nothing is recorded of it");
    }

    #[test]
    fn a_load_counts_in_the_time_in_which_it_began() {
        let mut threads = Threads::default();
        threads.load((1, 2), (20, 25));
        threads.sort();
        assert_eq!(threads.loaded((1, 2), (10, 30)), Some(20));
        assert_eq!(threads.loaded((1, 2), (20, 30)), None);
        assert_eq!(threads.loaded((1, 2), (10, 20)), None);
    }
}
