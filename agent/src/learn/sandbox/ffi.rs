//! A child that gives up whatever reaches beyond itself, and then runs this program again.
#![expect(unsafe_code, reason = "a clone of this process, and system calls in it")]

use std::ffi::{CStr, CString, c_char, c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::ptr::null;

use libc::sock_filter;

/// Exit code where the child could not be confined; the step and the error are on its stderr.
pub const NOT_CONFINED: i32 = 4;
/// Capabilities that there may be.
const CAPABILITIES: c_ulong = 64;
/// `MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID`.
const READ_ONLY: u64 = 0x1 | 0x2;
/// `AT_RECURSIVE`.
const RECURSIVE: c_ulong = 0x8000;
/// `IFF_UP | IFF_RUNNING`.
const UP: libc::c_short = 0x1 | 0x40;
/// `CLOSE_RANGE_CLOEXEC`.
const CLOSE_ON_EXEC: c_ulong = 1 << 2;

/// Of whom the child is one, and what it runs.
pub struct Plan {
    /// Mount namespace and root of the process whose files it sees; `None`: this one's.
    pub sees: Option<(OwnedFd, OwnedFd)>,
    pub uid: u32,
    pub gid: u32,
    /// The program, an open file.
    pub program: OwnedFd,
    pub args: Vec<CString>,
    pub environment: Vec<CString>,
    pub filter: Vec<sock_filter>,
    /// `/dev/null`, and where its output goes.
    pub streams: [OwnedFd; 3],
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
}

/// A step of the child's, and whether it went well.
type Step = (&'static CStr, bool);

/// Starts the child; gives its pid. Killing it ends all that it has started.
///
/// # Errors
/// No process can be made.
pub fn start(plan: &Plan) -> io::Result<libc::pid_t> {
    let pointers =
        |texts: &[CString]| -> Vec<*const c_char> { texts.iter().map(|text| text.as_ptr()).chain([null()]).collect() };
    let (args, environment) = (pointers(&plan.args), pointers(&plan.environment));
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::SIGCHLD;
    // SAFETY: without a stack of its own the child goes on in a copy of this one, as after a fork; it calls nothing but system calls on
    // what was made before, and leaves by another program or by `_exit`.
    match unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags), 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => confined(plan, &args, &environment),
        pid => Ok(pid as libc::pid_t),
    }
}

/// The life of the child.
fn confined(plan: &Plan, args: &[*const c_char], environment: &[*const c_char]) -> ! {
    let steps: [&dyn Fn() -> Step; 8] = [
        &|| (c"ending with the agent", die_with_parent()),
        &|| (c"seeing what the process sees", plan.sees.as_ref().is_none_or(|(mounts, root)| see(mounts, root))),
        &|| (c"files that are its own and read-only", mounts()),
        &|| (c"a loopback network", loopback()),
        &|| (c"limits", plan.limits.iter().all(|(what, most)| limit(*what, *most))),
        &|| (c"streams", streams(&plan.streams)),
        &|| (c"user and capabilities", privileges(plan.uid, plan.gid)),
        &|| (c"seccomp", seccomp(&plan.filter)),
    ];
    for step in steps {
        if let (what, false) = step() {
            fail(plan.streams[2].as_raw_fd(), what);
        }
    }
    // SAFETY: an open file, and lists that end with null.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            plan.program.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    fail(2, c"running this program with the libraries that the process sees")
}

/// Says which step failed, and leaves.
fn fail(to: RawFd, what: &CStr) -> ! {
    let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let digits = [error / 100, error / 10 % 10, error % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0));
    for text in [what.to_bytes(), b": error ", &digits, b"\n"] {
        // SAFETY: a text of that length.
        unsafe { libc::write(to, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: has no conditions.
    unsafe { libc::_exit(NOT_CONFINED) }
}

fn die_with_parent() -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) == 0 }
}

fn see(mounts: &OwnedFd, root: &OwnedFd) -> bool {
    // SAFETY: open files, and a text with its end.
    unsafe {
        libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) == 0
            && libc::fchdir(root.as_raw_fd()) == 0
            && libc::chroot(c".".as_ptr()) == 0
            && libc::chdir(c"/".as_ptr()) == 0
    }
}

/// A copy of the mounts that nobody else sees and nothing can be written to, with a `/dev` that holds no devices of the machine, and
/// with its own processes in `/proc`.
fn mounts() -> bool {
    let attributes = [READ_ONLY, 0, 0, 0];
    let mount = |kind: &CStr, at: &CStr, flags: c_ulong, data: &CStr| {
        // SAFETY: texts with their ends.
        unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) == 0 }
    };
    let device = |at: &CStr, major: u32, minor: u32| {
        let number = libc::makedev(major, minor);
        // SAFETY: a text with its end.
        unsafe { libc::mknod(at.as_ptr(), libc::S_IFCHR | 0o666, number) == 0 && libc::chmod(at.as_ptr(), 0o666) == 0 }
    };
    // SAFETY: texts with their ends; `attributes` is a `struct mount_attr` and outlives the call.
    let own = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) == 0
            && libc::syscall(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                c"/".as_ptr(),
                RECURSIVE,
                attributes.as_ptr(),
                size_of_val(&attributes),
            ) == 0
    };
    own && mount(c"tmpfs", c"/dev", libc::MS_NOSUID | libc::MS_NOEXEC, c"size=16m,mode=755")
        && device(c"/dev/null", 1, 3)
        && device(c"/dev/zero", 1, 5)
        && device(c"/dev/random", 1, 8)
        && device(c"/dev/urandom", 1, 9)
        && mount(c"proc", c"/proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, c"")
}

fn loopback() -> bool {
    // SAFETY: a socket of our own; `request` is an `ifreq` of zeros but for its name and flags, and outlives the calls.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = UP;
        socket >= 0 && libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) == 0 && libc::close(socket) == 0
    }
}

fn limit(what: libc::__rlimit_resource_t, most: u64) -> bool {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` outlives the call.
    unsafe { libc::setrlimit(what, &raw const limit) == 0 }
}

/// Only these stay open in the program that is run.
fn streams(streams: &[OwnedFd; 3]) -> bool {
    let take = |(to, from): (RawFd, &OwnedFd)| {
        // SAFETY: open files.
        unsafe { libc::dup2(from.as_raw_fd(), to) == to }
    };
    // SAFETY: plain numbers.
    (0..).zip(streams).all(take)
        && unsafe { libc::syscall(libc::SYS_close_range, 3, c_ulong::from(u32::MAX), CLOSE_ON_EXEC) } == 0
}

/// Another user, without a single capability, also if it is root. The calls of libc would want to speak to threads that are not here.
fn privileges(uid: u32, gid: u32) -> bool {
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: plain numbers, and two structs of capset(2) that outlive the call.
    unsafe {
        // Those that the kernel does not have are refused.
        for capability in 0..CAPABILITIES {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_setgroups, 0, null::<libc::gid_t>()) == 0
            && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
            && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            && libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) == 0
            && libc::prctl(libc::PR_CAPBSET_READ, 0, 0, 0, 0) == 0
            // A change of user takes it back.
            && die_with_parent()
    }
}

fn seccomp(filter: &[sock_filter]) -> bool {
    let Ok(len) = u16::try_from(filter.len()) else { return false };
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: a filter that outlives the calls.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}
