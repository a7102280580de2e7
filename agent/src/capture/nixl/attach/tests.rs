//! What a return probe does to exceptions. Needs root and g++; says so on stderr where they are missing.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use super::*;
use crate::elf::Elf;

const LIBRARY: &str = r#"extern "C" int thrower(int n) { if (n) throw n; return 0; }
extern "C" int catcher(int n) { try { return thrower(n); } catch (int) { return 7; } }"#;
const PROGRAM: &str = r#"extern "C" int thrower(int); extern "C" int catcher(int);
int main(int argc, char **) { if (argc > 1) return catcher(1); try { return thrower(1); } catch (int) { return 7; } }"#;

fn build(folder: &Path) -> Option<()> {
    std::fs::write(folder.join("l.cc"), LIBRARY).ok()?;
    std::fs::write(folder.join("p.cc"), PROGRAM).ok()?;
    let compile = |args: &[&str]| {
        let status = Command::new("g++").arg("-O1").args(args).current_dir(folder).status();
        status.is_ok_and(|status| status.success()).then_some(())
    };
    // Calls between the two functions go through the symbol, as between libraries.
    compile(&["-shared", "-fPIC", "-fno-inline", "-fsemantic-interposition", "-o", "libl.so", "l.cc"])?;
    compile(&["-o", "p", "p.cc", "-L.", "-ll", "-Wl,-rpath,$ORIGIN"])
}

/// Runs the program with a return probe on a function; `args` decide which of its two ways it goes.
fn with_probe_on(folder: &Path, symbol: &str, args: &[&str]) -> Result<ExitStatus, AttachError> {
    let file = folder.join("libl.so");
    let data = std::fs::read(&file).unwrap();
    let offset = Elf::parse(&data).unwrap().entry(symbol).unwrap().offset;
    let mut programs = Programs::load()?;
    let spot = AttachPoint { offset, cookie: 0, has_return: true };
    let links = PAIR.attach(&mut programs.ebpf, &file, &[spot], UProbeScope::AllProcesses)?;
    let status = Command::new(folder.join("p")).args(args).status().unwrap();
    PAIR.detach(&mut programs.ebpf, links)?;
    Ok(status)
}

/// The limit that the documentation of `capture::nixl` states.
#[test]
fn exceptions_pass_by_a_return_probe_only_below_it() {
    let folder = tempfile::tempdir().unwrap();
    if build(folder.path()).is_none() {
        eprintln!("SKIPPED exceptions_pass_by_a_return_probe_only_below_it: no g++");
        return;
    }
    let Ok(caught_inside) = with_probe_on(folder.path(), "catcher", &["catch"]) else {
        eprintln!("SKIPPED exceptions_pass_by_a_return_probe_only_below_it: no BPF");
        return;
    };
    assert_eq!(caught_inside.code(), Some(7));
    let escaped = with_probe_on(folder.path(), "thrower", &[]).unwrap();
    assert_eq!(escaped.signal(), Some(libc::SIGABRT), "{escaped}: the documented limit is gone");
    assert_eq!(Command::new(folder.path().join("p")).status().unwrap().code(), Some(7), "without a probe");
}
