//! Where a process handed KV over: NIXL transfers, else NIXL's NVTX ranges, else bursts of peer copies.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::tables::nixl::{XferOp, XferStatus};

use super::lanes::Lane;
use crate::facts::Facts;
use crate::facts::NvtxRow;
use crate::facts::agents::AgentNames;

/// Copies further apart than this belong to different hand-offs, where nothing but copies was recorded.
const BURST_GAP_NS: i64 = 20_000_000;

/// Posts this close to each other may be open at once; an end that names no handle then belongs to neither.
const OPEN_NS: i64 = 1_000_000_000;

/// One hand-off by one process.
#[derive(Debug, Clone, Default)]
pub struct Post {
    /// When it began: post, else the first copy, ns.
    pub at: i64,
    /// The process that made it, and its copies: of a pull the receiving one.
    pub by: i64,
    /// The process that received the KV, if that is known.
    pub to: Option<i64>,
    /// Entry of make, ns.
    pub made: Option<i64>,
    /// Time in make, ns.
    pub make_ns: Option<i64>,
    /// Entry of post, ns.
    pub posted: Option<i64>,
    /// Return of post, ns.
    pub post_end: Option<i64>,
    /// It completed after this, ns.
    pub done_after: Option<i64>,
    /// It completed at or before this, ns.
    pub done_by: Option<i64>,
    /// Request id.
    pub request: Option<String>,
    /// Row of `nixl_transfers`.
    pub transfer: Option<usize>,
    /// Chunk of the prompt that its notif names.
    pub chunk: Option<i32>,
    /// It failed: NIXL gave an error.
    pub failed: bool,
    /// The process received the KV (it read, or copied from another device) and whose it was is not known.
    pub pulled: bool,
}

impl Post {
    /// When the hand-off had ended; its beginning if that was not seen.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.done_by.unwrap_or(self.at)
    }
}

/// The posts of every process, by the process whose KV is handed over, each by time.
#[must_use]
pub fn of(facts: &Facts, lanes: &BTreeMap<i64, Lane>) -> BTreeMap<i64, Vec<Post>> {
    let mut posts = if facts.transfers.transfer_id.is_empty() { from_nvtx(facts) } else { from_transfers(facts) };
    if facts.transfers.peer.iter().all(Option::is_none) {
        give_to_owner(&mut posts, lanes);
    }
    // The copies of a process that pulls are those of the posts that it made for others' KV.
    let posting: BTreeSet<i64> = posts.values().flatten().map(|post| post.by).collect();
    for (process, lane) in lanes {
        if lane.copies.is_some() && !posts.contains_key(process) && !posting.contains(process) {
            posts.insert(*process, from_copies(*process, lane));
        }
    }
    for posts in posts.values_mut() {
        posts.sort_by_key(|post| post.at);
    }
    posts
}

fn from_transfers(facts: &Facts) -> BTreeMap<i64, Vec<Post>> {
    let transfers = &facts.transfers;
    let names = AgentNames::of(facts);
    let mut posts: BTreeMap<i64, Vec<Post>> = BTreeMap::new();
    for row in 0..transfers.transfer_id.len() {
        let Some(posted) = transfers.posted_ns[row] else {
            continue;
        };
        // A pull is posted by the receiver; the KV is the peer's.
        let made = transfers.made_ns[row].unwrap_or(posted);
        let peer = transfers.peer[row].as_deref().and_then(|name| names.at(name, made));
        let is_read = *transfers.op[row] == XferOp::Read;
        let owner = if is_read { peer.unwrap_or(transfers.process_id[row]) } else { transfers.process_id[row] };
        // Where polls were not recorded, the release is the first that shows the end.
        let released = transfers.released_ns[row].filter(|_| *transfers.status[row] == XferStatus::Done);
        let done_by = transfers.done_poll_ns[row].or(released);
        posts.entry(owner).or_default().push(Post {
            at: posted,
            by: transfers.process_id[row],
            to: if is_read { Some(transfers.process_id[row]) } else { peer },
            made: transfers.made_ns[row],
            make_ns: transfers.make_dur_ns[row],
            posted: Some(posted),
            post_end: transfers.post_end_ns[row],
            done_after: done_by.map(|_| transfers.last_pending_poll_ns[row].unwrap_or(posted)),
            done_by,
            request: transfers.request[row].clone(),
            transfer: Some(row),
            chunk: transfers.chunk[row],
            failed: XferStatus::from_text(&transfers.status[row]).is_none(),
            pulled: is_read && peer.is_none(),
        });
    }
    posts
}

/// NIXL names its ranges `nixl::makeXferReq`, `nixl::postXferReq.write` (or `.read`) and marks `nixl::xfer.complete` when
/// a poll first sees the end (NIXL docs/tracing.md). The ranges do not say whose KV a pull reads.
fn from_nvtx(facts: &Facts) -> BTreeMap<i64, Vec<Post>> {
    let is_nixl = |text: &str| text.starts_with("nixl::").then_some(());
    let mut marks: Vec<NvtxRow> = facts.nvtx.of_texts(is_nixl).map(|(row, ())| facts.nvtx.mark(row)).collect();
    marks.sort_by_key(|mark| mark.start);
    let mut posts: BTreeMap<i64, Vec<Post>> = BTreeMap::new();
    let mut made: BTreeMap<(i64, i32), NvtxRow> = BTreeMap::new();
    for mark in marks {
        let (start, process) = (mark.start, mark.thread.0);
        match mark.text {
            "nixl::makeXferReq" | "nixl::createXferReq" => {
                made.insert(mark.thread, mark);
            }
            text @ ("nixl::postXferReq.write" | "nixl::postXferReq.read") => {
                let made = made.remove(&mark.thread);
                posts.entry(process).or_default().push(Post {
                    at: start,
                    by: process,
                    made: made.map(|made| made.start),
                    make_ns: made.and_then(|made| made.dur),
                    posted: Some(start),
                    post_end: mark.dur.map(|dur| start + dur),
                    pulled: text == "nixl::postXferReq.read",
                    to: (text == "nixl::postXferReq.read").then_some(process),
                    ..Post::default()
                });
            }
            // The marker names no handle: it is the end of the post before it, unless that one has ended or another
            // may be open too.
            "nixl::xfer.complete" => {
                let Some(own) = posts.get_mut(&process) else { continue };
                let others = own.iter().rev().skip(1).take_while(|post| start - post.at < OPEN_NS);
                let alone = others.into_iter().all(|post| post.done_by.is_some());
                if let Some(post) = own.last_mut()
                    && post.done_by.is_none()
                    && alone
                {
                    post.done_after = post.posted;
                    post.done_by = Some(start);
                }
            }
            _ => {}
        }
    }
    posts
}

/// Whose KV a pull reads is not told where no peer was read, and ranges never say. It is that of the only process that computes and hands nothing over, if there is but
/// one.
fn give_to_owner(posts: &mut BTreeMap<i64, Vec<Post>>, lanes: &BTreeMap<i64, Lane>) {
    let mut owners = lanes.iter().filter(|(process, lane)| !lane.passes.is_empty() && !posts.contains_key(process));
    let (Some((owner, _)), None) = (owners.next(), owners.next()) else { return };
    let mut own = Vec::new();
    for posts in posts.values_mut() {
        own.extend(posts.extract_if(.., |post| post.pulled));
    }
    posts.retain(|_, posts| !posts.is_empty());
    if !own.is_empty() {
        for post in &mut own {
            post.pulled = false;
        }
        posts.insert(*owner, own);
    }
}

fn from_copies(process: i64, lane: &Lane) -> Vec<Post> {
    let mut posts: Vec<Post> = Vec::new();
    let mut end = i64::MIN;
    for copy in lane.copies() {
        if posts.is_empty() || copy.span.0.saturating_sub(end) > BURST_GAP_NS {
            let pulled = copy.from.is_some() && copy.from != lane.device_id && copy.to == lane.device_id;
            posts.push(Post { at: copy.span.0, by: process, to: pulled.then_some(process), pulled, ..Post::default() });
        }
        end = end.max(copy.span.1);
    }
    posts
}
