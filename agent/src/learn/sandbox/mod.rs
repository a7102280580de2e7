//! A process that may run code of which nothing is known: it sees the files of another process but writes none, has no device, no
//! network but a loopback of its own, no capability, no other process and no program to start, and is ended after a while.

mod ffi;
mod filter;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

pub use ffi::NOT_CONFINED;

/// Most bytes of output that are kept.
const KEPT: u64 = 64 << 10;
/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const GIB: u64 = 1 << 30;

/// Who runs it, and what it sees.
#[derive(Debug, Clone, Copy)]
pub struct Inside {
    /// The process whose files it sees; `None`: those of this one.
    pub pid: Option<i32>,
    pub uid: u32,
    pub gid: u32,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// `None`: it took too long.
    pub status: Option<ExitStatus>,
    /// What it printed, as far as it was kept.
    pub out: Vec<u8>,
    pub errors: String,
}

/// Runs this program with these arguments and variables in there, for `most` at most.
///
/// # Errors
/// The process cannot be made.
pub fn run(inside: Inside, args: &[&str], variables: &[(&str, String)], most: Duration) -> io::Result<Ended> {
    let text = |text: &str| CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let sees = match inside.pid {
        None => None,
        Some(pid) => {
            let (mounts, root) = (File::open(format!("/proc/{pid}/ns/mnt"))?, format!("/proc/{pid}/root"));
            let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some((OwnedFd::from(mounts), open(root, how, Mode::empty())?))
        }
    };
    let (out, out_end) = io::pipe()?;
    let (errors, errors_end) = io::pipe()?;
    let plan = ffi::Plan {
        sees,
        uid: inside.uid,
        gid: inside.gid,
        program: File::open("/proc/self/exe")?.into(),
        args: args.iter().map(|arg| text(arg)).collect::<io::Result<_>>()?,
        environment: variables
            .iter()
            .map(|(name, value)| text(&format!("{name}={value}")))
            .collect::<io::Result<_>>()?,
        filter: filter::program(),
        streams: [File::open("/dev/null")?.into(), out_end.into(), errors_end.into()],
        limits: vec![
            (libc::RLIMIT_CORE, 0),
            (libc::RLIMIT_AS, 32 * GIB),
            (libc::RLIMIT_DATA, 8 * GIB),
            (libc::RLIMIT_FSIZE, 16 << 20),
            (libc::RLIMIT_NOFILE, 1024),
            (libc::RLIMIT_CPU, most.as_secs() + 1),
        ],
    };
    let pid = ffi::start(&plan)?;
    // Its ends of the pipes.
    drop(plan);
    let (out, errors) = (thread::spawn(move || kept(out)), thread::spawn(move || kept(errors)));
    let status = wait(pid, most)?;
    let joined = |reader: thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    Ok(Ended { status, out: joined(out), errors: String::from_utf8_lossy(&joined(errors)).into_owned() })
}

/// What comes, up to a limit; what is beyond it is read as well, so that nobody waits.
fn kept(mut from: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    // A pipe that breaks has ended.
    let _ = from.by_ref().take(KEPT).read_to_end(&mut kept);
    let _ = io::copy(&mut from, &mut io::sink());
    kept
}

/// Waits for the end, and brings it about when it takes too long.
fn wait(pid: libc::pid_t, most: Duration) -> io::Result<Option<ExitStatus>> {
    let (began, mut is_late) = (Instant::now(), false);
    let child = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    loop {
        if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG)? {
            return Ok((!is_late).then(|| ExitStatus::from_raw(status.as_raw())));
        }
        if !is_late && began.elapsed() > most {
            is_late = true;
            kill_process(child, Signal::KILL)?;
        }
        thread::sleep(LOOK_EVERY);
    }
}
