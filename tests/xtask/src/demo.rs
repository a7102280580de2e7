//! `./x demo`: a live recording of real NIXL transfers and its report, then the report of an H200 recording.

use std::path::Path;
use std::process::Command;

use crate::project;
use crate::setup::{self, Setup};
use crate::shell::{Result, run, succeeds};

/// The bundled recording; its provenance lies beside it.
pub(crate) const BUNDLED: &str = "tests/fixtures/v1/vllm-full";

pub(crate) fn demo() -> Result<()> {
    let setup = setup::ready();
    setup.build()?;
    title("1. Live: two prefill stages hand KV to a decode process by NIXL on this machine");
    // Whatever happens here, the bundled recording is reported too.
    let live = match cannot_record(&setup) {
        None => live(),
        Some(why) => {
            println!("skipped: {why}");
            Ok(())
        }
    };
    title("2. Recorded by kvpath on H200s: vLLM, prefill PP=2, six requests, KV pushed by NIXL");
    report(&project::root().join(BUNDLED))?;
    live
}

fn title(text: &str) {
    println!("\n== {text}\n");
}

/// Why nothing can be recorded here; the agent's own doctor knows best.
fn cannot_record(setup: &Setup) -> Option<String> {
    if let Some(why) = setup.no_build.as_ref().or(setup.no_nixl.as_ref()) {
        return Some(why.clone());
    }
    let doctor = || Command::new(project::binary("kvpath-agent"));
    if succeeds(doctor().arg("doctor")) {
        return None;
    }
    let _ = doctor().arg("doctor").status();
    Some("recording needs root (or CAP_BPF and CAP_PERFMON) and a kernel with BPF: see the doctor's table".to_owned())
}

fn live() -> Result<()> {
    let out = project::target().join("demo");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let recording = out.join("live");
    run(Command::new(project::binary("kvpath-agent"))
        .arg("record")
        .arg("--out")
        .arg(&recording)
        // Named, so that not even the first call of the first process is missed.
        .args(
            ["libnixl.so", "plugins/libplugin_UCX.so"].iter().flat_map(|library| {
                ["--library".into(), project::nixl().join(".nixl_cu12.mesonpy.libs").join(library)]
            }),
        )
        .arg("--")
        .arg(project::binary("kvpath-workload"))
        .args(["run", "--stages", "2", "--requests", "3", "--scatter", "--nixl"])
        .arg(project::nixl())
        .arg("--truth")
        .arg(out.join("truth.tsv")))?;
    println!();
    report(&recording)?;
    println!("\nThe recording: {} (Parquet). Ask it more:\n", recording.display());
    println!("  {} sql {} handoffs.transfers", project::binary("kvpath").display(), recording.display());
    Ok(())
}

fn report(recording: &Path) -> Result<()> {
    run(Command::new(project::binary("kvpath")).arg("report").arg(recording))
}
