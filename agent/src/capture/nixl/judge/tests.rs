//! Layouts that are right, and those that are not.

use kvpath_schema::wire::nixl::{DESCRIPTOR_LIMIT, flaw};

use super::super::decode::{HandleInfo, Range, TracedText};
use super::*;

const SLOT: u32 = 5;

fn caller(process_id: i64) -> Caller {
    Caller { process_id, pid: i32::try_from(process_id).unwrap(), tid: 9, time_ns: 7 }
}

fn text(text: &str) -> TracedText {
    TracedText { text: Some(text.into()), raw: None, len: text.len() as u64 }
}

fn about() -> HandleInfo {
    HandleInfo {
        bytes: Some(30),
        descriptors: Some(2),
        op: Some(1),
        local_memory: Some(1),
        remote_memory: Some(0),
        has_notif: Some(false),
        peer: text("decode-0"),
        notif: text(""),
    }
}

fn made(op: Option<i32>, about: HandleInfo) -> Event {
    Event::Made { entry_ns: 1, agent_ptr: 2, handle: 3, asked: 4, op, about }
}

fn posted(about: HandleInfo) -> Event {
    Event::Posted { entry_ns: 1, agent_ptr: 2, handle: 3, earlier: Polls::default(), status: 1, about }
}

fn ranges(sizes: &[u64]) -> Vec<Range> {
    (1..).zip(sizes).map(|(at, bytes)| Range { addr: 0x1000 * at, bytes: *bytes, device: 0 }).collect()
}

fn descriptors(local: &[u64], remote: &[u64]) -> Event {
    Event::Descriptors { handle: 3, first: 0, local: ranges(local), remote: Some(ranges(remote)) }
}

fn judge() -> Judge {
    let mut judge = Judge::default();
    judge.assume(SLOT);
    judge
}

fn post(judge: &mut Judge, process_id: i64) -> Ruling {
    assert!(matches!(judge.rule(SLOT, caller(process_id), posted(about())), Ruling::Kept | Ruling::Take(_)));
    judge.rule(SLOT, caller(process_id), descriptors(&[10, 20], &[10, 20]))
}

#[test]
fn transfers_are_held_back_until_enough_posts_agree() {
    let mut judge = judge();
    let agent = || Event::Agent { agent_ptr: 2, name: text("a") };
    assert!(matches!(judge.rule(SLOT, caller(41), agent()), Ruling::Take(_)), "a name follows no layout");
    for _ in 1..POSTS {
        assert!(matches!(post(&mut judge, 41), Ruling::Kept));
    }
    assert!(judge.hold(caller(41), Waiting::Ended).is_none(), "what is held back of it comes first");
    assert!(judge.hold(caller(40), Waiting::Ended).is_some());
    let Ruling::Believed(held) = post(&mut judge, 42) else { panic!("enough posts") };
    assert_eq!(held.len(), 2 * POSTS as usize + 1);
    assert!(matches!(held[2 * (POSTS as usize - 1)], (caller, Waiting::Ended) if caller.process_id == 41));
    assert!(matches!(post(&mut judge, 42), Ruling::Take(_)));
    assert_eq!(judge.take_losses().total(), 0);
}

#[test]
fn what_contradicts_ends_it_and_is_counted() {
    let wrong: [(&str, Event); 13] = [
        ("operation 7", posted(HandleInfo { op: Some(7), ..about() })),
        ("operation -1", posted(HandleInfo { op: None, ..about() })),
        ("memory of kind 9", posted(HandleInfo { local_memory: Some(9), ..about() })),
        ("no descriptors", posted(HandleInfo { descriptors: Some(0), ..about() })),
        ("no peer", posted(HandleInfo { peer: text("a\u{1}"), ..about() })),
        ("no peer", posted(HandleInfo { peer: text(""), ..about() })),
        ("operation 0 is asked for", made(Some(0), about())),
        ("4 descriptors are asked for", made(Some(1), HandleInfo { descriptors: Some(5), ..about() })),
        ("10 bytes here and 11 there", descriptors(&[10, 20], &[11, 19])),
        ("has 30 bytes, and its descriptors have 31", descriptors(&[10, 21], &[10, 21])),
        ("not as many", Event::Descriptors { handle: 3, first: 0, local: ranges(&[1]), remote: None }),
        ("range of 0 bytes", descriptors(&[0, 30], &[0, 30])),
        (
            "in Post, not where they should be: the peer's name, the status",
            Event::Contradicted { of: Kind::Post, flaws: flaw::PEER | flaw::STATUS },
        ),
    ];
    for (words, event) in wrong {
        let mut judge = judge();
        assert!(matches!(judge.rule(SLOT, caller(41), posted(about())), Ruling::Kept));
        let Ruling::Contradicted(why) = judge.rule(SLOT, caller(41), event) else { panic!("{words}") };
        assert!(why.contains(words), "{why}");
        assert!(matches!(judge.rule(SLOT, caller(41), posted(about())), Ruling::Kept), "nothing is taken any more");
        assert!(judge.hold(caller(41), Waiting::PollsLeft { handle: 3, polls: Polls::default() }).is_none());
        assert!(judge.hold(caller(41), Waiting::Ended).is_some());
        assert!(judge.take_losses().of("nixl_transfers") >= 2, "{words}");
        assert_eq!(judge.processes_of(SLOT), [(41, 41)]);
        assert!(judge.finish().is_empty());
    }
}

#[test]
fn an_end_that_was_held_back_is_not_lost_with_the_rest() {
    let mut judge = judge();
    judge.rule(SLOT, caller(41), posted(about()));
    assert!(judge.hold(caller(41), Waiting::Ended).is_none());
    let wrong = posted(HandleInfo { op: Some(7), ..about() });
    assert!(matches!(judge.rule(SLOT, caller(42), wrong), Ruling::Contradicted(_)));
    assert!(matches!(judge.take_ends(SLOT)[..], [(_, Waiting::Ended)]));
}

#[test]
fn a_recording_that_ends_takes_what_a_post_agrees_with() {
    let mut judge = judge();
    post(&mut judge, 41);
    let taken = judge.finish();
    assert_eq!((taken.len(), taken[0].1.len(), judge.posts(SLOT)), (1, 2, 1));

    let mut judge = super::tests::judge();
    judge.rule(SLOT, caller(41), posted(about()));
    let taken = judge.finish();
    assert!(taken[0].1.is_empty());
    assert_eq!(judge.take_losses().of("nixl_transfers"), 1);
}

#[test]
fn what_cannot_be_read_later_is_no_sign() {
    let mut judge = judge();
    for _ in 0..POSTS {
        post(&mut judge, 41);
    }
    let unread = HandleInfo { op: None, descriptors: None, local_memory: None, ..about() };
    assert!(matches!(judge.rule(SLOT, caller(41), posted(unread)), Ruling::Take(_)));
    let wrong = posted(HandleInfo { op: Some(7), ..about() });
    let Ruling::Contradicted(why) = judge.rule(SLOT, caller(41), wrong) else { panic!("it is wrong") };
    assert!(why.ends_with("4 posts agreed with it before, and their rows may be wrong"), "{why}");
}

#[test]
fn of_a_list_beyond_the_limit_what_is_recorded_is_judged() {
    let mut judge = judge();
    let long = HandleInfo { descriptors: Some(DESCRIPTOR_LIMIT + 9), ..about() };
    judge.rule(SLOT, caller(41), posted(long));
    let sizes = [7; 64];
    for record in 0..u32::try_from(DESCRIPTOR_LIMIT / 64).unwrap() {
        let (local, remote) = (ranges(&sizes), Some(ranges(&sizes)));
        let event = Event::Descriptors { handle: 3, first: 64 * record, local, remote };
        assert!(matches!(judge.rule(SLOT, caller(41), event), Ruling::Kept));
    }
    assert_eq!(judge.posts(SLOT), 1);
}

#[test]
fn no_more_is_held_back_than_memory_allows() {
    let mut judge = judge();
    for _ in 0..HELD_MAX / HELD_EVENT {
        judge.rule(SLOT, caller(41), Event::Status { handle: 3, polls: Polls::default(), status: 0 });
    }
    assert_eq!(judge.take_losses().total(), 0);
    assert!(matches!(judge.rule(SLOT, caller(41), posted(about())), Ruling::Kept));
    assert_eq!(judge.take_losses().of("nixl_transfers"), 1);
}

#[test]
fn layouts_of_the_table_are_not_judged() {
    let wrong = posted(HandleInfo { op: Some(7), ..about() });
    assert!(matches!(judge().rule(0, caller(41), wrong), Ruling::Take(_)));
}
