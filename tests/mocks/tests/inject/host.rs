//! Starting the mock host, and reading what it left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kvpath_ring::{Reader, file};
use kvpath_schema::wire::ring::records::{
    Call, End, Event, Graph, Kernel, Mark, Memcpy, Memset, Overhead, Pop, Push, RingRecord as _, Start, Sync,
};
use kvpath_schema::wire::ring::{Kind, Loss};
use tempfile::TempDir;

/// A file that was built beside the tests.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "{} is not built; run `cargo build --workspace` first", path.display());
    path
}

/// A folder for rings, and programs that use it.
pub struct Host {
    pub folder: TempDir,
    pub variables: Vec<(&'static str, String)>,
}

impl Host {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir_in("/dev/shm").unwrap(), variables: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The mock is found as the CUDA driver too, so that the context decides when CUPTI is attached to.
    pub fn with_driver(self) -> Self {
        let drivers = self.folder.path().join("drivers");
        std::fs::create_dir(&drivers).unwrap();
        std::os::unix::fs::symlink(built("libmock_cupti.so"), drivers.join("libcuda.so.1")).unwrap();
        let path = drivers.to_str().unwrap().to_owned();
        self.with("LD_LIBRARY_PATH", &path)
    }

    pub fn spawn(&self, steps: &[&str]) -> Running {
        let inject = built("libkvpath_inject.so");
        let mock = built("libmock_cupti.so");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mock-host"));
        command.args(steps).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("CUDA_INJECTION64_PATH", &inject).env("NVTX_INJECTION64_PATH", &inject);
        command.env("KVPATH_RING_DIR", self.folder.path()).env("KVPATH_CUPTI", &mock).env("MOCK_CUPTI", &mock);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Running { child, said }
    }

    /// Runs a program to its end.
    pub fn run(&self, steps: &[&str]) {
        let mut running = self.spawn(steps);
        let status = running.child.wait().unwrap();
        assert!(status.success(), "{steps:?}: {status}");
    }

    pub fn rings(&self) -> Vec<PathBuf> {
        file::list(self.folder.path())
    }

    /// Everything in the one ring.
    pub fn read(&self) -> RingContents {
        let rings = self.rings();
        assert_eq!(rings.len(), 1, "{rings:?}");
        let mut read = RingContents::new(file::open(&rings[0]).unwrap());
        read.drain();
        read
    }
}

/// A running program.
pub struct Running {
    pub child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Waits until the header of its ring says so, 10 s at most; the ring.
    pub fn until(&self, host: &Host, what: impl Fn(&Reader<File>) -> bool) -> Reader<File> {
        for _ in 0..500 {
            if let Some(ring) = host.rings().first()
                && let Ok(reader) = file::open_beside(ring)
                && what(&reader)
            {
                return reader;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("process {} never came to that", self.child.id());
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lets it go on.
    pub fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

/// What was read, by kind, in the order of the ring.
pub struct RingContents {
    pub reader: Reader<File>,
    pub kernels: Vec<Kernel>,
    pub memcpys: Vec<Memcpy>,
    pub memsets: Vec<Memset>,
    pub syncs: Vec<Sync>,
    pub events: Vec<Event>,
    pub overheads: Vec<(u32, Overhead)>,
    pub calls: Vec<(u32, Call)>,
    pub graphs: Vec<Graph>,
    pub pushes: Vec<(u32, Push, Option<String>)>,
    pub pops: Vec<(u32, Pop)>,
    pub starts: Vec<(Start, Option<String>)>,
    pub ends: Vec<End>,
    pub marks: Vec<(Mark, Option<String>)>,
    pub damages: u64,
}

impl RingContents {
    pub fn new(reader: Reader<File>) -> Self {
        Self {
            reader,
            kernels: Vec::new(),
            memcpys: Vec::new(),
            memsets: Vec::new(),
            syncs: Vec::new(),
            events: Vec::new(),
            overheads: Vec::new(),
            calls: Vec::new(),
            graphs: Vec::new(),
            pushes: Vec::new(),
            pops: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            marks: Vec::new(),
            damages: 0,
        }
    }

    pub fn drain(&mut self) {
        let Self {
            reader,
            kernels,
            memcpys,
            memsets,
            syncs,
            events,
            overheads,
            calls,
            graphs,
            pushes,
            pops,
            starts,
            ends,
            marks,
            damages,
        } = self;
        let drained = reader
            .drain(now_ns(), |record| {
                let (tid, words) = (record.tid, record.words);
                match Kind::from_word(u64::from(record.kind)).expect("a known kind") {
                    Kind::Kernel => kernels.push(Kernel::read(words).unwrap()),
                    Kind::Memcpy => memcpys.push(Memcpy::read(words).unwrap()),
                    Kind::Memset => memsets.push(Memset::read(words).unwrap()),
                    Kind::Sync => syncs.push(Sync::read(words).unwrap()),
                    Kind::Event => events.push(Event::read(words).unwrap()),
                    Kind::Overhead => overheads.push((tid, Overhead::read(words).unwrap())),
                    Kind::Call => calls.push((tid, Call::read(words).unwrap())),
                    Kind::Graph => graphs.push(Graph::read(words).unwrap()),
                    Kind::Push => pushes.push((tid, Push::read(words).unwrap(), record.text(Push::WORDS))),
                    Kind::Pop => pops.push((tid, Pop::read(words).unwrap())),
                    Kind::Start => starts.push((Start::read(words).unwrap(), record.text(Start::WORDS))),
                    Kind::End => ends.push(End::read(words).unwrap()),
                    Kind::Mark => marks.push((Mark::read(words).unwrap(), record.text(Mark::WORDS))),
                    Kind::ThreadName | Kind::Other => {}
                }
            })
            .unwrap();
        *damages += drained.damages;
        self.reader.look().unwrap();
    }

    pub fn name(&self, id: u32) -> String {
        self.reader.name(id).unwrap().unwrap_or_default()
    }

    /// The text of an event: inline, or a name.
    pub fn text(&self, id: u32, inline: Option<&String>) -> String {
        inline.cloned().unwrap_or_else(|| self.name(id))
    }

    pub fn losses(&self) -> BTreeMap<(Loss, Kind), u64> {
        self.reader.losses().into_iter().map(|(loss, kind, count)| ((loss, kind), count)).collect()
    }
}

/// `CLOCK_MONOTONIC`, as the traced program has it.
pub fn now_ns() -> u64 {
    // Two readings of a clock that std has, and the file that the kernel keeps: no call without a safe form.
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    std::time::Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap()
}
