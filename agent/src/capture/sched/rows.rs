//! Records and sums to rows. Pure.

use kvpath_schema::cell::Name;
use kvpath_schema::wire::sched::{Interval, Thread};
use zerocopy::FromBytes as _;

use super::programs::ThreadWords;

/// Reads a record; `None` if it is none.
pub fn interval(bytes: &[u8]) -> Option<Interval> {
    Interval::read_from_prefix(bytes).ok().map(|(interval, _)| interval)
}

/// What a thread's words say; `None` if there are too few.
pub fn thread(words: ThreadWords) -> Thread {
    let [off_ns, ready_ns, state, short, short_ns, short_queue_ns] = words;
    Thread { off_ns, ready_ns, state, short, short_ns, short_queue_ns }
}

/// `TASK_REPORT_MAX`: the tracepoint sets it where the thread did not go off by itself (`R+`).
const PREEMPTED: u32 = 0x100;

/// Whether a thread went off for good: `EXIT_DEAD` or `EXIT_ZOMBIE`.
pub fn is_over(state: u64) -> bool {
    state & 0x30 != 0
}

/// Name of a state that a thread goes off the CPU in: bits of `TASK_*` in include/linux/sched.h, as the tracepoint
/// `sched_switch` prints them.
pub fn state(number: u32) -> Name {
    match number & 0xff {
        0 if number & PREEMPTED != 0 => "preempted",
        0 => "yielded",
        bits if bits & 2 != 0 => "uninterruptible",
        bits if bits & 1 != 0 => "sleeping",
        0x80 => "sleeping",
        _ => "stopped",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_kernels_meaning() {
        for (number, name) in [
            (0, "yielded"),
            (0x100, "preempted"),
            (1, "sleeping"),
            (2, "uninterruptible"),
            (0x80, "sleeping"),
            (4, "stopped"),
        ] {
            assert_eq!(&*state(number), name, "{number:#x}");
        }
    }

    #[test]
    fn a_thread_that_has_ended_is_not_off_for_a_while() {
        assert!(is_over(0x10) && is_over(0x20) && !is_over(1) && !is_over(4) && !is_over(0x100));
    }

    #[test]
    fn a_short_record_is_none() {
        assert_eq!(interval(&[0; 31]), None);
        let mut bytes = [0; 32];
        bytes[24] = 7;
        assert_eq!(interval(&bytes).map(|interval| interval.tid), Some(7));
    }
}
