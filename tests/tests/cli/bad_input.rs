//! Bad input gets one clear line and exit code 2, never a panic.

use std::path::{Path, PathBuf};
use std::process::Command;

use kvpath_tests::{fixture, kvpath};

/// Runs, expects exit code 2 and one line on standard error that holds all `words`; nothing on standard output.
fn refused(command: &mut Command, words: &[&str]) {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stdout));
}

fn import(file: &Path) -> Command {
    let mut command = kvpath();
    command.args(["import", "nsys"]).arg(file).arg("--out").arg(file.with_extension("run"));
    command
}

fn sqlite(folder: &Path) -> PathBuf {
    let file = folder.join("whole.sqlite");
    let packed = std::fs::read(fixture("nsys/nsight-2025.5.2.sqlite.zst")).unwrap();
    std::fs::write(&file, zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
    file
}

#[test]
fn files_that_are_no_export() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    refused(&mut import(&folder.path().join("absent")), &["absent", "No such file"]);
    refused(&mut import(&file("empty", b"")), &["empty"]);
    refused(&mut import(&file("text", b"hello\n")), &["not a SQLite database", "nsys export"]);
    refused(&mut import(folder.path()), &["directory"]);
    let packed = std::fs::read(fixture("nsys/slice.sqlite.zst")).unwrap();
    refused(&mut import(&file("cut.zst", &packed[..packed.len() / 2])), &["cut short or damaged"]);
    let inner = zstd::encode_all(&b"hello"[..], 1).unwrap();
    refused(&mut import(&file("text.zst", &inner)), &["not a SQLite database"]);
}

#[test]
fn a_database_cut_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(sqlite(folder.path())).unwrap();
    for keep in [16, 100, 4096, 20_000, whole.len() / 2] {
        let path = folder.path().join(format!("cut-{keep}.sqlite"));
        std::fs::write(&path, &whole[..keep]).unwrap();
        refused(&mut import(&path), &["cut-", "damaged"]);
    }
}

#[test]
fn a_database_of_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sqlite");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE people(name TEXT);").unwrap();
    refused(&mut import(&path), &["none of Nsight Systems' tables", "found people"]);
    db.execute_batch("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL(start INTEGER);").unwrap();
    refused(&mut import(&path), &["CUPTI_ACTIVITY_KIND_KERNEL", "`end`"]);
}

#[test]
fn rows_that_are_no_events_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.sqlite");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL(start, end, deviceId, streamId, demangledName, globalPid);
         INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES
           (10, 15, 'x', 9999999999999, -1, -1), (10, 5, 0, 7, 1, 0), (9223372036854775807, -9223372036854775808, 0, 7, 1, 0), ('a', 1, 0, 0, 0, 0);",
    )
    .unwrap();
    let out = import(&path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("left out: 3 rows of CUPTI_ACTIVITY_KIND_KERNEL"));
    let run = path.with_extension("run");
    for (command, code) in [("report", 0), ("check", 1)] {
        let out = kvpath().arg(command).arg(&run).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.contains("3 records of nsys") && said.contains("CUPTI_ACTIVITY_KIND_KERNEL"), "{said}");
    }
}

#[test]
fn a_segment_with_times_that_cannot_be_is_refused() {
    use kvpath_schema::table::Columns as _;
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("v1/even/node=even/source=nsys/kernels-000004.parquet");
    for (start, dur) in [(i64::MAX, 1), (0, i64::MAX), (i64::MIN, 0), (5, -1)] {
        let mut kernels = kvpath_schema::tables::gpu::Kernels::default();
        kvpath_schema::segment::read_into(&source, &mut kernels).unwrap();
        kernels.start_ns[7] = start;
        kernels.dur_ns[7] = dur;
        let run = folder.path().join(format!("{start}-{dur}"));
        let mut writer = kvpath_schema::segment::RunWriter::new(&run, "h", "test", None);
        assert!(kernels.len() > 7 && writer.write("nsys", &kernels, 0).unwrap().is_some());
        refused(kvpath().arg("report").arg(&run), &["table kernels", "cannot be"]);
    }
}

#[test]
fn several_recordings_are_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let run = copy(folder.path());
        std::fs::rename(run.ancestors().nth(2).unwrap(), folder.path().join(name)).unwrap();
    }
    refused(kvpath().arg("report").arg(folder.path()), &["2 recordings", "name one"]);
    let looped = folder.path().join("a/loop");
    std::os::unix::fs::symlink(".", &looped).unwrap();
    assert!(kvpath().arg("report").arg(folder.path().join("a")).output().unwrap().status.success());
}

#[test]
fn runs_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let database = sqlite(folder.path());
    for command in ["report", "check"] {
        refused(kvpath().arg(command).arg(&absent), &["no such file or folder"]);
        refused(kvpath().arg(command).arg(folder.path().join("*.nothing")), &["no such file or folder"]);
        let empty = folder.path().join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        refused(kvpath().arg(command).arg(&empty), &["no kvpath segments"]);
        refused(kvpath().arg(command).arg(&database), &["kvpath import nsys"]);
    }
    refused(kvpath().args(["report", "--request", "77"]).arg(fixture("v1/even")), &["no request `77`", "6"]);
    refused(kvpath().args(["report", "--ceiling", "0"]).arg(fixture("v1/even")), &["above 0"]);
}

/// A copy of a bundled recording, to be damaged.
fn copy(folder: &Path) -> PathBuf {
    let run = folder.join("run/node=even/source=nsys");
    std::fs::create_dir_all(&run).unwrap();
    for entry in std::fs::read_dir(fixture("v1/even/node=even/source=nsys")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), run.join(entry.file_name())).unwrap();
    }
    run
}

/// What every command says of a run of which the segment `name` is damaged as `why` says: its name, and answers without it.
fn costs_one_segment(run: &Path, name: &str, why: &str) {
    let count = "SELECT count(*) AS n, sum(dur_ns) AS s, sum(start_ns % 1000) AS t FROM kernels";
    let commands: [(&[&str], i32); 8] = [
        (&["report"], 0),
        (&["report", "--json"], 0),
        (&["path"], 0),
        (&["path", "--json"], 0),
        (&["check"], 1),
        (&["check", "--json"], 1),
        (&["sql", count], 0),
        (&["sql", "SELECT count(*) AS n FROM layers"], 0),
    ];
    for (args, code) in commands {
        if args[0] == "path" && name.starts_with("kernels") {
            // Without what ran there is no path, which is another refusal.
            continue;
        }
        let ask = |strict: &[&str]| kvpath().args([args[0]]).arg(run).args(&args[1..]).args(strict).output().unwrap();
        let out = ask(&[]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(!out.stdout.is_empty(), "{args:?}");
        // Damage that shows in the data alone is met by those that read that data.
        if args[0] == "check" || args == ["sql", count] && name.starts_with("kernels") {
            assert!(said.contains(name) && said.contains(why), "{args:?}: {said}");
        }
        let strict = ask(&["--strict"]);
        if said.contains(name) {
            let refusal = String::from_utf8_lossy(&strict.stderr);
            assert_eq!(strict.status.code(), Some(2), "{args:?}: {refusal}");
            assert!(refusal.contains(name) && strict.stdout.is_empty(), "{args:?}: {refusal}");
        }
    }
}

/// A name, what is done to a segment's bytes, and what is said of it.
type Damage<'a> = (&'a str, &'a dyn Fn(&[u8]) -> Vec<u8>, &'a str);

#[test]
fn a_damaged_segment_costs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = |bytes: &[u8]| {
        let key = b"kvpath.schema_version";
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
        [&bytes[..at], b"sombre.schema_version", &bytes[at + key.len()..]].concat()
    };
    let damages: [Damage; 5] = [
        ("cut", &|bytes| bytes[..bytes.len() / 3].to_vec(), "cut short"),
        ("empty", &|_| Vec::new(), "cut short"),
        ("text", &|_| b"hello, this is no Parquet file\n".to_vec(), "not a whole Parquet file"),
        ("foreign", &|bytes| foreign(bytes), "not a kvpath segment"),
        (
            "flipped",
            &|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[2_000..2_064].iter_mut().for_each(|byte| *byte ^= 0xff);
                bytes
            },
            "damaged data",
        ),
    ];
    for (name, damage, why) in damages {
        for segment in ["memcpys-000005.parquet", "kernels-000004.parquet"] {
            let own = folder.path().join(format!("{name}-{segment}"));
            let path = copy(&own).join(segment);
            std::fs::write(&path, damage(&std::fs::read(&path).unwrap())).unwrap();
            let run = own.join("run");
            costs_one_segment(&run, segment, why);
            let report = kvpath().arg("report").arg(&run).output().unwrap();
            let said = String::from_utf8_lossy(&report.stdout);
            assert!(said.contains("MISSING DATA") && said.contains(segment) && said.contains("left out"), "{said}");
        }
    }
}

#[test]
fn a_flip_anywhere_in_a_segment_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for segment in ["kernels-000004.parquet", "nvtx_ranges-000008.parquet", "processes-000001.parquet"] {
        let own = folder.path().join(segment);
        let path = copy(&own).join(segment);
        let whole = std::fs::read(&path).unwrap();
        for step in 0..12 {
            let mut bytes = whole.clone();
            let at = step * (whole.len() - 1) / 11;
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            for (command, codes) in [("report", [0, 0]), ("path", [0, 2]), ("check", [0, 1])] {
                let out = kvpath().arg(command).arg(own.join("run")).output().unwrap();
                let said = String::from_utf8_lossy(&out.stderr);
                assert!(codes.iter().any(|code| out.status.code() == Some(*code)), "{command}, byte {at}: {said}");
            }
        }
    }
}

#[test]
fn a_run_of_which_nothing_can_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(copy(folder.path())).unwrap() {
        std::fs::write(entry.unwrap().path(), b"PAR1").unwrap();
    }
    let run = folder.path().join("run");
    for command in ["report", "path", "check"] {
        refused(kvpath().arg(command).arg(&run), &["api_calls-000007.parquet", "cut short"]);
    }
    refused(kvpath().arg("sql").arg(&run).arg("SELECT 1 AS one"), &["api_calls-000007.parquet", "cut short"]);
}

#[test]
fn a_file_whose_writing_was_cut_off_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let run = copy(folder.path());
    std::fs::write(run.join("kernels-000099.partial"), b"PAR1").unwrap();
    let out = kvpath().arg("check").arg(folder.path().join("run")).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("kernels-000099.partial"));
}

#[test]
fn a_newer_version_is_refused_with_both_versions_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let segment = copy(folder.path()).join("gpus-000003.parquet");
    let mut bytes = std::fs::read(&segment).unwrap();
    // The value of the footer's version key: one byte, "1".
    let key = b"kvpath.schema_version";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let value = at + bytes[at..].iter().position(|byte| *byte == b'1').unwrap();
    bytes[value] = b'9';
    std::fs::write(&segment, bytes).unwrap();
    let run = folder.path().join("run");
    refused(kvpath().arg("report").arg(&run), &["gpus-000003.parquet", "version 9", "version 1", "update kvpath"]);
}
