//! Records and sums to rows. Pure.

use kvpath_schema::cell::Name;
use kvpath_schema::wire::sched::{Interval, SPUN, Thread, WAITS, YIELD};
use zerocopy::FromBytes as _;

use super::calls::wakes;
use super::programs::ThreadWords;

/// Reads a record; `None` if it is none.
pub fn interval(bytes: &[u8]) -> Option<Interval> {
    Interval::read_from_prefix(bytes).ok().map(|(interval, _)| interval)
}

/// What a thread's words say.
pub fn thread(words: ThreadWords) -> Thread {
    let [off_ns, ready_ns, state, short, short_ns, short_queue_ns, call, file, waker, waker_call, a, b, ..] = words;
    let [.., first, last, spins] = words;
    let waker_name = [a, b];
    Thread {
        off_ns,
        ready_ns,
        state,
        short,
        short_ns,
        short_queue_ns,
        call,
        file,
        waker,
        waker_call,
        waker_name,
        spin_ns: first,
        spun_ns: last,
        spins,
    }
}

/// How a thread was woken: process, thread and name of the waker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waker {
    /// OS pid.
    pub pid: i32,
    /// Thread.
    pub tid: i32,
    /// Its name.
    pub name: Name,
}

/// The thread whose call ended the waiting; `None` if no call did, or it is not known.
pub fn waker(interval: &Interval) -> Option<Waker> {
    let (pid, tid) = (i32::try_from(interval.waker_pid).ok()?, i32::try_from(interval.waker_tid).ok()?);
    let is_woken = is_waiting(interval.state) && pid != 0 && wakes(interval.call, interval.waker_call);
    let name = interval.waker_name.split(|byte| *byte == 0).next().unwrap_or_default();
    is_woken.then(|| Waker { pid, tid, name: String::from_utf8_lossy(name).into() })
}

/// Whether a thread went off for good: `TASK_DEAD`.
pub fn is_over(state: u64) -> bool {
    state & 0x80 != 0
}

/// Name of a state that a thread goes off the CPU in: bits of `TASK_*` in include/linux/sched.h. 0: it could go on. Frozen
/// (0x8000) is `stopped` too: it goes on when whoever froze its cgroup says so.
pub fn state(number: u32, call: i32) -> Name {
    match number & WAITS {
        _ if number == SPUN => "spinning",
        0 if call == YIELD => "yielded",
        0 => "preempted",
        // A lock that a spinlock becomes on PREEMPT_RT.
        bits if bits & (2 | 0x1000) != 0 => "uninterruptible",
        bits if bits & 1 != 0 => "sleeping",
        _ => "stopped",
    }
    .into()
}

/// Whether it waited for something, and could not have gone on.
pub fn is_waiting(number: u32) -> bool {
    number & WAITS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_kernels_meaning() {
        for (number, name) in [
            (0, "preempted"),
            (1, "sleeping"),
            (2, "uninterruptible"),
            (0x102, "uninterruptible"),
            (4, "stopped"),
            (0x8000, "stopped"),
            (0x1000, "uninterruptible"),
        ] {
            assert_eq!(&*state(number, 202), name, "{number:#x}");
        }
        assert_eq!(&*state(0, YIELD), "yielded");
        assert_eq!(&*state(SPUN, YIELD), "spinning");
        assert!(is_waiting(0x8000) && is_waiting(1) && !is_waiting(0) && !is_waiting(0x100));
    }

    #[test]
    fn a_thread_that_has_ended_is_not_off_for_a_while() {
        assert!(is_over(0x80) && !is_over(0) && !is_over(1) && !is_over(4) && !is_over(0x100));
    }

    #[test]
    fn a_short_record_is_none() {
        assert_eq!(interval(&[0; 71]), None);
        let mut bytes = [0; 72];
        bytes[24] = 7;
        assert_eq!(interval(&bytes).map(|interval| interval.tid), Some(7));
    }

    #[test]
    fn who_was_interrupted_as_a_thread_was_woken_is_no_waker() {
        let bytes = [0; 72];
        let mut own = interval(&bytes).unwrap();
        own.waker_name[..4].copy_from_slice(b"pt_0");
        (own.state, own.call, own.waker_pid, own.waker_tid, own.waker_call) = (1, 202, 5, 6, 202);
        let expected = Waker { pid: 5, tid: 6, name: "pt_0".into() };
        assert_eq!(waker(&own), Some(expected));
        assert_eq!(waker(&Interval { waker_call: -1, ..own }), None, "no call");
        assert_eq!(waker(&Interval { call: 230, ..own }), None, "a time was over");
        assert_eq!(waker(&Interval { waker_pid: 0, ..own }), None, "an idle CPU");
        assert_eq!(waker(&Interval { state: 0, ..own }), None, "it did not wait");
    }
}
