//! What a live test needs, and how it runs the agent and the workload.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Two recordings at once would each see the other's workload.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// The same among test processes of this machine: a recording holds every process that uses NIXL.
const LOCK: &str = "kvpath-live-tests.lock";

/// A place to run a live test.
pub struct Live {
    _turn: MutexGuard<'static, ()>,
    _machine: File,
    agent: PathBuf,
    workload: PathBuf,
    /// The folder of the NIXL wheel.
    pub nixl: PathBuf,
    /// A folder of its own.
    pub dir: TempDir,
}

/// Everything that a live test needs; `None` if something is missing, which it has said then.
pub fn ready(test: &str) -> Option<Live> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let machine = File::create(std::env::temp_dir().join(LOCK)).expect("a lock file");
    machine.lock().expect("the lock of the live tests");
    match find() {
        Ok((agent, workload, nixl)) => Some(Live {
            _turn: turn,
            _machine: machine,
            agent,
            workload,
            nixl,
            dir: tempfile::tempdir().expect("temporary folder"),
        }),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

/// Says so past the test harness, which would swallow the output of a test that does not fail.
pub fn skipped(test: &str, why: &str) {
    let mut stderr = std::io::stderr();
    stderr.write_all(format!("SKIPPED live::{test}: {why}\n").as_bytes()).expect("stderr");
}

fn find() -> Result<(PathBuf, PathBuf, PathBuf), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/PROFILE/deps/live-HASH
    let profile = own.ancestors().nth(2).ok_or("the test binary lies in no target folder")?;
    let program = |name: &str| {
        let path = profile.join(name);
        if path.exists() { Ok(path) } else { Err(format!("{} is not built", path.display())) }
    };
    let (agent, workload) = (program("kvpath-agent")?, program("kvpath-workload")?);
    let beside = profile.parent().unwrap_or(profile).join("nixl-1.5.1");
    let nixl = std::env::var_os("KVPATH_NIXL").map_or(beside, PathBuf::from);
    if !nixl.join(".nixl_cu12.mesonpy.libs/libnixl_capi.so").exists() {
        return Err(format!("no NIXL wheel in {} (set KVPATH_NIXL)", nixl.display()));
    }
    let doctor = Command::new(&agent).arg("doctor").output().map_err(|error| error.to_string())?;
    if !doctor.status.success() {
        let text = String::from_utf8_lossy(&doctor.stdout);
        let missing: Vec<&str> = text.lines().filter(|line| line.contains("MISSING")).map(str::trim).collect();
        return Err(format!("no recording here: {}", missing.join("; ")));
    }
    Ok((agent, workload, nixl))
}

/// The same, where the kernel describes its tracepoints.
pub fn ready_to_count(test: &str) -> Option<Live> {
    if !Path::new("/sys/kernel/tracing/events").is_dir() {
        skipped(test, "no tracefs at /sys/kernel/tracing");
        return None;
    }
    ready(test)
}

/// Folders of other NIXL wheels, whether they are there or not, each `PACKAGE-RELEASE`; `./x` names them.
pub fn other_nixl() -> Vec<PathBuf> {
    std::env::var_os("KVPATH_OTHER_NIXL").map(|folders| std::env::split_paths(&folders).collect()).unwrap_or_default()
}

impl Live {
    /// Records a script of tests/builds that uses a NIXL, into `run`; `words` stand between the folder of the libraries and the file into which
    /// it writes what it did. That file.
    pub fn recorded_script(&self, nixl: &Path, script: &str, words: &[&str]) -> PathBuf {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("builds").join(script);
        let (folder, truth) = (libraries(nixl), self.path("truth.tsv"));
        let mut agent = self.agent(&["record", "--max-overhead", "1000", "--out"]);
        agent.arg(self.path("run"));
        for library in ["libnixl.so", "plugins/libplugin_UCX.so"] {
            agent.arg("--library").arg(folder.join(library));
        }
        agent.env("PYTHONDONTWRITEBYTECODE", "1").args(["--", "python3"]).arg(&script).arg(&folder);
        let output = agent.args(words).arg(&truth).output().expect("the agent starts");
        assert!(output.status.success(), "{}", text(&output));
        truth
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The agent with these arguments.
    pub fn agent(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.agent);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Path of the agent.
    pub fn agent_path(&self) -> &Path {
        &self.agent
    }

    /// The workload on a wheel, with its truth in the file `truth.tsv`.
    pub fn workload(&self, nixl: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.workload);
        command.arg("run").args(args).arg("--nixl").arg(nixl).arg("--truth").arg(self.path("truth.tsv"));
        command.stdin(Stdio::null());
        command
    }

    /// Records the workload as the agent's command, into the folder `run`.
    pub fn record(&self, nixl: &Path, args: &[&str]) -> Output {
        let output = self.try_to_record(nixl, args);
        assert!(output.status.success(), "{}", text(&output));
        output
    }

    /// The same, whatever its exit code is.
    pub fn try_to_record(&self, nixl: &Path, args: &[&str]) -> Output {
        let workload = self.workload(nixl, args);
        // These tests are of what is recorded; what probes may cost, on a machine of any speed, has tests of its own.
        let mut agent = self.agent(&["record", "--max-overhead", "1000", "--out"]);
        agent.arg(self.path("run"));
        // Named, so that not even the first call is missed; how libraries are found otherwise has tests of its own, on
        // copies.
        if !nixl.starts_with(self.dir.path()) {
            for library in ["libnixl.so", "plugins/libplugin_UCX.so"] {
                agent.arg("--library").arg(libraries(nixl).join(library));
            }
        }
        agent.arg("--").arg(workload.get_program()).args(workload.get_args());
        agent.output().expect("the agent starts")
    }

    /// Starts the agent on its own and waits until it records.
    pub fn start_agent(&self, args: &[&str]) -> Child {
        let mut agent = self.agent(&["record", "--out"]);
        let child = agent.arg(self.path("run")).args(args).stderr(Stdio::piped()).spawn().expect("the agent starts");
        wait_for_segment(&self.path("run"));
        child
    }

    /// A copy of the wheel's libraries: other inodes, another path.
    pub fn copy_of_wheel(&self, name: &str) -> PathBuf {
        self.copy_of(&self.nixl, name)
    }

    /// The same of any wheel.
    pub fn copy_of(&self, nixl: &Path, name: &str) -> PathBuf {
        let copy = self.path(name);
        let own = libraries(nixl);
        fs::create_dir_all(copy.join(own.file_name().expect("a name")).join("plugins")).expect("folder");
        for from in walk(&own) {
            let below = from.strip_prefix(nixl).expect("below the wheel");
            if below.parent().is_some_and(|p| p.ends_with("plugins")) && !below.ends_with("libplugin_UCX.so") {
                continue;
            }
            fs::copy(&from, copy.join(below)).expect("copy");
        }
        let bundled = own.file_name().and_then(|name| name.to_str()).expect("UTF-8").replace(".mesonpy", "");
        let bundled = bundled.trim_start_matches('.');
        std::os::unix::fs::symlink(nixl.join(bundled), copy.join(bundled)).expect("link");
        copy
    }
}

/// Where a wheel's own libraries lie: `.nixl_cu12.mesonpy.libs` or that of another CUDA version.
pub fn libraries(nixl: &Path) -> PathBuf {
    let below = fs::read_dir(nixl).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_wanted = |path: &PathBuf| path.join("libnixl_capi.so").exists();
    below.into_iter().find(is_wanted).unwrap_or_else(|| panic!("no NIXL in {}", nixl.display()))
}

/// All files below a folder.
pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Waits until something holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the agent has written its first segment: from then on it records.
pub fn wait_for_segment(run: &Path) {
    wait_for("the agent writes its first segment", || {
        walk(run).iter().any(|path| path.extension().is_some_and(|ext| ext == "parquet"))
    });
}

/// Sends a signal.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill");
    assert!(status.success(), "kill -{name} {pid}");
}

/// Pids of a process's children.
pub fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// What a program printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
