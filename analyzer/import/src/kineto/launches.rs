//! Which GPU work has no launch in the trace.

use std::collections::HashMap;

/// Correlation ids of calls, and of kernels whose call was not met yet. Calls take a bit each where their ids are dense,
/// as CUPTI's are.
#[derive(Debug, Default)]
pub(super) struct Launches {
    called: HashMap<i64, u64, foldhash::fast::RandomState>,
    waiting: HashMap<i64, u64, foldhash::fast::RandomState>,
    unknown: u64,
}

impl Launches {
    /// A call with that correlation id was met.
    pub(super) fn call(&mut self, correlation: i64) {
        *self.called.entry(correlation >> 6).or_default() |= 1 << (correlation & 63);
    }

    /// A kernel with that correlation id was met; 0 where it has none.
    pub(super) fn kernel(&mut self, correlation: i64) {
        if correlation == 0 {
            self.unknown += 1;
        } else if !self.is_called(correlation) {
            *self.waiting.entry(correlation).or_default() += 1;
        }
    }

    fn is_called(&self, correlation: i64) -> bool {
        self.called.get(&(correlation >> 6)).is_some_and(|bits| bits >> (correlation & 63) & 1 == 1)
    }

    /// Adds those of the part that follows.
    pub(super) fn join(&mut self, part: Self) {
        for (block, bits) in part.called {
            *self.called.entry(block).or_default() |= bits;
        }
        for (correlation, kernels) in part.waiting {
            if !self.is_called(correlation) {
                *self.waiting.entry(correlation).or_default() += kernels;
            }
        }
        self.unknown += part.unknown;
    }

    /// Kernels without a call.
    pub(super) fn missing(&self) -> u64 {
        let waiting = self.waiting.iter().filter(|(correlation, _)| !self.is_called(**correlation));
        self.unknown + waiting.map(|(_, kernels)| kernels).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_before_or_behind_its_kernels() {
        let mut launches = Launches::default();
        launches.call(70);
        launches.kernel(70);
        launches.kernel(71);
        launches.kernel(71);
        launches.kernel(-5);
        launches.kernel(0);
        assert_eq!(launches.missing(), 4);
        launches.call(71);
        assert_eq!(launches.missing(), 2);
        launches.call(-5);
        assert_eq!(launches.missing(), 1);
    }

    #[test]
    fn a_call_is_found_in_a_part_before_or_behind() {
        let part = |calls: &[i64], kernels: &[i64]| {
            let mut launches = Launches::default();
            for id in calls {
                launches.call(*id);
            }
            for id in kernels {
                launches.kernel(*id);
            }
            launches
        };
        let mut all = part(&[1, 2], &[3, 3, 0]);
        all.join(part(&[4], &[1, 5, 3]));
        assert_eq!(all.missing(), 5);
        all.join(part(&[3], &[5, 4]));
        assert_eq!(all.missing(), 3);
    }
}
