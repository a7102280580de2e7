//! The audit of paths as they are walked: which requests were in flight beside each.

use kvpath_schema::tables::path::{Path, PathSegment};

use crate::audit::Audit;
use crate::graph::Request;
use crate::intervals::Span;
use crate::path::{Inputs, Judge, Prepared, table};

/// An audit, and when each request was in flight.
#[derive(Debug, Default)]
pub(super) struct Auditor {
    audit: Audit,
    /// By start.
    in_flight: Vec<(Span, i32)>,
    /// The longest of them, ns.
    longest: i64,
}

impl Auditor {
    pub(super) fn of(inputs: &Inputs, prepared: &Prepared) -> Self {
        let span = |request: &Request| ((request.source_ns, end(request)), request.number);
        let mut in_flight: Vec<(Span, i32)> = prepared.requests().iter().map(span).collect();
        in_flight.sort_unstable();
        let longest = in_flight.iter().map(|((start, end), _)| end.saturating_sub(*start)).max().unwrap_or(0);
        let audit = Audit::of(inputs.timeline, &inputs.facts.transfers, inputs.stages);
        Self { audit, in_flight, longest }
    }

    /// When other requests than this one were in flight while it was.
    fn others(&self, path: &Path) -> Vec<Span> {
        let from = path.source_ns.saturating_sub(self.longest);
        let first = self.in_flight.partition_point(|((start, _), _)| *start < from);
        let begun = self.in_flight[first..].iter().take_while(|((start, _), _)| *start < path.end_ns);
        begun.filter(|(_, number)| *number != path.request).map(|(span, _)| *span).collect()
    }
}

impl Judge for Auditor {
    fn judge(&self, path: &mut Path, segments: &mut Vec<PathSegment>) {
        if &*path.source != "range" && self.audit.judge(path, segments, &self.others(path)) {
            table::settle(path, segments);
        }
    }
}

/// Until its first token, or as long as the recording shows work of it.
fn end(request: &Request) -> i64 {
    let prefilled = request.passes.iter().map(|pass| pass.span.1).max();
    let shown = prefilled.into_iter().chain(request.decode_start_ns).max();
    request.first_token_ns.or(shown).unwrap_or(request.source_ns).max(request.source_ns)
}
