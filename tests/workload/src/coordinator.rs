//! Starts the processes of a run, waits for them, and puts their truth together.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::Run;
use crate::truth;
use crate::{decode, stage};

/// Folders of the wheel that may hold the libraries: one a CUDA version.
const LIBRARY_FOLDERS: [&str; 2] = [".nixl_cu12.mesonpy.libs", ".nixl_cu13.mesonpy.libs"];

/// Runs the workload.
///
/// # Errors
/// NIXL is not there, or a process fails.
pub fn run(run: &Run) -> anyhow::Result<()> {
    let libraries = libraries(&run.nixl)?;
    let dir = tempfile::Builder::new().prefix("kvpath-workload-").tempdir().context("temporary folder")?;
    let mut agents = vec![decode::AGENT.to_owned()];
    let mut children =
        vec![("decode".to_owned(), spawn(run, &libraries, dir.path(), "decode", 0, "kvpath-workload::decode_TP0")?)];
    for rank in 0..run.knobs.stages {
        agents.push(stage::agent_name(rank));
        let title = format!("kvpath-workload::prefill_PP{rank}_TP0");
        children.push((format!("stage {rank}"), spawn(run, &libraries, dir.path(), "stage", rank, &title)?));
    }
    let outcome = wait(&mut children);
    let parts: Vec<PathBuf> =
        agents.iter().map(|agent| truth::part(dir.path(), agent)).filter(|part| part.exists()).collect();
    truth::merge(&parts, &run.truth)?;
    outcome?;
    let knobs = &run.knobs;
    let bytes = u64::from(knobs.stages)
        * u64::from(knobs.requests)
        * u64::from(knobs.layers)
        * u64::from(knobs.blocks)
        * u64::from(knobs.block_kib);
    eprintln!(
        "kvpath-workload: {} requests through {} stages, {bytes} KiB handed over and verified; truth in {}",
        knobs.requests,
        knobs.stages,
        run.truth.display()
    );
    Ok(())
}

/// The folder with NIXL's libraries.
///
/// # Errors
/// There is no wheel.
pub fn libraries(nixl: &Path) -> anyhow::Result<PathBuf> {
    let found = LIBRARY_FOLDERS.iter().map(|name| nixl.join(name)).find(|path| path.join("libnixl_capi.so").exists());
    let Some(found) = found else {
        bail!(
            "{} holds no NIXL wheel (no {}/libnixl_capi.so): pip install --no-deps --target {} nixl-cu12==1.5.1",
            nixl.display(),
            LIBRARY_FOLDERS[0],
            nixl.display()
        );
    };
    found.canonicalize().context("the folder of the NIXL libraries")
}

fn spawn(run: &Run, libraries: &Path, dir: &Path, role: &str, rank: u32, title: &str) -> anyhow::Result<Child> {
    let mut worker = Command::new(std::env::current_exe().context("own program")?);
    worker.arg0(title).args(["worker", "--role", role, "--rank", &rank.to_string(), "--dir"]).arg(dir);
    environment(&mut worker, libraries, &run.tls);
    worker.args(run.knobs.to_args()).spawn().with_context(|| format!("starting {title}"))
}

/// What a process needs to find NIXL, and UCX its transports.
pub fn environment(command: &mut Command, libraries: &Path, tls: &str) {
    command.env("LD_LIBRARY_PATH", libraries).env("NIXL_PLUGIN_DIR", libraries.join("plugins")).env("UCX_TLS", tls);
    // The wheel's copy of libnl, which UCX's ib module loads, crashes in its exit handler where there is a libefa.
    if !tls.split(',').any(|transport| transport.starts_with("rc")) {
        command.env("UCX_MODULES", "^ib");
    }
}

/// Waits for all; when one fails, the others are ended too.
fn wait(children: &mut [(String, Child)]) -> anyhow::Result<()> {
    let mut running: Vec<usize> = (0..children.len()).collect();
    let mut failed = None;
    while !running.is_empty() && failed.is_none() {
        running.retain(|i| match children[*i].1.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) if status.success() => false,
            Ok(Some(status)) => {
                failed = Some(format!("{}: {status}", children[*i].0));
                false
            }
            Err(error) => {
                failed = Some(format!("{}: {error}", children[*i].0));
                false
            }
        });
        std::thread::sleep(Duration::from_millis(2));
    }
    let Some(failed) = failed else { return Ok(()) };
    for i in running {
        // It may have ended by itself in the meantime.
        let _ = children[i].1.kill();
        let _ = children[i].1.wait();
    }
    bail!("{failed}");
}
