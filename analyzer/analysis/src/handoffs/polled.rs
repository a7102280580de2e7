//! How long nobody looked after a transfer: the thread that posted it, and polls it in engines, was off the CPU.

use kvpath_schema::cell::Name;

use crate::facts::Facts;
use crate::intervals::{Span, Union};
use crate::structure::posts::Post;
use crate::timeline::threads::{OffCpu, Threads};

/// Shorter times are pauses between polls: engines poll once a step, or every ms.
pub const LONG_NS: i64 = 10_000_000;

/// Of a hand-off's transfers: for how long the threads that posted them were off the CPU between a post and its end, [`LONG_NS`]
/// or more at a time, and what they were at for the longest of it.
pub fn off(facts: &Facts, threads: &Threads, posts: &[&Post]) -> Option<(i64, Name)> {
    let mut spans: Vec<Span> = Vec::new();
    let mut longest: Option<(i64, Name)> = None;
    for post in posts {
        let Some((row, begin)) = post.transfer.zip(post.post_end.or(post.posted)) else { continue };
        let Some(end) = post.done_by.filter(|end| *end > begin) else { continue };
        let thread = (facts.transfers.process_id[row], facts.transfers.tid[row]);
        // Another thread polled it then.
        let poll = facts.transfers.last_pending_poll_ns[row];
        let is_polled = |interval: &OffCpu| poll.is_some_and(|at| interval.start < at && at < interval.end);
        for interval in threads.long(thread, (begin, end), LONG_NS).filter(|interval| !is_polled(interval)) {
            let span = (interval.start.max(begin), interval.end.min(end));
            spans.push(span);
            if longest.as_ref().is_none_or(|(ns, _)| span.1 - span.0 > *ns) {
                longest = Some((span.1 - span.0, interval.what));
            }
        }
    }
    let (_, what) = longest?;
    Some((Union::of(spans).len_ns(), what))
}
