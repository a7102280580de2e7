//! Hand-overs and their copies.

use super::intervals::{Span, Union};
use super::lanes::Copy;
use super::posts::Post;
use super::stages::StageWork;

/// A hand-over and its copies.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The hand-over.
    pub post: &'a Post,
    /// Peer copies that began after it and before the stage's next.
    pub copies: &'a [Copy],
}

/// The time in which a transfer was under way, each until `end` says, ns; none if that is not known of each.
pub fn open_ns(posts: &[Made], end: impl Fn(&Post) -> Option<i64>) -> Option<i64> {
    let done = posts.iter().filter(|made| !made.post.failed);
    let spans: Option<Vec<Span>> = done.map(|made| made.post.posted.zip(end(made.post))).collect();
    spans.filter(|spans| !spans.is_empty()).map(|spans| Union::of(spans).len_ns())
}

/// The copies of each post of each stage: those that began after it and before the next, and may carry KV.
///
/// Into a stage's own device go activations of the stage before, unless it pulls KV; to the device of another stage go its
/// own. Devices are compared only where all stages number them alike.
#[must_use]
pub fn copies_of_posts(stages: &[StageWork]) -> Vec<Vec<Vec<Copy>>> {
    let prefill = stages.iter().filter(|stage| stage.is_prefill());
    let mut devices: Vec<i32> = prefill.filter_map(|stage| stage.row.device_id).collect();
    let all = devices.len();
    devices.sort_unstable();
    devices.dedup();
    if devices.len() < all {
        devices.clear();
    }
    stages.iter().map(|stage| of_stage(stage, &devices)).collect()
}

fn of_stage(stage: &StageWork, devices: &[i32]) -> Vec<Vec<Copy>> {
    let mut of_post = vec![Vec::new(); stage.posts.len()];
    let own = stage.row.device_id;
    let pushes_only =
        stage.posts.iter().all(|post| !post.pulled) && stage.posts.iter().any(|post| post.transfer.is_some());
    for copy in stage.lane.iter().flat_map(|lane| &lane.copies) {
        let comes_in = copy.to.is_some() && copy.to == own && copy.from != copy.to;
        let to_a_stage = stage.is_prefill() && copy.to != own && copy.to.is_some_and(|to| devices.contains(&to));
        if comes_in && pushes_only || to_a_stage {
            continue;
        }
        if let Some(post) = stage.posts.partition_point(|post| post.at <= copy.span.0).checked_sub(1) {
            of_post[post].push(*copy);
        }
    }
    of_post
}
