//! The peer copies that carry a hand-off's KV.

use std::collections::{HashMap, HashSet};

use crate::facts::{Copy, DeviceCopies, Peers};
use crate::intervals::{Span, Union};
use crate::structure::carriers::Carriers;
use crate::structure::posts::Post;
use crate::structure::stages::StageWork;

/// A post of a hand-off, with the peer copies that it made.
#[derive(Debug, Clone, Copy)]
pub struct PostWithCopies<'a> {
    /// The hand-off.
    pub post: &'a Post,
    /// Its copies.
    pub copies: CopiesOfPost<'a>,
}

/// The time in which a transfer was under way, each until `end` says, ns; none if that is not known of each.
pub fn open_ns(posts: &[PostWithCopies], end: impl Fn(&Post) -> Option<i64>) -> Option<i64> {
    let done = posts.iter().filter(|made| !made.post.failed);
    let spans: Option<Vec<Span>> = done.map(|made| made.post.posted.zip(end(made.post))).collect();
    spans.filter(|spans| !spans.is_empty()).map(|spans| Union::of(spans).len_ns())
}

/// The copies of every process that carry KV, and which of them belong to which of its posts: those that began after it and before
/// the process's next.
#[derive(Debug)]
pub struct WrittenCopies<'a> {
    copies: &'a DeviceCopies,
    carriers: &'a Carriers,
    /// When each process posted, for whosever KV: rising.
    posted: HashMap<i64, Vec<i64>>,
    /// Processes that copy to other devices.
    peers: HashSet<i64>,
}

/// Those of a post.
#[derive(Debug, Clone, Copy)]
pub struct CopiesOfPost<'a> {
    carriers: &'a Carriers,
    copies: Option<Peers<'a>>,
}

impl<'a> WrittenCopies<'a> {
    /// Of all stages.
    #[must_use]
    pub fn of(copies: &'a DeviceCopies, carriers: &'a Carriers, stages: &[StageWork]) -> Self {
        let mut posted: HashMap<i64, Vec<i64>> = HashMap::new();
        for post in stages.iter().flat_map(|stage| stage.posts) {
            posted.entry(post.by).or_default().push(post.at);
        }
        for times in posted.values_mut() {
            times.sort_unstable();
        }
        let peers = copies.peers().map(|(process, _)| process).collect();
        Self { copies, carriers, posted, peers }
    }

    /// Those of a post.
    #[must_use]
    pub fn of_post(&self, post: &Post) -> CopiesOfPost<'a> {
        let times = self.posted.get(&post.by).map_or(&[][..], Vec::as_slice);
        let until = times.get(times.partition_point(|at| *at <= post.at)).copied();
        let copies = self.copies.of_process(post.by).map(|copies| copies.begun(post.at, until));
        CopiesOfPost { carriers: self.carriers, copies }
    }

    /// Whether a process's KV goes by copies that are recorded.
    #[must_use]
    pub fn are_expected(&self, process: i64) -> bool {
        self.carriers.has(process) || self.peers.contains(&process)
    }
}

impl<'a> CopiesOfPost<'a> {
    /// Each of them, by start.
    pub fn iter(self) -> impl Iterator<Item = Copy> + Clone + 'a {
        let carriers = self.carriers;
        let all = self.copies.into_iter().flat_map(Peers::ways);
        all.filter(move |(way, _)| carriers.carries(way)).map(|(_, copy)| copy)
    }
}
