//! In which order a pipeline computed its requests.

use super::requests::RequestWork;
use super::stages::StageWork;
use crate::intervals::Span;

/// What requests are ordered by before the order of their hand-offs: a stage that pushes hands over each request when it has computed it. A
/// receiver pulls when it is asked to, maybe seconds later and after requests that were computed after it. Where clients tell of all of
/// these requests, one was computed before another if the stages had computed, and were idle, before that one was sent; of those that
/// were sent while the stages computed the hand-offs tell: an engine need not compute in the order of sending. `groups` are the times in which
/// some stage computes. Returns the group of each.
#[must_use]
pub fn groups_of_sent(
    stages: &[StageWork],
    requests: &[RequestWork],
    own: &[usize],
    groups: &[Span],
) -> Option<Vec<usize>> {
    let is_pulled = |r: &usize| {
        let posts = &requests[*r].posts;
        posts.iter().any(|(s, p)| stages[*s].posts[*p].by != stages[*s].row.process_id)
    };
    if !own.iter().any(is_pulled) {
        return None;
    }
    own.iter().map(|r| Some(group(groups, requests[*r].told?.arrival_ns))).collect()
}

/// The first group that does not end before a time.
fn group(groups: &[Span], sent: i64) -> usize {
    groups.partition_point(|(_, end)| *end < sent)
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn what_was_sent_while_the_stages_compute_is_of_one_group() {
        let groups = [(10, 20), (50, 90)];
        assert_eq!([5, 12, 20].map(|sent| group(&groups, sent)), [0; 3]);
        assert_eq!([21, 50, 60, 90].map(|sent| group(&groups, sent)), [1; 4]);
        assert_eq!(group(&groups, 91), 2);
    }
}
