//! The BPF programs of the scheduler.

use std::fs;

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::TracePoint;
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::sched::{SWITCH_NEXT_PID, SWITCH_PREV_PID, SWITCH_PREV_STATE, Thread, WAKEUP_PID};

use crate::capture::nixl::attach::AttachError;

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-sched"));
/// Where the kernel describes its tracepoints.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// What the programs read: tracepoint, declaration of the field, offset and size.
const FIELDS: [(&str, &str, usize, usize); 4] = [
    ("sched_switch", "pid_t prev_pid", SWITCH_PREV_PID, 4),
    ("sched_switch", "long prev_state", SWITCH_PREV_STATE, 8),
    ("sched_switch", "pid_t next_pid", SWITCH_NEXT_PID, 4),
    ("sched_wakeup", "pid_t pid", WAKEUP_PID, 4),
];

/// A thread's words in the map: see [`Thread`].
pub type Words = [u64; Thread::WORDS];

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    /// Holds what is attached.
    _ebpf: Ebpf,
    ring: RingBuf<MapData>,
    threads: HashMap<MapData, u32, Words>,
    lost: PerCpuArray<MapData, u64>,
    seen_lost: u64,
}

impl Programs {
    /// Loads and attaches them. No thread is watched yet.
    ///
    /// # Errors
    /// The kernel refuses, or its tracepoints are not those that the programs read.
    pub fn start() -> Result<Self, AttachError> {
        are_known()?;
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        for name in ["sched_switch", "sched_wakeup"] {
            let program: &mut TracePoint =
                ebpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::Program)?;
            program.load()?;
            program.attach("sched", name)?;
        }
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            ring: RingBuf::try_from(take("SCHED_RING")?)?,
            threads: HashMap::try_from(take("SCHED_THREADS")?)?,
            lost: PerCpuArray::try_from(take("SCHED_LOST")?)?,
            _ebpf: ebpf,
            seen_lost: 0,
        })
    }

    /// Watches a thread from now on.
    ///
    /// # Errors
    /// There are too many.
    pub fn watch(&mut self, tid: u32) -> Result<(), AttachError> {
        Ok(self.threads.insert(&tid, &Words::default(), 0)?)
    }

    /// Watches it no more; gives its words, if it was watched.
    pub fn leave(&mut self, tid: u32) -> Option<Words> {
        let words = self.words(tid);
        // Gone already where the map was full.
        let _ = self.threads.remove(&tid);
        words
    }

    /// A thread's words.
    pub fn words(&self, tid: u32) -> Option<Words> {
        self.threads.get(&tid, 0).ok()
    }

    /// Takes all records that are in the ring.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.ring.next() {
            take(&record);
        }
    }

    /// Intervals lost since the last call.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn lost(&mut self) -> Result<u64, AttachError> {
        let now: u64 = self.lost.get(&0, 0)?.iter().sum();
        Ok(now - std::mem::replace(&mut self.seen_lost, now))
    }
}

/// Whether this kernel's tracepoints are those that the programs read.
///
/// # Errors
/// They are not, or cannot be looked at.
pub fn are_known() -> Result<(), AttachError> {
    for (tracepoint, field, offset, size) in FIELDS {
        let described = describe(tracepoint).ok_or(AttachError::NoTracefs)?;
        if !has_field(&described, field, offset, size) {
            return Err(AttachError::Tracepoint { tracepoint, field });
        }
    }
    Ok(())
}

fn describe(tracepoint: &str) -> Option<String> {
    TRACEFS.iter().find_map(|root| fs::read_to_string(format!("{root}/events/sched/{tracepoint}/format")).ok())
}

/// Whether a tracepoint's description has that field there.
fn has_field(described: &str, field: &str, offset: usize, size: usize) -> bool {
    let wanted = format!("field:{field};\toffset:{offset};\tsize:{size};");
    described.lines().any(|line| line.trim().starts_with(&wanted))
}

#[cfg(test)]
mod tests {
    use super::has_field;

    #[test]
    fn a_field_that_moved_is_seen() {
        let text = "\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n";
        assert!(has_field(text, "pid_t prev_pid", 24, 4));
        assert!(!has_field(text, "pid_t prev_pid", 28, 4));
        assert!(!has_field(text, "pid_t next_pid", 24, 4));
    }
}
