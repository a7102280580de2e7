//! System calls in which threads go off the CPU, and what ends their waiting. Pure.
//!
//! Numbers are those of x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).

use kvpath_schema::cell::Name;
use kvpath_schema::wire::sched::YIELD;

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// That another thread wakes it.
    Futex,
    /// That another end writes, sends or closes.
    Data,
    /// That another end reads, so that there is room.
    Room,
    /// That a process ends.
    Exit,
    /// A time, a disk, a driver: no thread ends it by a call.
    Other,
}

use WaitsFor::{Data, Exit, Futex, Other, Room};

/// Number, name, what it waits for, and whether its first argument is a file (or points to one).
const CALLS: &[(i32, &str, WaitsFor, bool)] = &[
    (0, "read", Data, true),
    (1, "write", Room, true),
    (2, "open", Other, false),
    (3, "close", Other, true),
    (7, "poll", Data, true),
    (9, "mmap", Other, false),
    (10, "mprotect", Other, false),
    (11, "munmap", Other, false),
    (12, "brk", Other, false),
    (16, "ioctl", Other, true),
    (17, "pread64", Other, true),
    (18, "pwrite64", Other, true),
    (19, "readv", Data, true),
    (20, "writev", Room, true),
    (23, "select", Data, false),
    (YIELD, "sched_yield", Other, false),
    (25, "mremap", Other, false),
    (28, "madvise", Other, false),
    (34, "pause", Other, false),
    (35, "nanosleep", Other, false),
    (40, "sendfile", Room, true),
    (42, "connect", Data, true),
    (43, "accept", Data, true),
    (44, "sendto", Room, true),
    (45, "recvfrom", Data, true),
    (46, "sendmsg", Room, true),
    (47, "recvmsg", Data, true),
    (56, "clone", Other, false),
    (59, "execve", Other, false),
    (61, "wait4", Exit, false),
    (72, "fcntl", Other, true),
    (73, "flock", Other, true),
    (74, "fsync", Other, true),
    (75, "fdatasync", Other, true),
    (128, "rt_sigtimedwait", Other, false),
    (202, "futex", Futex, false),
    (230, "clock_nanosleep", Other, false),
    (232, "epoll_wait", Data, true),
    (247, "waitid", Exit, false),
    (257, "openat", Other, false),
    (270, "pselect6", Data, false),
    (271, "ppoll", Data, true),
    (275, "splice", Data, true),
    (281, "epoll_pwait", Data, true),
    (288, "accept4", Data, true),
    (299, "recvmmsg", Data, true),
    (307, "sendmmsg", Room, true),
    (426, "io_uring_enter", Data, true),
    (435, "clone3", Other, false),
    (441, "epoll_pwait2", Data, true),
    (449, "futex_waitv", Futex, false),
    (455, "futex_wait", Futex, false),
];

/// `futex`, `futex_wake`, `futex_requeue`; a thread's end wakes who waits to join it.
const WAKES_FUTEX: &[i32] = &[202, 454, 456, 60, 231];
/// Calls that write, send, connect, shut down or close, and the end of a process, which closes its files.
const WRITES: &[i32] = &[1, 3, 18, 20, 40, 42, 44, 46, 48, 275, 307, 426, 60, 231];
/// Calls that read.
const READS: &[i32] = &[0, 3, 19, 45, 47, 232, 275, 299, 426, 60, 231];
/// Calls that end a process.
const ENDS: &[i32] = &[60, 62, 231, 234];

fn entry(call: i32) -> Option<(&'static str, WaitsFor, bool)> {
    let at = CALLS.binary_search_by_key(&call, |(number, ..)| *number).ok()?;
    let (_, name, waits_for, names_file) = CALLS[at];
    Some((name, waits_for, names_file))
}

/// Name of a call; `None` outside of one.
pub fn name(call: i32) -> Option<Name> {
    (call >= 0).then(|| entry(call).map_or_else(|| format!("call {call}").into(), |(name, ..)| name.into()))
}

/// Whether the first argument of a call is a file, or points to one.
pub fn names_file(call: i32) -> bool {
    entry(call).is_some_and(|(.., names_file)| names_file)
}

/// Whether a thread in one call is woken by another thread in that call. What else runs as a thread is woken was merely
/// interrupted: by a timer, a network card, a disk.
pub fn wakes(waiting: i32, waker: i32) -> bool {
    let ends: &[i32] = match entry(waiting).map(|(_, waits_for, _)| waits_for) {
        Some(Futex) => WAKES_FUTEX,
        Some(Data) => WRITES,
        Some(Room) => READS,
        Some(Exit) => ENDS,
        Some(Other) | None => &[],
    };
    ends.contains(&waker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_in_the_order_that_they_are_looked_up_by() {
        assert!(CALLS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_call_has_the_kernels_name_and_else_its_number() {
        assert_eq!(name(202).as_deref(), Some("futex"));
        assert_eq!(name(333).as_deref(), Some("call 333"));
        assert_eq!(name(-1), None);
        assert!(names_file(7) && names_file(45) && !names_file(202));
    }

    #[test]
    fn only_a_call_that_can_end_the_waiting_tells_of_a_waker() {
        assert!(wakes(202, 202) && wakes(45, 44) && wakes(232, 1) && wakes(44, 45) && wakes(61, 231));
        assert!(!wakes(202, 44), "interrupted by a timer");
        assert!(!wakes(45, -1), "interrupted by a network card");
        assert!(!wakes(230, 202) && !wakes(-1, 202));
    }
}
