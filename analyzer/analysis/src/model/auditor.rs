//! The audit of paths as they are walked: which requests were in flight beside each.

use kvpath_schema::tables::path::{Path, PathSegment};

use crate::audit::Audit;
use crate::graph::Request;
use crate::intervals::{ByStart, Span};
use crate::path::{Inputs, Judge, Prepared, table};

/// An audit, and when each request was in flight.
#[derive(Debug, Default)]
pub(super) struct Auditor {
    audit: Audit,
    in_flight: ByStart<'static>,
    /// Each one's time in flight and number, as they stand there.
    requests: Vec<(Span, i32)>,
}

impl Auditor {
    pub(super) fn of(inputs: &Inputs, prepared: &Prepared) -> Self {
        let span = |request: &Request| ((request.source_ns, end(request)), request.number);
        let mut requests: Vec<(Span, i32)> = prepared.requests().iter().map(span).collect();
        requests.sort_unstable();
        let in_flight = ByStart::of(requests.iter().map(|(span, _)| *span).collect::<Vec<Span>>());
        let audit = Audit::of(inputs.timeline, &inputs.facts.transfers, inputs.stages);
        Self { audit, in_flight, requests }
    }

    /// When other requests than this one were in flight while it was.
    fn others(&self, path: &Path) -> Vec<Span> {
        let near = &self.requests[self.in_flight.near((path.source_ns, path.end_ns))];
        near.iter().filter(|(_, number)| *number != path.request).map(|(span, _)| *span).collect()
    }
}

impl Judge for Auditor {
    fn judge(&self, path: &mut Path, segments: &mut Vec<PathSegment>) {
        if !table::is_of_step(&path.source) && self.audit.judge(path, segments, &self.others(path)) {
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
