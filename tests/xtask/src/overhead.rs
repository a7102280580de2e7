//! `./x overhead`: what recording costs each NIXL call, off and on in turn, and what the agent itself takes.

#![expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project;
use crate::setup::Setup;
use crate::shell::{Result, output};

/// Pairs of a run without and a run with the recorder.
const PAIRS: usize = 5;

/// Call and number of descriptors.
type Call = (String, u64);

pub(crate) fn overhead(setup: &Setup) -> Result<()> {
    setup.build()?;
    if let Some(why) = setup.no_build.as_ref().or(setup.no_nixl.as_ref()) {
        return Err(format!("nothing can be measured here: {why}"));
    }
    let folder = project::target().join("overhead");
    let (mut off, mut on): (BTreeMap<Call, Vec<f64>>, BTreeMap<Call, Vec<f64>>) = Default::default();
    for pair in 0..PAIRS {
        take(&mut off, &output(&mut workload())?)?;
        let _ = std::fs::remove_dir_all(&folder);
        let calls = workload();
        let mut recorder = Command::new(project::binary("kvpath-agent"));
        recorder.args(["record", "--gpu", "off", "--out"]).arg(folder.join("run")).arg("--");
        recorder.arg(calls.get_program()).args(calls.get_args());
        take(&mut on, &output(&mut recorder)?)?;
        eprintln!("pair {} of {PAIRS}", pair + 1);
    }
    println!("| call | descriptors | off, us | recorded, us | ratio |\n|---|---|---|---|---|");
    for ((call, descriptors), off) in &off {
        let on = on.get(&(call.clone(), *descriptors)).ok_or("a recorded run printed other calls")?;
        let (off, on) = (median(off), median(on));
        println!("| {call} | {descriptors} | {:.2} | {:.2} | {:.2} |", off / 1e3, on / 1e3, on / off);
    }
    println!();
    agent(&folder)
}

/// What the agent takes of the machine, and how much its ring carries, while a program makes, posts and releases as fast as it can.
fn agent(folder: &Path) -> Result<()> {
    println!(
        "| program | events | events a second | lost | agent, % of a core | us an event | peak RSS, MB |\n|---|---|---|---|---|---|---|"
    );
    // Transfers, and the descriptors that come with each.
    for (descriptors, rounds) in [(1, 50_000), (512, 4_000)] {
        let _ = std::fs::remove_dir_all(folder);
        let mut recorder = Command::new(project::binary("kvpath-agent"));
        // The budget would take the probes off.
        recorder
            .args(["record", "--gpu", "off", "--max-overhead", "100000", "--out"])
            .arg(folder.join("run"))
            .arg("--");
        recorder.arg(project::binary("kvpath-workload")).args(["calls", "--nixl"]).arg(project::nixl());
        recorder.args(["--descriptors", &descriptors.to_string(), "--rounds", &rounds.to_string()]);
        let start = Instant::now();
        let mut recorder =
            recorder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let mut taken = ProcessUse::default();
        while recorder.try_wait().map_err(|error| error.to_string())?.is_none() {
            taken.look(recorder.id());
            std::thread::sleep(Duration::from_millis(20));
        }
        let seconds = start.elapsed().as_secs_f64();
        // Made, posted and its return, released and its return; a descriptor is an event of its own.
        let events = count(folder, "SELECT 5 * count(*) FROM nixl_transfers")?
            + count(folder, "SELECT count(*) FROM nixl_descriptors")?;
        let lost = count(folder, "SELECT coalesce(sum(count), 0) FROM drops")?;
        println!(
            "| make, post, release of {descriptors} descriptors | {events} | {:.0} | {lost} | {:.1} | {:.2} | {:.1} |",
            events as f64 / seconds,
            100.0 * taken.cpu_s / seconds,
            1e6 * taken.cpu_s / events as f64,
            taken.rss_kb as f64 / 1e3,
        );
    }
    Ok(())
}

/// What a process has taken when it was last looked at.
#[derive(Default)]
struct ProcessUse {
    cpu_s: f64,
    rss_kb: u64,
}

impl ProcessUse {
    fn look(&mut self, pid: u32) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // In ticks of 10 ms, behind the name, which may hold blanks.
        let stat = read("stat");
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
        if let (Some(Ok(user)), Some(Ok(system))) =
            (fields.next().map(str::parse::<u64>), fields.next().map(str::parse::<u64>))
        {
            self.cpu_s = self.cpu_s.max((user + system) as f64 / 100.0);
        }
        let peak = read("status")
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        self.rss_kb = self.rss_kb.max(peak.unwrap_or(0));
    }
}

fn count(folder: &Path, query: &str) -> Result<u64> {
    let mut kvpath = Command::new(project::binary("kvpath"));
    let text = output(kvpath.arg("sql").arg(folder.join("run")).arg(query).args(["--format", "csv"]))?;
    text.lines().last().and_then(|line| line.parse().ok()).ok_or_else(|| format!("`{text}` is no count"))
}

fn workload() -> Command {
    let mut calls = Command::new(project::binary("kvpath-workload"));
    calls.args(["calls", "--storm", "10", "--nixl"]).arg(project::nixl());
    calls
}

/// Adds the medians that a run printed: `CALL DESCRIPTORS NS`.
fn take(into: &mut BTreeMap<Call, Vec<f64>>, text: &str) -> Result<()> {
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let parsed = match words[..] {
            [call, descriptors, ns] => descriptors.parse().ok().zip(ns.parse().ok()).map(|found| (call, found)),
            _ => None,
        };
        let (call, (descriptors, ns)) = parsed.ok_or_else(|| format!("`{line}` is no measurement"))?;
        into.entry((call.to_owned(), descriptors)).or_default().push(ns);
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_measurements_or_an_error() {
        let mut found = BTreeMap::new();
        take(&mut found, "post 1 6569\nmake 1 2180\npost 1 7000\n").unwrap();
        assert_eq!(found[&("post".to_owned(), 1)], [6569.0, 7000.0]);
        assert!(take(&mut found, "post 1").unwrap_err().contains("`post 1`"));
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
