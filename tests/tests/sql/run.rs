//! The program, and runs to ask.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{Kernel, Kernels};
use kvpath_schema::tables::nixl::{NixlNotif, NixlNotifs};
use tempfile::TempDir;

/// The program that was built beside this test.
///
/// Cargo builds it for tests of its own package only, so a test run begins with `cargo build --workspace`.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test runs from a file");
    let path = test.parent().and_then(Path::parent).expect("TARGET/PROFILE/deps/TEST").join("kvpath");
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` with the same profile", path.display());
    path
}

/// Runs `kvpath` with `args`.
pub fn kvpath(args: &[&str]) -> Assert {
    Command::new(program()).args(args).assert()
}

/// What a successful command prints.
pub fn stdout(args: &[&str]) -> Vec<u8> {
    kvpath(args).success().get_output().stdout.clone()
}

/// The same as text.
pub fn text(args: &[&str]) -> String {
    String::from_utf8(stdout(args)).expect("UTF-8")
}

/// The one line that a command of bad input says; it must end with code 2 and print no data.
pub fn refusal(args: &[&str]) -> String {
    let assert = kvpath(args).code(2);
    let output = assert.get_output();
    assert!(output.stdout.is_empty(), "{args:?} printed data: {}", String::from_utf8_lossy(&output.stdout));
    let line = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(line.matches('\n').count(), 1, "{args:?} said other than one line:\n{line}");
    assert!(line.starts_with("kvpath: ") && !line.contains("backtrace"), "{line}");
    line
}

/// Kernels `start, start + 10, …`, named `a` and `b` in turn.
pub fn kernels(rows: i64) -> Kernels {
    let mut kernels = Kernels::default();
    for i in 0..rows {
        kernels.push(Kernel {
            start_ns: 10 * i,
            dur_ns: 1 + i % 3,
            process_id: 7,
            device_id: 0,
            context_id: 1,
            stream_id: 7,
            correlation_id: i,
            name: if i % 2 == 0 { "a".into() } else { "b".into() },
            graph_node_id: (i % 2 == 1).then_some(i),
            grid_x: None,
            grid_y: None,
            grid_z: None,
            block_x: None,
            block_y: None,
            block_z: None,
        });
    }
    kernels
}

/// A notification at one end.
pub fn notif(time_ns: i64, direction: &str, message: &str) -> NixlNotif {
    NixlNotif {
        time_ns,
        process_id: if direction == "sent" { 1 } else { 2 },
        tid: 1,
        direction: direction.into(),
        via: "genNotif".into(),
        peer: None,
        message: message.to_owned(),
        message_raw: None,
        message_bytes: i64::try_from(message.len()).expect("short"),
        transfer_id: None,
    }
}

/// A run of two kernel segments of `rows` kernels each, one after the other, and four notifications.
pub struct SmallRun {
    folder: TempDir,
}

impl SmallRun {
    /// Writes it. The folder's name holds what paths may hold and patterns and URLs would misread.
    pub fn new(rows: i64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut run = RunWriter::new(folder.path().join("a run, 100% #1"), "host", "test 0", None);
        for _ in 0..2 {
            run.write("cupti", &kernels(rows), 0).expect("a segment");
        }
        let mut notifs = NixlNotifs::default();
        for (time, direction, message) in
            [(5, "sent", "m"), (9, "arrived", "m"), (20, "sent", "m"), (21, "sent", "lost")]
        {
            notifs.push(notif(time, direction, message));
        }
        notifs.push(notif(27, "arrived", "m"));
        run.write("nixl", &notifs, 0).expect("a segment");
        Self { folder }
    }

    /// The run, as an argument.
    pub fn path(&self) -> String {
        self.folder.path().join("a run, 100% #1").to_str().expect("UTF-8").to_owned()
    }

    /// A path outside of the run.
    pub fn beside(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The path of a segment of the run.
    pub fn segment(&self, table: &str) -> PathBuf {
        let folder = self.folder.path().join("a run, 100% #1/node=host");
        let source = if table == "kernels" { "source=cupti" } else { "source=nixl" };
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join(source))
            .expect("a folder")
            .map(|entry| entry.expect("a file").path())
            .collect();
        files.sort();
        files.into_iter().find(|path| path.to_string_lossy().contains(table)).expect("a segment of it")
    }
}
