//! The rings of the traced processes: found, drained, and removed when their process has gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::path::PathBuf;

use kvpath_ring::file::{self, OpenError};
use kvpath_ring::{ReadError, Reader};
use kvpath_schema::segment::SegmentError;
use kvpath_schema::wire::ring::{Kind, Level, Loss, State, header};

use super::decode::{Aside, Decoder};
use super::interned::Names;
use super::rows::Rows;
use super::silence::{News, Silence};
use crate::capture::nixl::assemble::Lack;
use crate::processes::{ProcessTable, start_ticks};
use crate::segments::{Facts, Segments};

/// How often rings are looked for and drained, ns.
const DRAIN_EVERY_NS: i64 = 20_000_000;
/// How often losses, states and ends of processes are looked at, ns.
const LOOK_EVERY_NS: i64 = 200_000_000;
/// Rows after which a segment is written before its time.
const ROWS_MAX: usize = 1 << 18;

/// Where rings lie.
#[derive(Debug)]
pub enum Folders {
    /// One folder: that of a command.
    One(PathBuf),
    /// Those of all users.
    All,
}

impl Folders {
    /// The folders that are there.
    fn list(&self) -> Vec<PathBuf> {
        match self {
            Self::One(folder) => vec![folder.clone()],
            Self::All => fs::read_dir("/dev/shm")
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("kvpath-"))
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect(),
        }
    }
}

/// Every ring file there.
pub fn rings(folders: &Folders) -> Vec<PathBuf> {
    folders.list().iter().flat_map(|folder| file::list(folder)).collect()
}

/// A ring that is drained.
struct Tap {
    path: PathBuf,
    reader: Reader<File>,
    decoder: Decoder,
    names: Names,
    pid: i32,
    process_id: i64,
    counted: HashMap<(Loss, Kind), u64>,
    damages: u64,
    /// What was last said of it.
    state: Option<(State, Option<Level>)>,
    silence: Silence,
}

/// All rings of a recording.
pub struct Source {
    folders: Folders,
    ask_for: Option<Level>,
    since_ns: i64,
    taps: Vec<Tap>,
    refused: HashSet<PathBuf>,
    rows: Rows,
    lacks: Vec<(Lack, u64)>,
    drained_ns: i64,
    looked_ns: i64,
    /// Rows in all.
    pub total: u64,
    /// Pids of processes that recorded, and of whose GPU work nothing came.
    pub silent: BTreeSet<i32>,
}

impl Source {
    /// Drains the rings in `folders`; `ask_for` is the level to ask each process for.
    #[must_use]
    pub fn new(folders: Folders, ask_for: Option<Level>, since_ns: i64) -> Self {
        Self {
            folders,
            ask_for,
            since_ns,
            taps: Vec::new(),
            refused: HashSet::new(),
            rows: Rows::default(),
            lacks: Vec::new(),
            drained_ns: 0,
            looked_ns: 0,
            total: 0,
            silent: BTreeSet::new(),
        }
    }

    /// One round, if it is time. Gives whether there is so much that it should be written.
    pub fn step(&mut self, now_ns: i64, processes: &mut ProcessTable, facts: &mut Facts) -> bool {
        if now_ns - self.drained_ns >= DRAIN_EVERY_NS {
            self.drained_ns = now_ns;
            self.round(now_ns, processes, facts);
        }
        self.rows.count() >= ROWS_MAX
    }

    fn round(&mut self, now_ns: i64, processes: &mut ProcessTable, facts: &mut Facts) {
        for path in rings(&self.folders) {
            if !self.taps.iter().any(|tap| tap.path == path) && !self.refused.contains(&path) {
                self.open(path, processes, facts);
            }
        }
        let look = now_ns - self.looked_ns >= LOOK_EVERY_NS;
        if look {
            self.looked_ns = now_ns;
        }
        let mut taps = std::mem::take(&mut self.taps);
        taps.retain_mut(|tap| {
            // Asked before the last draining, so that nothing can come after it.
            let ended = look && matches!(file::is_alive(&tap.reader), Ok(false));
            let drained = tap.drain(now_ns, &mut self.rows, processes);
            if look || ended {
                tap.count(&mut self.lacks, facts);
                tap.listen(now_ns, &mut self.silent, facts);
            }
            match drained {
                Ok(()) if !ended => true,
                Ok(()) => {
                    tap.decoder.finish(&mut self.rows);
                    let _ = fs::remove_file(&tap.path);
                    false
                }
                Err(error) => {
                    facts.say("cupti", format!("process.{}.ring", tap.pid), format!("cannot be read: {error}"));
                    self.lacks.push((lack("unknown", "ring cannot be read", tap.process_id), 1));
                    self.refused.insert(tap.path.clone());
                    false
                }
            }
        });
        self.taps = taps;
    }

    fn open(&mut self, path: PathBuf, processes: &mut ProcessTable, facts: &mut Facts) {
        let mut reader = match file::open(&path) {
            Ok(reader) => reader,
            // Not ready: looked at again in the next round.
            Err(OpenError::Ring(ReadError::NotReady) | OpenError::Io(_)) => return,
            Err(error) => {
                facts.say("cupti", format!("ring.{}", path.display()), format!("not drained: {error}"));
                self.refused.insert(path);
                return;
            }
        };
        // What was lost before this recording is not its loss, and a process that ended before is not of it.
        let is_before = |ns: u64| i64::try_from(ns).is_ok_and(|ns| ns < self.since_ns);
        let is_older = is_before(reader.word(header::CREATED_NS));
        let last_ns = reader.word(header::HEARTBEAT_NS);
        if is_older && last_ns > 0 && is_before(last_ns) && matches!(file::is_alive(&reader), Ok(false)) {
            let _ = fs::remove_file(&path);
            return;
        }
        let told = i32::try_from(reader.word(header::PID)).unwrap_or(0);
        let pid = host_pid(told, reader.word(header::START_TICKS)).unwrap_or(told);
        let process_id = processes.id_of(pid);
        if let Some(level) = self.ask_for
            && let Err(error) = reader.ask_for(level)
        {
            facts.say("cupti", format!("process.{pid}.level"), format!("cannot be asked for: {error}"));
        }
        let _ = reader.look();
        let counted = if is_older {
            reader.losses().into_iter().map(|(loss, kind, count)| ((loss, kind), count)).collect()
        } else {
            HashMap::new()
        };
        self.taps.push(Tap {
            path,
            reader,
            decoder: Decoder::new(process_id, self.since_ns),
            names: Names::default(),
            pid,
            process_id,
            counted,
            damages: 0,
            state: None,
            silence: Silence::default(),
        });
    }

    /// Writes what was drained.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(&mut self, now_ns: i64, segments: &mut Segments) -> Result<(), SegmentError> {
        let lacks = std::mem::take(&mut self.lacks);
        self.total += self.rows.count() as u64;
        let dropped = |table: &str| lacks.iter().filter(|(lack, _)| lack.table == table).map(|(_, count)| count).sum();
        let written = self.rows.write(segments, dropped);
        self.rows.clear();
        written?;
        let is_nvtx = |lack: &Lack| lack.table == "nvtx_ranges";
        let (nvtx, cupti): (Vec<_>, Vec<_>) = lacks.into_iter().partition(|(lack, _)| is_nvtx(lack));
        segments.drops("cupti", now_ns, &cupti)?;
        segments.drops("nvtx", now_ns, &nvtx)
    }

    /// The last round of a recording.
    pub fn finish(&mut self, now_ns: i64, processes: &mut ProcessTable, facts: &mut Facts) {
        self.looked_ns = 0;
        self.round(now_ns, processes, facts);
        for tap in &mut self.taps {
            tap.decoder.finish(&mut self.rows);
        }
        if let Folders::One(folder) = &self.folders {
            // Goes only if it is empty: a process may live on.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn lack(table: &'static str, reason: &str, process_id: i64) -> Lack {
    Lack { table, reason: reason.to_owned(), process_id: Some(process_id) }
}

impl Tap {
    fn drain(&mut self, now_ns: i64, rows: &mut Rows, processes: &mut ProcessTable) -> std::io::Result<()> {
        let Self { reader, decoder, names, pid, silence, .. } = self;
        let mut asides = Vec::new();
        let drained = reader.drain_with_names(u64::try_from(now_ns).unwrap_or(0), |record, there| {
            silence.saw(record.kind);
            let mut name = |id| names.get(id, || there.get(id).ok().flatten());
            asides.extend(decoder.take(&record, &mut name, rows));
        })?;
        let mut seen = HashSet::new();
        for aside in asides {
            match aside {
                Aside::Thread(tid) if seen.insert(tid) => processes.saw_thread(*pid, tid),
                Aside::Thread(_) => {}
                Aside::ThreadName(tid, name) => processes.name_thread(*pid, tid, name),
            }
        }
        self.damages += drained.damages;
        Ok(())
    }

    /// What was lost since the last look, and how CUPTI is.
    fn count(&mut self, lacks: &mut Vec<(Lack, u64)>, facts: &mut Facts) {
        if self.reader.look().is_err() {
            return;
        }
        for (loss, kind, count) in self.reader.losses() {
            let before = self.counted.insert((loss, kind), count).unwrap_or(0);
            // A counter that goes back is a producer's lie.
            if let Some(new @ 1..) = count.checked_sub(before) {
                lacks.push((lack(kind.table(), loss.text(), self.process_id), new));
            }
        }
        for (count, reason) in [
            (std::mem::take(&mut self.damages), "damaged ring: records up to its head were skipped"),
            (std::mem::take(&mut self.decoder.unknown), "records that this agent does not know"),
        ] {
            if count > 0 {
                lacks.push((lack("unknown", reason, self.process_id), count));
            }
        }
        let (state, refused) = (self.reader.state(), self.reader.refused());
        if self.state.replace((state, refused)) != Some((state, refused)) {
            self.say(state, facts);
            if state == State::Aside {
                lacks.push((lack("unknown", state.text(), self.process_id), 1));
            }
        }
    }

    /// Whether it records and nothing of the GPU comes, as of the last look.
    fn listen(&mut self, now_ns: i64, silent: &mut BTreeSet<i32>, facts: &mut Facts) {
        let is_recording = self.reader.state() == State::Running && self.reader.level() != Level::Off;
        let key = format!("process.{}.silence", self.pid);
        match self.silence.look(now_ns, is_recording) {
            Some(News::Silent(others)) => {
                silent.insert(self.pid);
                let seen =
                    format!("it records, {others} API calls and NVTX events came, and not one GPU record in 10 s");
                facts.say("cupti", key, seen);
            }
            Some(News::Heard) => {
                silent.remove(&self.pid);
                facts.say("cupti", key, "GPU records came late: none in the first 10 s");
            }
            None => {}
        }
    }

    fn say(&self, state: State, facts: &mut Facts) {
        let key = |what: &str| format!("process.{}.{what}", self.pid);
        facts.say("cupti", key("state"), state.text());
        facts.say("cupti", key("state_since_ns"), self.reader.word(header::STATE_NS).to_string());
        let level = self.reader.level().text();
        let level = match self.reader.refused() {
            Some(refused) => format!("{level}; {} was asked for and is refused", refused.text()),
            None => level.to_owned(),
        };
        facts.say("cupti", key("level"), level);
        facts.say("cupti", key("cupti_api_version"), self.reader.word(header::CUPTI_VERSION).to_string());
        facts.say("cupti", key("cupti_error"), self.reader.word(header::CUPTI_ERROR).to_string());
        facts.say("cupti", key("calls_refused"), self.reader.word(header::CALLS_REFUSED).to_string());
    }
}

/// The pid on this host of a process that says it is `told` and started at `ticks`: in a container it has another.
pub fn host_pid(told: i32, ticks: u64) -> Option<i32> {
    if start_ticks(told) == Some(ticks) {
        return Some(told);
    }
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inner =
            status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last()?.parse().ok());
        inner == Some(told) && start_ticks(*pid) == Some(ticks)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use kvpath_ring::{About, Map, Producer};
    use kvpath_schema::segment::{RunWriter, read_into};
    use kvpath_schema::table::Columns as _;
    use kvpath_schema::tables::capture::Drops;
    use kvpath_schema::tables::gpu::Kernels;
    use kvpath_schema::wire::ring::records::{Kernel, Push};
    use kvpath_schema::wire::ring::{GPU_LANE, Shape};

    const SHAPE: Shape = Shape { lanes: 2, gpu_words: 1024, thread_words: 256, names_words: 64 };

    fn ring(folder: &Path, created_ns: u64) -> Producer<Map> {
        let about = About { pid: std::process::id(), start_ticks: 0, created_ns };
        file::create(folder, SHAPE, about).unwrap().1
    }

    fn kernels(producer: &Producer<Map>, count: u64) {
        let name = producer.intern(b"kernel");
        for start_ns in 0..count {
            producer.push(GPU_LANE, 0, &Kernel { start_ns, end_ns: start_ns + 3, name, ..Kernel::default() }, None);
        }
    }

    #[test]
    fn a_ring_becomes_segments_with_its_losses_and_goes_with_its_process() {
        let (rings, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let producer = ring(rings.path(), 50);
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        let mut segments = Segments::new(RunWriter::new(run.path(), "h", "test", None));
        let mut source = Source::new(Folders::One(rings.path().to_owned()), Some(Level::Deep), 0);

        kernels(&producer, 1000);
        producer.push(1, 5, &Push { time_ns: 5, ..Push::default() }, Some(b"open"));
        assert!(!source.step(1_000_000_000, &mut processes, &mut facts));
        assert_eq!(producer.wanted(), Some(Level::Deep));
        drop(producer);
        source.step(2_000_000_000, &mut processes, &mut facts);
        assert!(file::list(rings.path()).is_empty(), "its process has gone");
        source.write(9, &mut segments).unwrap();
        assert_eq!((source.total, segments.dropped), (103, 1000 - 102));

        let folder = run.path().join("node=h/source=cupti");
        let find = |table: &str| {
            let mut files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(table)).unwrap()
        };
        let mut back = Kernels::default();
        let meta = read_into(&find("kernels"), &mut back).unwrap();
        assert_eq!((back.len(), &*back.name[0], meta.dropped), (102, "kernel", 898));
        let mut drops = Drops::default();
        read_into(&find("drops"), &mut drops).unwrap();
        assert_eq!(
            (&*drops.reason[0], drops.count[0], drops.table_name[0].as_deref()),
            ("ring full", 898, Some("kernels"))
        );
        assert!(run.path().join("node=h/source=nvtx").is_dir());
    }

    #[test]
    fn what_was_lost_or_recorded_before_the_recording_is_not_of_it() {
        let rings = tempfile::tempdir().unwrap();
        let producer = ring(rings.path(), 50);
        kernels(&producer, 1000);
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        let mut source = Source::new(Folders::One(rings.path().to_owned()), None, 5_000);
        source.step(1_000_000_000, &mut processes, &mut facts);
        assert_eq!((source.rows.count(), source.lacks.len(), producer.wanted()), (0, 0, None));
        producer.lose(Loss::Cupti, Kind::Other, 4);
        source.finish(2_000_000_000, &mut processes, &mut facts);
        assert_eq!((source.lacks[0].1, source.lacks[0].0.table), (4, "unknown"));
    }

    #[test]
    fn a_process_that_ended_before_the_recording_is_not_of_it() {
        let rings = tempfile::tempdir().unwrap();
        let producer = ring(rings.path(), 50);
        producer.beat(4_000);
        drop(producer);
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        let mut during = Source::new(Folders::One(rings.path().to_owned()), None, 3_000);
        during.open(file::list(rings.path()).remove(0), &mut processes, &mut facts);
        assert_eq!(during.taps.len(), 1, "it ran during this one");
        drop(during);
        let mut source = Source::new(Folders::One(rings.path().to_owned()), None, 5_000);
        source.open(file::list(rings.path()).remove(0), &mut processes, &mut facts);
        assert!(source.taps.is_empty() && file::list(rings.path()).is_empty(), "it is not of this one, and goes");
    }

    #[test]
    fn a_process_that_records_and_sends_nothing_of_its_gpu_is_said() {
        let rings = tempfile::tempdir().unwrap();
        let producer = ring(rings.path(), 50);
        producer.set_state(State::Running, 1, 0);
        producer.set_level(Level::Kernel);
        producer.push(1, 5, &Push { time_ns: 5, ..Push::default() }, Some(b"forward"));
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        let mut source = Source::new(Folders::One(rings.path().to_owned()), None, 0);
        for second in [1, 10, 11] {
            assert!(source.silent.is_empty());
            source.step(second * 1_000_000_000, &mut processes, &mut facts);
        }
        assert_eq!(source.silent.len(), 1);
        kernels(&producer, 1);
        source.step(12_000_000_000, &mut processes, &mut facts);
        assert!(source.silent.is_empty());
    }

    #[test]
    fn another_agents_ring_is_left_to_it() {
        let rings = tempfile::tempdir().unwrap();
        let _producer = ring(rings.path(), 50);
        let _other = file::open(&file::list(rings.path())[0]).unwrap();
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        let mut source = Source::new(Folders::One(rings.path().to_owned()), None, 0);
        source.step(1_000_000_000, &mut processes, &mut facts);
        assert!(source.taps.is_empty() && source.refused.len() == 1);
    }

    #[test]
    fn this_process_is_found_by_pid_and_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ticks = start_ticks(own).unwrap();
        assert_eq!(host_pid(own, ticks), Some(own));
        assert_eq!(host_pid(own, ticks + 12_345_678), None);
    }
}
