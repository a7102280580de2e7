//! The C library, as far as it is needed: clock, ids, one thread, one semaphore, the end of the process.
#![expect(unsafe_code, reason = "calls of the C library")]

use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, zeroed};
use std::ptr;

/// `CLOCK_MONOTONIC`, ns.
#[inline]
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, which is ours; the clock exists, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Own thread id.
pub fn tid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// Own pid.
pub fn pid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { libc::getpid() }.unsigned_abs()
}

/// Own user.
pub fn uid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { libc::geteuid() }
}

/// Whether a thread of this process with that id is there.
pub fn thread_lives(tid: u32) -> bool {
    let Ok(tid) = libc::pid_t::try_from(tid) else { return false };
    // SAFETY: signal 0 only asks.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) == 0 }
}

/// Starts a thread that runs `body`, with every signal blocked: signals are for the program's own threads.
///
/// Not `std::thread`, which would leave destructors of thread-local variables in the host.
pub fn start_thread(body: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void) -> bool {
    // SAFETY: all structs are ours and initialised by the calls before their use; the mask is put back.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&raw mut all);
        if libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) != 0 {
            return false;
        }
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let mut thread: libc::pthread_t = zeroed();
        let started = libc::pthread_create(&raw mut thread, attributes.as_ptr(), body, ptr::null_mut()) == 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if started {
            libc::pthread_setname_np(thread, c"kvpath".as_ptr());
        }
        started
    }
}

/// Has `body` run when the process ends by `exit`.
pub fn at_exit(body: extern "C" fn()) {
    // SAFETY: the library is never unloaded (CUDA and NVTX keep it), so the function stays.
    unsafe { libc::atexit(body) };
}

/// A semaphore: raising it never blocks.
pub struct Semaphore(UnsafeCell<libc::sem_t>);

// SAFETY: POSIX semaphores are for use by several threads at once.
unsafe impl Sync for Semaphore {}
// SAFETY: as above; it is not moved once it is in use, being part of a leaked session.
unsafe impl Send for Semaphore {}

impl Semaphore {
    /// One at 0. It must not be moved once it is used.
    pub fn new() -> Self {
        // SAFETY: zeros are replaced by `sem_init`.
        let this = Self(UnsafeCell::new(unsafe { zeroed() }));
        // SAFETY: a semaphore of this process at 0: glibc's holds no address of itself.
        unsafe { libc::sem_init(this.0.get(), 0, 0) };
        this
    }

    /// Raises it.
    pub fn raise(&self) {
        // SAFETY: initialised in `new`.
        unsafe { libc::sem_post(self.0.get()) };
    }

    /// Waits until it is raised, at most until `until_ns` of `CLOCK_MONOTONIC`, and lowers it.
    pub fn wait(&self, until_ns: u64) {
        let part = |ns: u64| libc::c_long::try_from(ns).unwrap_or(libc::c_long::MAX);
        let time = libc::timespec { tv_sec: part(until_ns / 1_000_000_000), tv_nsec: part(until_ns % 1_000_000_000) };
        // SAFETY: initialised in `new`; the time is ours.
        unsafe { sem_clockwait(self.0.get(), libc::CLOCK_MONOTONIC, &raw const time) };
    }
}

unsafe extern "C" {
    /// In glibc since 2.30.
    fn sem_clockwait(semaphore: *mut libc::sem_t, clock: libc::clockid_t, until: *const libc::timespec) -> libc::c_int;
}

/// Sleeps that long.
pub fn sleep_us(microseconds: u32) {
    // SAFETY: takes no pointer.
    unsafe { libc::usleep(microseconds) };
}
