//! How far the paths of a run agree with what its GPUs alone say.

use kvpath_analysis::number::float;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{Path, Paths};

use crate::report::path::disputed;
use crate::report::units::{share, time};

/// The paths, as they come.
#[derive(Debug, Default)]
pub(super) struct Audited {
    requests: usize,
    judged_ns: i64,
    agreeing_ns: f64,
    disputed: Paths,
}

impl Audited {
    pub(super) fn add(&mut self, path: Path) {
        let Some(agreement) = path.agreement else { return };
        self.requests += 1;
        self.judged_ns = self.judged_ns.saturating_add(path.judged_ns);
        self.agreeing_ns += agreement * float(path.judged_ns);
        if path.disputed_from_ns.is_some() {
            self.disputed.push(path);
        }
    }

    /// What is said of them: of all, and of each that is elsewhere.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.requests == 0 {
            return Vec::new();
        }
        let agreement = share(self.agreeing_ns, float(self.judged_ns));
        let all = format!(
            "{agreement} of {} in {} requests: while one prefill stage alone computed, their paths are there",
            time(self.judged_ns),
            self.requests
        );
        let each = (0..self.disputed.len()).filter_map(|row| disputed(&self.disputed, row));
        std::iter::once(all).chain(each).collect()
    }
}
