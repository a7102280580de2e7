//! The system's clocks and `poll`.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// A clock of the kernel.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, the clock of every time that is stored.
    Monotonic,
    /// `CLOCK_BOOTTIME`, the clock of process start times.
    Boot,
    /// `CLOCK_REALTIME`.
    Wall,
}

/// What a clock says, ns.
pub fn now_ns(clock: Clock) -> i64 {
    let time = clock_gettime(match clock {
        Clock::Monotonic => ClockId::Monotonic,
        Clock::Boot => ClockId::Boottime,
        Clock::Wall => ClockId::Realtime,
    });
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Clock ticks a second, the unit of `/proc/PID/stat`.
pub fn ticks_per_second() -> i64 {
    i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(i64::MAX).max(1)
}

/// Waits until one of `files` can be read, a signal comes, or the time is over.
///
/// # Errors
/// What `poll` says, save for a signal.
pub fn wait_readable(files: &[BorrowedFd<'_>], at_most: Duration) -> io::Result<()> {
    let mut polled: Vec<PollFd<'_>> = files.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    // A time that does not fit is more than 10^11 years: without an end.
    match poll(&mut polled, Timespec::try_from(at_most).ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    #[test]
    fn clocks_go_on_and_the_boot_clock_is_never_behind() {
        let (monotonic, boot) = (now_ns(Clock::Monotonic), now_ns(Clock::Boot));
        assert!(0 < monotonic && monotonic <= boot && monotonic <= now_ns(Clock::Monotonic));
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        assert!(wall.abs_diff(u128::try_from(now_ns(Clock::Wall)).unwrap()) < 1_000_000_000);
    }

    #[test]
    fn waiting_ends_with_the_time_or_with_something_to_read() {
        let (read, mut write) = std::io::pipe().unwrap();
        let since = now_ns(Clock::Monotonic);
        wait_readable(&[read.as_fd()], Duration::from_millis(20)).unwrap();
        assert!(now_ns(Clock::Monotonic) - since >= 20_000_000);
        write.write_all(b"x").unwrap();
        let since = now_ns(Clock::Monotonic);
        wait_readable(&[read.as_fd()], Duration::from_secs(60)).unwrap();
        assert!(now_ns(Clock::Monotonic) - since < 30_000_000_000);
    }
}
