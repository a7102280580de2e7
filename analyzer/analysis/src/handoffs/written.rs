//! The peer copies that carry a hand-off's KV.

use crate::facts::Copy;
use crate::facts::Peers;
use crate::intervals::{Span, Union};
use crate::structure::posts::Post;
use crate::structure::stages::StageWork;

/// A post of a hand-off, with the peer copies that it made.
#[derive(Debug, Clone, Copy)]
pub struct PostWithCopies<'a> {
    /// The hand-off.
    pub post: &'a Post,
    /// Peer copies that began after it and before the stage's next.
    pub copies: CopiesOfPost<'a>,
}

/// The time in which a transfer was under way, each until `end` says, ns; none if that is not known of each.
pub fn open_ns(posts: &[PostWithCopies], end: impl Fn(&Post) -> Option<i64>) -> Option<i64> {
    let done = posts.iter().filter(|made| !made.post.failed);
    let spans: Option<Vec<Span>> = done.map(|made| made.post.posted.zip(end(made.post))).collect();
    spans.filter(|spans| !spans.is_empty()).map(|spans| Union::of(spans).len_ns())
}

/// The copies of a stage that may carry KV.
///
/// Into a stage's own device go activations of the stage before, unless it pulls KV; to the device of another stage go its
/// own. Devices are compared only where all stages number them alike.
#[derive(Debug)]
pub struct CopiesOfStage<'a> {
    peers: Option<Peers<'a>>,
    posts: &'a [Post],
    device: Option<i32>,
    /// What comes into its device is none.
    pushes_only: bool,
    /// Nor what goes to one of these.
    stages: Vec<i32>,
}

/// The copies of one post: those that began after it and before the stage's next.
#[derive(Debug, Clone, Copy)]
pub struct CopiesOfPost<'a> {
    of: &'a CopiesOfStage<'a>,
    peers: Option<Peers<'a>>,
}

/// The copies of each stage.
#[must_use]
pub fn copies<'a>(stages: &'a [StageWork<'a>]) -> Vec<CopiesOfStage<'a>> {
    let prefill = stages.iter().filter(|stage| stage.is_prefill());
    let mut devices: Vec<i32> = prefill.filter_map(|stage| stage.row.device_id).collect();
    let all = devices.len();
    devices.sort_unstable();
    devices.dedup();
    if devices.len() < all {
        devices.clear();
    }
    let of_stage = |stage: &'a StageWork<'a>| CopiesOfStage {
        peers: stage.lane.and_then(|lane| lane.copies),
        posts: stage.posts,
        device: stage.row.device_id,
        pushes_only: stage.posts.iter().all(|post| !post.pulled)
            && stage.posts.iter().any(|post| post.transfer.is_some()),
        stages: if stage.is_prefill() { devices.clone() } else { Vec::new() },
    };
    stages.iter().map(of_stage).collect()
}

impl CopiesOfStage<'_> {
    /// Those of the post at that position.
    #[must_use]
    pub fn of_post(&self, at: usize) -> CopiesOfPost<'_> {
        let until = self.posts.get(at + 1).map(|next| next.at);
        CopiesOfPost { of: self, peers: self.peers.map(|peers| peers.begun(self.posts[at].at, until)) }
    }

    fn may_be_kv(&self, copy: &Copy) -> bool {
        let comes_in = copy.to.is_some() && copy.to == self.device && copy.from != copy.to;
        let to_a_stage = copy.to != self.device && copy.to.is_some_and(|to| self.stages.contains(&to));
        !(comes_in && self.pushes_only || to_a_stage)
    }
}

impl<'a> CopiesOfPost<'a> {
    /// Each of them, by start.
    pub fn iter(self) -> impl Iterator<Item = Copy> + Clone + 'a {
        self.peers.into_iter().flat_map(Peers::iter).filter(move |copy| self.of.may_be_kv(copy))
    }
}
