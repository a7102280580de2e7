//! In which order a pipeline computed its requests.

use super::requests::RequestWork;
use super::stages::StageWork;

/// What requests are ordered by, if not by their hand-offs: a stage that pushes hands over each request when it has computed it. A
/// receiver pulls when it is asked to, in whatever order, maybe seconds later. Then clients tell, where they do of all of these requests.
#[must_use]
pub fn sent<'r>(
    stages: &[StageWork],
    requests: &'r [RequestWork],
    own: &[usize],
) -> Option<impl Fn(usize) -> i64 + use<'r>> {
    let is_pulled = |r: &usize| {
        let posts = &requests[*r].posts;
        posts.iter().any(|(s, p)| stages[*s].posts[*p].by != stages[*s].row.process_id)
    };
    let is_told = |r: &usize| requests[*r].told.is_some();
    let all = own.iter().any(is_pulled) && own.iter().all(is_told);
    all.then_some(move |r: usize| requests[r].told.map_or(0, |told| told.arrival_ns))
}
