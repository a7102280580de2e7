//! `./x overhead`: what recording costs each NIXL call, off and on in turn.

use std::collections::BTreeMap;
use std::process::Command;

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
    Ok(())
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
