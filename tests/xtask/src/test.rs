//! `./x test`: rules of the tree, format, lints, all tests; then what was skipped and why. Also its parts, and the benchmarks.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::project;
use crate::setup::{self, Setup};
use crate::shell::{Result, run};
use crate::{check, lint, vm};

pub(crate) fn all() -> Result<()> {
    check::check()?;
    let setup = setup::ready_to_test();
    lint::lint(&setup)?;
    // The command-line and live tests run the binaries; cargo test does not build another crate's.
    setup.build()?;
    let mut summary = tests(&setup)?;
    println!();
    scripts(&mut summary);
    virtual_machine(&setup, &mut summary);
    let mut skipped = summary.skipped.clone();
    skipped.extend(setup.no_build.iter().map(|why| format!("agent, workload and what runs them: {why}")));
    skipped.extend(setup.no_nixl.iter().map(|why| format!("everything that runs NIXL: {why}")));
    skipped.extend(setup.no_other_nixl.iter().map(|why| format!("other releases of NIXL: {why}")));
    skipped.extend(setup.no_mooncake.iter().map(|why| format!("Mooncake: {why}")));
    for line in &skipped {
        println!("skipped: {line}");
    }
    let passed = summary.passed.saturating_sub(summary.counted_as_passed);
    println!("{passed} passed, {} failed, {} skipped", summary.failed, skipped.len());
    if summary.ok { Ok(()) } else { Err("tests failed".to_owned()) }
}

/// The tests of the scripts, where there is Python.
fn scripts(summary: &mut Summary) {
    for folder in ["tests/builds", "tests"] {
        let mut python = Command::new("python3");
        python.current_dir(project::root()).args(["-B", "-m", "unittest", "discover", "--start-directory", folder]);
        let Ok(output) = python.output() else {
            summary.skipped.push(format!("the scripts in {folder}: no python3"));
            continue;
        };
        // It writes to standard error.
        let said = String::from_utf8_lossy(&output.stderr);
        let ran = said.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u64>().ok());
        match ran {
            Some(ran) if output.status.success() && ran > 0 => {
                println!("scripts in {folder}: {ran} tests passed");
                summary.passed += ran;
            }
            _ => {
                println!("FAILED scripts in {folder}:\n{said}");
                summary.failed += 1;
                summary.ok = false;
            }
        }
    }
}

/// The checks of `./x vm`, where one can be made.
fn virtual_machine(setup: &Setup, summary: &mut Summary) {
    if setup.no_build.is_some() || setup.no_nixl.is_some() {
        return;
    }
    match vm::ready().map(|folder| vm::check(setup, &folder)) {
        Ok(Ok(checks)) => summary.passed += checks,
        Ok(Err(error)) => {
            println!("FAILED virtual machine: {error}");
            summary.failed += 1;
            summary.ok = false;
        }
        Err(why) => summary.skipped.push(format!("virtual machine: {why}")),
    }
}

/// The benchmarks; `words` go to cargo: `--bench drain`.
pub(crate) fn bench(setup: &Setup, words: &[String]) -> Result<()> {
    run(setup.cargo().current_dir(project::root().join("bench")).args(["bench", "--locked"]).args(words))
}

#[derive(Default)]
struct Summary {
    ok: bool,
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
    /// Tests that lacked what they need: they return early, and the test runner counts them as passed.
    counted_as_passed: u64,
}

/// Runs cargo test and reads its output as it comes: counts from the result lines, `SKIPPED name: why` from tests that
/// lack what they need.
fn tests(setup: &Setup) -> Result<Summary> {
    let mut child = setup
        .cargo()
        .args(["test", "--profile", "ci", "--locked", "--no-fail-fast"])
        .args(setup.buildable())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo test: {error}"))?;
    let (lines, incoming) = mpsc::channel();
    let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|out| Box::new(out) as Box<dyn std::io::Read + Send>),
        child.stderr.take().map(|err| Box::new(err) as Box<dyn std::io::Read + Send>),
    ];
    for output in outputs.into_iter().flatten() {
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(std::result::Result::ok) {
                let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    drop(lines);
    let mut summary = Summary::default();
    for line in incoming {
        println!("{line}");
        summary.read(&line);
    }
    let status = child.wait().map_err(|error| format!("cargo test: {error}"))?;
    summary.ok = status.success();
    Ok(summary)
}

impl Summary {
    fn read(&mut self, line: &str) {
        if let Some(at) = line.find("SKIPPED ") {
            self.skipped.push(line[at + "SKIPPED ".len()..].trim().to_owned());
            self.counted_as_passed += 1;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let words: Vec<&str> = result.split([' ', ';']).collect();
                words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse::<u64>().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.failed += count("failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_skips_are_read_from_the_output() {
        let mut summary = Summary::default();
        summary.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        summary.read("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        summary.read("SKIPPED live::records: no BPF here");
        summary.read("passed, not a result line");
        assert_eq!((summary.passed, summary.failed), (13, 2));
        assert_eq!((summary.skipped, summary.counted_as_passed), (vec!["live::records: no BPF here".to_owned()], 1));
    }
}
