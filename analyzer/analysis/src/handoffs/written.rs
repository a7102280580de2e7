//! The peer copies that carry a hand-off's KV.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use crate::facts::{Copy, CopyRoute, DeviceCopies, Facts, Peers};
use crate::intervals::{ByStart, Span, Union};
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
/// the process's next one; where ways tell whose KV a copy carries, before the next with the same other end.
#[derive(Debug)]
pub struct WrittenCopies<'a> {
    copies: &'a DeviceCopies,
    carriers: &'a Carriers,
    /// The posts of each process, for whosever KV.
    posted: HashMap<i64, Open>,
    /// Those with each other end.
    by_end: HashMap<(i64, Option<i64>), Open>,
    /// Processes that copy to other devices.
    peers: HashSet<i64>,
    /// With which other end a process's copies on a way have to do.
    ends: HashMap<(i64, Way), i64>,
    /// Processes of which ways tell that.
    told_apart: HashSet<i64>,
}

/// A post as those of one process are told apart.
#[derive(Debug, Clone, Copy)]
struct Posted {
    at: i64,
    /// When it was over; the largest time if that is not known.
    over: i64,
    end: Option<i64>,
    /// What it asked for, if it was seen to be done.
    bytes: Option<i64>,
}

/// Posts of a process.
#[derive(Debug, Default)]
struct Open {
    /// By time.
    posts: Vec<Posted>,
    /// When each of them was under way, as far as that is known.
    spans: ByStart<'static>,
}

impl Open {
    /// Those, in order of time.
    fn of(posts: Vec<Posted>) -> Self {
        let under_way = |post: &Posted| (post.at, if post.over == i64::MAX { post.at } else { post.over });
        let spans = posts.iter().map(under_way).collect::<Vec<Span>>();
        Self { posts, spans: ByStart::of(spans) }
    }

    /// The first after a time.
    fn next(&self, at: i64) -> Option<i64> {
        self.posts.get(self.posts.partition_point(|other| other.at <= at)).map(|next| next.at)
    }

    /// Those that may have been under way while a post was, or were made with it.
    fn near(&self, post: &Post) -> &[Posted] {
        let near = self.spans.near((post.at.saturating_sub(1), post.end().max(post.at.saturating_add(1))));
        &self.posts[near]
    }
}

/// Between which devices a copy goes. One that stays within a device has none.
type Way = (bool, Option<i32>, Option<i32>);

fn way(route: &CopyRoute) -> Way {
    (route.is_peer, route.from, route.to)
}

/// The process at the other end of a post: of a pull whose KV it is, of a push who gets it.
fn other_end(post: &Post, owner: i64) -> Option<i64> {
    if post.by == owner { post.to.filter(|to| *to != owner) } else { Some(owner) }
}

/// Those of a post.
#[derive(Debug, Clone, Copy)]
pub struct CopiesOfPost<'a> {
    carriers: &'a Carriers,
    /// Those that began before the next post with the same other end.
    copies: Option<Peers<'a>>,
    ends: &'a HashMap<(i64, Way), i64>,
    end: Option<i64>,
    /// The next post, whatever its other end.
    next: Option<i64>,
}

impl<'a> WrittenCopies<'a> {
    /// Of all stages.
    #[must_use]
    pub fn of(facts: &'a Facts, carriers: &'a Carriers, stages: &[StageWork]) -> Self {
        let copies = &facts.device_copies;
        let mut posted: HashMap<i64, Vec<Posted>> = HashMap::new();
        for (stage, post) in stages.iter().flat_map(|stage| stage.posts.iter().map(move |post| (stage, post))) {
            let (over, end) = (post.done_by.unwrap_or(i64::MAX), other_end(post, stage.row.process_id));
            let bytes = post.transfer.filter(|_| post.done_by.is_some()).and_then(|row| facts.transfers.bytes[row]);
            posted.entry(post.by).or_default().push(Posted { at: post.at, over, end, bytes });
        }
        let mut by_end: HashMap<(i64, Option<i64>), Vec<Posted>> = HashMap::new();
        for (process, posts) in &mut posted {
            posts.sort_unstable_by_key(|post| (post.at, post.end));
            for post in posts {
                by_end.entry((*process, post.end)).or_default().push(*post);
            }
        }
        let peers = copies.peers().map(|(process, _)| process).collect();
        let (mut ends, mut told_apart) = (HashMap::new(), HashSet::new());
        for (process, posts) in &posted {
            let Some(own) = copies.of_process(*process) else { continue };
            let own = own.ways().filter(|(way, _)| carriers.carries(way));
            let own = own.map(|(route, copy)| (way(&route), copy.span.0, copy.bytes));
            let own = ends_of_ways(posts, own);
            told_apart.extend((!own.is_empty()).then_some(*process));
            ends.extend(own.into_iter().map(|(way, end)| ((*process, way), end)));
        }
        let posted = posted.into_iter().map(|(process, posts)| (process, Open::of(posts))).collect();
        let by_end = by_end.into_iter().map(|(key, posts)| (key, Open::of(posts))).collect();
        Self { copies, carriers, posted, by_end, peers, ends, told_apart }
    }

    /// Those of a post for the KV of a process.
    #[must_use]
    pub fn of_post(&self, post: &Post, owner: i64) -> CopiesOfPost<'_> {
        let end = other_end(post, owner);
        let next = self.posted.get(&post.by).and_then(|posts| posts.next(post.at));
        let until = if self.told_apart.contains(&post.by) {
            self.by_end.get(&(post.by, end)).and_then(|posts| posts.next(post.at))
        } else {
            next
        };
        let copies = self.copies.of_process(post.by).map(|copies| copies.begun(post.at, until));
        CopiesOfPost { carriers: self.carriers, copies, ends: &self.ends, end, next }
    }

    /// Whether a process's KV goes by copies that are recorded.
    #[must_use]
    pub fn are_expected(&self, process: i64) -> bool {
        self.carriers.has(process) || self.peers.contains(&process)
    }

    /// Whether a copy of a post may as well be another one's that was open at the same time: one of the same process, and if ways
    /// tell its other ends apart, with the same one. `own` are the posts that it is one of.
    #[must_use]
    pub fn are_mixed(&self, own: &[&Post], owner: i64) -> bool {
        let Some(first) = own.first() else { return false };
        let (by, end) = (first.by, other_end(first, owner));
        let is_told_apart = self.told_apart.contains(&by);
        let alike = if is_told_apart { self.by_end.get(&(by, end)) } else { self.posted.get(&by) };
        let Some(alike) = alike else { return false };
        let times: HashSet<i64> = own.iter().map(|post| post.at).collect();
        let is_own = |other: &Posted| other.end == end && times.contains(&other.at);
        let meets = |post: &Post, other: &Posted| {
            let over = if other.over == i64::MAX { other.at } else { other.over };
            post.at < over && other.at < post.end() || post.at == other.at
        };
        own.iter().any(|post| alike.near(post).iter().any(|other| !is_own(other) && meets(post, other)))
    }
}

/// With which other end the copies on each way have to do, if ways tell all of a process's ends apart: a copy that began while only
/// posts with one other end were open is of one of these. One end may have been under way only while another one was: the ways that are
/// left are its own, if then the bytes of each end's copies are those that were asked for.
fn ends_of_ways(posts: &[Posted], copies: impl Iterator<Item = (Way, i64, i64)>) -> HashMap<Way, i64> {
    let ends: BTreeSet<i64> = posts.iter().filter_map(|post| post.end).collect();
    if ends.len() < 2 || posts.iter().any(|post| post.end.is_none()) {
        return HashMap::new();
    }
    let mut seen: HashMap<Way, BTreeSet<i64>> = HashMap::new();
    let mut bytes: HashMap<Way, i64> = HashMap::new();
    // How many posts with each end are open, and when the next of them is over.
    let (mut next, mut open, mut over) = (0, BTreeMap::<i64, usize>::new(), BinaryHeap::new());
    for (way, begun, size) in copies {
        while let Some(post) = posts.get(next).filter(|post| post.at <= begun) {
            if let Some(end) = post.end {
                *open.entry(end).or_default() += 1;
                over.push(Reverse((post.over, end)));
            }
            next += 1;
        }
        while let Some(Reverse((_, end))) = over.peek().copied().filter(|Reverse((at, _))| *at < begun) {
            over.pop();
            let left = open.get(&end).map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                open.remove(&end);
            } else {
                open.insert(end, left);
            }
        }
        let seen = seen.entry(way).or_default();
        if let (Some(end), 1) = (open.keys().next(), open.len()) {
            seen.insert(*end);
        }
        let sum = bytes.entry(way).or_default();
        *sum = sum.saturating_add(size);
    }
    let known: BTreeSet<i64> = seen.values().flatten().copied().collect();
    let mut missing = ends.difference(&known);
    let left = match (missing.next(), missing.next()) {
        (None, _) => None,
        (Some(left), None) => Some(*left),
        _ => return HashMap::new(),
    };
    if seen.values().any(|ends| ends.len() > 1) {
        return HashMap::new();
    }
    let own = |(way, ends): (&Way, &BTreeSet<i64>)| Some((*way, ends.first().copied().or(left)?));
    let found: HashMap<Way, i64> = seen.iter().filter_map(own).collect();
    let mut carried: BTreeMap<i64, i64> = BTreeMap::new();
    for (way, end) in &found {
        let sum = carried.entry(*end).or_default();
        *sum = sum.saturating_add(bytes.get(way).copied().unwrap_or(0));
    }
    let mut asked: BTreeMap<i64, Option<i64>> = BTreeMap::new();
    for (end, bytes) in posts.iter().filter_map(|post| Some((post.end?, post.bytes))) {
        let sum = asked.entry(end).or_insert(Some(0));
        *sum = sum.zip(bytes).map(|(sum, bytes)| sum.saturating_add(bytes));
    }
    let is_all = |end: &i64| asked.get(end).copied().flatten() == Some(carried.get(end).copied().unwrap_or(0));
    if left.is_some() && !ends.iter().all(is_all) {
        return HashMap::new();
    }
    found
}

impl<'a> CopiesOfPost<'a> {
    /// Each of them, by start.
    pub fn iter(self) -> impl Iterator<Item = Copy> + Clone + 'a {
        let Self { carriers, ends, end, next, .. } = self;
        let all = self.copies.into_iter().flat_map(Peers::ways);
        let is_own = move |route: &CopyRoute, copy: &Copy| match ends.get(&(route.process, way(route))) {
            Some(of) => Some(*of) == end,
            None => next.is_none_or(|next| copy.span.0 < next),
        };
        all.filter(move |(way, copy)| carriers.carries(way) && is_own(way, copy)).map(|(_, copy)| copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Way = (true, Some(1), Some(0));
    const WITHIN: Way = (false, None, None);

    fn posts(spans: &[(i64, i64, i64, i64)]) -> Vec<Posted> {
        let post = |(at, over, end, bytes): &_| Posted { at: *at, over: *over, end: Some(*end), bytes: Some(*bytes) };
        spans.iter().map(post).collect()
    }

    #[test]
    fn ways_tell_ends_apart_where_each_end_had_its_own_alone() {
        let own = posts(&[(0, 50, 1, 9), (20, 90, 2, 9)]);
        let copies = [(PEER, 5, 1), (PEER, 30, 1), (WITHIN, 40, 1), (WITHIN, 60, 1)];
        assert_eq!(ends_of_ways(&own, copies.into_iter()), HashMap::from([(PEER, 1), (WITHIN, 2)]));
        let found = ends_of_ways(&own, [(PEER, 5, 1), (PEER, 60, 1)].into_iter());
        assert!(found.is_empty(), "both take the same way");
        let found = ends_of_ways(&posts(&[(0, 50, 1, 9), (20, 90, 1, 9)]), [(PEER, 5, 1)].into_iter());
        assert!(found.is_empty(), "there is but one");
    }

    #[test]
    fn the_way_that_is_left_is_of_the_end_that_was_never_alone_if_bytes_agree() {
        let copies = [(PEER, 5, 4), (PEER, 30, 5), (WITHIN, 30, 7)];
        let found = |asked| ends_of_ways(&posts(&[(0, 50, 1, 9), (20, 50, 2, asked)]), copies.into_iter());
        assert_eq!(found(7), HashMap::from([(PEER, 1), (WITHIN, 2)]));
        assert!(found(8).is_empty(), "a copy is missing, or another one's");
    }
}
