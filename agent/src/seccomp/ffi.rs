//! A child of ours that confines itself by a seccomp filter and then calls a function of this program.
#![expect(unsafe_code, reason = "fork, and system calls in the child")]

use std::hint::black_box;
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitOptions, waitpid};

/// What the probed function gives: `NIXL_IN_PROG`, which the return probe counts as a poll.
const IN_PROGRESS: u32 = 1;
/// Exit codes of the child.
const NOT_WANTED: i32 = 2;
/// See [`NOT_WANTED`].
pub const NO_FILTER: i32 = 3;

/// The function to probe, called as `getXferStatus(this, handle)`.
#[inline(never)]
pub extern "C" fn probed(this: u64, handle: u64) -> u32 {
    black_box((this, handle));
    black_box(IN_PROGRESS)
}

/// A child that waits for its turn.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    go: PipeWriter,
}

impl Child {
    /// Forks.
    ///
    /// # Errors
    /// No pipe or process.
    pub fn start() -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        // SAFETY: the child calls nothing but system calls, and leaves by `_exit`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // The child's own copy: without it the child sees the end of the pipe if its parent is gone.
                drop(write);
                confined(read.as_raw_fd())
            }
            pid => Ok(Self { pid, go: write }),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Lets it call the function, or (`wanted` is false) go at once. Gives how it ended.
    ///
    /// # Errors
    /// It cannot be told or waited for.
    pub fn finish(mut self, wanted: bool) -> io::Result<ExitStatus> {
        let told = if wanted { self.go.write_all(&[1]) } else { Ok(()) };
        drop(self.go);
        let ended = retry_on_intr(|| waitpid(Pid::from_raw(self.pid), WaitOptions::empty()))?;
        // Without WNOHANG there is always a status.
        let (_, status) = ended.ok_or(io::ErrorKind::WouldBlock)?;
        told.map(|()| ExitStatus::from_raw(status.as_raw()))
    }
}

/// The life of the child.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "opcodes, call numbers and 8 are small")]
fn confined(turn: libc::c_int) -> ! {
    // Classic BPF: load the number; allow what is listed; kill for all else, as strict profiles do.
    let word = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let is = |nr: libc::c_long, jt: u8| word(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, 0, nr as u32);
    let mut filter = [
        word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        is(libc::SYS_read, 5),
        is(libc::SYS_write, 4),
        is(libc::SYS_exit, 3),
        is(libc::SYS_exit_group, 2),
        is(libc::SYS_rt_sigreturn, 1),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let mut byte = 0u8;
    // SAFETY: system calls on a byte and a filter that outlive them; no allocation, no lock, so fine after a fork.
    unsafe {
        if libc::read(turn, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(NOT_WANTED);
        }
        // No core file for a death that is expected.
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        {
            libc::_exit(NO_FILTER);
        }
        black_box(probed as extern "C" fn(u64, u64) -> u32)(1, 2);
        libc::_exit(0)
    }
}
