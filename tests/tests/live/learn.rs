//! `kvpath-agent learn`: builds that name no known release are recorded once they were learned, and what a library does while it is
//! run for that reaches nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use crate::assumed::{assert_recorded, claim, record, unknown_copy};
use crate::setup::{Live, children, libraries, ready, skipped, text, wait_for};

/// Runs it; what is learned is kept in the folder `layouts`.
fn learn(live: &Live, target: &str, options: &[&str]) -> Output {
    let mut agent = live.agent(&["learn", target, "--out"]);
    agent.arg(live.path("layouts")).args(options).output().expect("the agent starts")
}

/// What was kept.
fn kept(live: &Live) -> Vec<PathBuf> {
    fs::read_dir(live.path("layouts")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn assert_refused(live: &Live, output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", text(output));
    assert!(text(output).contains(words), "{words}: {}", text(output));
    assert_eq!(kept(live), [] as [PathBuf; 0]);
}

/// Starts the workload where it alone sees its libraries, as a container does: at a path that is an empty folder for all others.
fn start_elsewhere(live: &Live, copy: &Path) -> Option<Child> {
    let seen = live.path("seen");
    fs::create_dir_all(&seen).expect("folder");
    let workload = live.workload(&seen, &["--start-delay-ms", "6000"]);
    let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    let inside = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", script]).arg(copy).arg(&seen);
        unshare
    };
    let is_possible = inside("mount --bind \"$0\" \"$1\"").output().is_ok_and(|output| output.status.success());
    let mut unshare = inside(mount);
    unshare.arg(workload.get_program()).args(workload.get_args());
    is_possible.then(|| unshare.spawn().expect("the workload starts"))
}

#[test]
fn a_build_that_was_learned_of_a_process_is_recorded() {
    let Some(live) = ready("a_build_that_was_learned_of_a_process_is_recorded") else { return };
    let copy = unknown_copy(&live, &live.nixl, "unknown");
    claim(&copy, "1.5.1", "9.5.1");
    let Some(mut workload) = start_elsewhere(&live, &copy) else {
        skipped("a_build_that_was_learned_of_a_process_is_recorded", "unshare makes no mount namespace here");
        return;
    };
    let maps =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains("libnixl.so"));
    wait_for("a process maps the library", || children(workload.id()).iter().any(maps));
    let pid = children(workload.id()).into_iter().find(maps).expect("it does");
    let output = learn(&live, &pid.to_string(), &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("Build ID 390ac851fdd67a4d9738b5b2f53bd4849505f241, NIXL 9.5.1"),
        "{}",
        text(&output)
    );
    assert!(workload.wait().expect("wait").success(), "the process goes on");

    let [file] = &kept(&live)[..] else { panic!("one file") };
    let learned: serde_json::Value = serde_json::from_slice(&fs::read(file).expect("read")).expect("JSON");
    let layout = &learned["layout"];
    let known =
        [("handle_notif", 144), ("handle_op", 180), ("handle_bytes", 216), ("meta_bytes", 32), ("strided_bytes", 40)];
    for (member, at) in known {
        assert_eq!(layout[member], at, "{layout}");
    }

    let layouts = live.path("layouts");
    let layouts = layouts.to_str().expect("UTF-8");
    let output = record(&live, &copy, &[], &["--layouts", layouts]);
    let recorded = assert_recorded(&live, &output, 4, "measured");
    let fact = recorded.fact(&["library", "unknown", "libnixl.so"]).expect("named");
    assert!(fact.starts_with("NIXL 9.5.1") && fact.contains("layout measured"), "{fact}");

    let mut doctor = live.agent(&["doctor", "--layouts", layouts, "--library"]);
    let doctor = doctor.arg(libraries(&copy).join("libnixl.so")).output().expect("doctor");
    assert!(
        doctor.status.success() && text(&doctor).contains("in no table, but learned: NIXL 9.5.1"),
        "{}",
        text(&doctor)
    );
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let Some(live) = ready("what_cannot_be_learned_is_refused") else { return };
    assert_refused(&live, &learn(&live, &std::process::id().to_string(), &[]), "maps no library of NIXL");
    assert_refused(&live, &learn(&live, "/no/such/libnixl.so", &[]), "No such file");
    assert_refused(&live, &learn(&live, "/proc/self/status", &[]), "not an ELF file");
    let own = libraries(&live.nixl).join("libnixl.so");
    let output = learn(&live, own.to_str().expect("UTF-8"), &[]);
    assert!(output.status.success() && text(&output).contains("which is known already"), "{}", text(&output));
    let copy = unknown_copy(&live, &live.nixl, "unknown");
    let file = libraries(&copy).join("libnixl.so");
    fs::remove_file(file.with_file_name("libnixl_capi.so")).expect("remove");
    assert_refused(&live, &learn(&live, file.to_str().expect("UTF-8"), &[]), "no libnixl_capi.so beside it");
}

/// The functions of `libnixl.so` that are probed, of the last ABI in the table.
fn functions() -> Vec<&'static str> {
    let table = include_str!("../../../agent/src/capture/nixl/builds.toml");
    let last = table.rsplit("[[abi]]").next().expect("an ABI").split("[[build]]").next().expect("its probes");
    let probes = last.split("[[abi.probe]]").filter(|probe| probe.contains("\"libnixl.so\""));
    probes.filter_map(|probe| probe.split("symbol = \"").nth(1)?.split('"').next()).collect()
}

/// A library with these functions, and a C interface that does something as it is loaded.
fn fake(live: &Live, name: &str, code: &str) -> Option<PathBuf> {
    let folder = live.path(name);
    fs::create_dir_all(&folder).expect("folder");
    let numbered = functions().into_iter().zip(1..).map(|(name, n)| format!("int {name}(void) {{ return {n}; }}\n"));
    let sources = [("libnixl", numbered.collect::<String>()), ("libnixl_capi", format!("{HEAD}\n{code}"))];
    for (library, source) in sources {
        let file = folder.join(format!("{library}.c"));
        fs::write(&file, source).expect("write");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-w", "-Wl,--build-id", "-o"])
            .arg(folder.join(format!("{library}.so")))
            .arg(&file);
        if !cc.status().is_ok_and(|status| status.success()) {
            return None;
        }
    }
    Some(folder.join("libnixl.so"))
}

const HEAD: &str = r"#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <unistd.h>
#include <dirent.h>
";

/// Tries whatever would reach beyond the process; its last line says what went through.
const ESCAPES: &str = r#"static char went[512];
static void tried(const char *what, int done) { if (done) { strcat(went, what); strcat(went, " "); } }
static int reaches(const char *address, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    return s >= 0 && connect(s, (struct sockaddr *)&to, sizeof to) == 0;
}
__attribute__((constructor)) static void start(void) {
    int pid = fork();
    if (pid == 0) { for (;;) pause(); }
    tried("fork", pid > 0);
    tried("vfork", vfork() > 0);
    execl("/bin/true", "true", NULL);
    tried("file", open(FILE_BESIDE, O_CREAT | O_WRONLY, 0644) >= 0);
    tried("tmp", open("/tmp/kvpath-learn-escaped", O_CREAT | O_WRONLY, 0644) >= 0);
    tried("unlink", unlink(FILE_THERE) == 0);
    tried("unix", socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    tried("network", reaches("192.0.2.1", 9));
    tried("ptrace", ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0);
    tried("kill", kill(-1, 0) == 0 && getppid() != 0);
    tried("mount", mount("tmpfs", "/", "tmpfs", 0, "") == 0);
    tried("namespace", unshare(CLONE_NEWUSER) == 0);
    tried("device", mknod("/dev/x", S_IFCHR | 0600, 1 << 8 | 1) == 0);
    tried("root", chroot("/") == 0);
    tried("setuid", geteuid() != 0 && setuid(0) == 0);
    DIR *dev = opendir("/dev");
    for (struct dirent *entry; dev && (entry = readdir(dev));)
        tried(entry->d_name, strncmp(entry->d_name, "nvidia", 6) == 0 || strncmp(entry->d_name, "kvm", 3) == 0
            || strncmp(entry->d_name, "mem", 3) == 0 || strncmp(entry->d_name, "sd", 2) == 0 || strncmp(entry->d_name, "vd", 2) == 0);
    int processes = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) processes += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
    tried("processes", processes > 1);
    fprintf(stderr, "went through: [%s]\n", went);
    _exit(7);
}"#;

#[test]
fn a_library_that_lies_hangs_forks_or_crashes_harms_nothing() {
    let name = "a_library_that_lies_hangs_forks_or_crashes_harms_nothing";
    let Some(live) = ready(name) else { return };
    let there = live.path("there");
    fs::write(&there, "").expect("write");
    let beside = live.path("written");
    let escapes = ESCAPES.replace("FILE_BESIDE", &format!("{beside:?}")).replace("FILE_THERE", &format!("{there:?}"));
    let constructor = |body: &str| format!("__attribute__((constructor)) static void start(void) {{ {body} }}");
    // Each list is an object of zeros.
    let lies = "static void *object[2]; int nixl_capi_create_xfer_dlist(int memory, void **out) { object[0] = calloc(1, 64); \
                *out = object; return 0; } int nixl_capi_xfer_dlist_add_desc() { return 0; }";
    let cases = [
        ("empty", "", "it has no nixl_capi_create_xfer_dlist"),
        ("liar", lies, "places instead of one"),
        ("sleeper", &constructor("for (;;) pause();"), "did not come to an end within 2 s"),
        ("spinner", &constructor("for (;;) ;"), "did not come to an end within 2 s"),
        ("crasher", &constructor("*(volatile int *)0 = 1;"), "it crashed (signal: 11"),
        ("aborter", &constructor("abort();"), "it crashed"),
        ("writer", &constructor("for (;;) puts(\"noise noise noise\");"), "did not come to an end within 2 s"),
        ("leaver", &constructor("puts(\"{}\"); fflush(stdout); _exit(0);"), "gives no layout"),
        ("escaper", &escapes, "it ended with exit code 7: went through: []"),
    ];
    for (which, code, words) in cases {
        let Some(library) = fake(&live, which, code) else {
            skipped(name, "no cc");
            return;
        };
        let since = Instant::now();
        let output = learn(&live, library.to_str().expect("UTF-8"), &["--limit", "2s"]);
        assert_refused(&live, &output, words);
        assert!(since.elapsed() < Duration::from_secs(20), "{which}: {:?}", since.elapsed());
    }
    assert!(there.exists() && !beside.exists() && !Path::new("/tmp/kvpath-learn-escaped").exists());
    let left = fs::read_dir("/proc").expect("proc").flatten().filter(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("learn-child"))
    });
    assert_eq!(left.count(), 0, "no process is left");
}
