//! Which GPU work has no launch in the trace.

use std::collections::HashMap;

/// Correlation ids of calls, and of kernels whose call was not met yet. Calls take a bit each where their ids are dense,
/// as CUPTI's are.
#[derive(Default)]
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
}
