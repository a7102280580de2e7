//! What became of the transfers of a hand-off.

use kvpath_schema::tables::derived::Completeness;
use kvpath_schema::tables::nixl::XferStatus;

use super::Arrivals;
use super::written::PostWithCopies;
use crate::facts::Facts;
use crate::structure::posts::Post;

/// What became of them.
#[derive(Debug)]
pub struct Ended {
    /// What those asked for that ended: of the others nobody knows how much arrived.
    pub bytes: i64,
    /// Whether one failed and was not made again.
    has_failed: bool,
    /// Whether all of the others ended.
    is_all: bool,
}

impl Ended {
    /// Of all posts of a hand-off, and of those among them that make it up.
    pub fn of(facts: &Facts, arrivals: &Arrivals, all: &[PostWithCopies], posts: &[&Post]) -> Self {
        let ended = |post: &&&Post| !post.failed && has_ended(facts, arrivals, post);
        let moved = posts.iter().filter(ended).filter_map(|post| facts.transfers.bytes[post.transfer?]);
        Self {
            bytes: moved.fold(0i64, i64::saturating_add),
            has_failed: failed_at_last(facts, all),
            is_all: posts.iter().all(|post| ended(&post)),
        }
    }

    /// Whether all of the hand-off is known, where copies of it may be `missing`, or another one's among them.
    pub const fn completeness(&self, missing: bool, overlapping: bool) -> Completeness {
        match (self.has_failed, self.is_all, missing, overlapping) {
            (true, ..) => Completeness::Failed,
            (_, false, ..) => Completeness::Unfinished,
            (_, _, true, _) => Completeness::Incomplete,
            (_, _, _, true) => Completeness::Overlapping,
            _ => Completeness::Complete,
        }
    }
}

/// Whether a transfer is known to have ended: it was seen to, or its notification arrived.
fn has_ended(facts: &Facts, arrivals: &Arrivals, post: &Post) -> bool {
    let is_pending = |row: usize| {
        XferStatus::from_text(&facts.transfers.status[row]) == Some(XferStatus::Pending)
            && !arrivals.of_transfers.contains_key(&row)
    };
    post.done_by.is_some() || !post.transfer.is_some_and(is_pending)
}

/// Whether a transfer failed that was not made again after it: of the same chunk, and as large.
fn failed_at_last(facts: &Facts, posts: &[PostWithCopies]) -> bool {
    let asked = |post: &Post| (post.chunk, post.transfer.map(|row| facts.transfers.bytes[row]));
    posts.iter().filter(|made| made.post.failed).any(|failed| {
        let is_again = |made: &&PostWithCopies| !made.post.failed && made.post.at >= failed.post.at;
        !posts.iter().filter(is_again).any(|made| asked(made.post) == asked(failed.post))
    })
}
