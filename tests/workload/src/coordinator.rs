//! Starts the processes of a run, waits for them, and puts their truth together.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;

use crate::cli::{Role, Run};
use crate::plan::Plan;
use crate::{decode, stage, truth};

/// Folders of the wheel that may hold the libraries: one a CUDA version.
const LIBRARY_FOLDERS: [&str; 2] = [".nixl_cu12.mesonpy.libs", ".nixl_cu13.mesonpy.libs"];

/// Runs the workload.
///
/// # Errors
/// NIXL is not there, or a process fails.
pub fn run(run: &Run) -> anyhow::Result<()> {
    let knobs = &run.knobs;
    knobs.check()?;
    check(run)?;
    // Read here first: one error instead of one from each process.
    let plan = Plan::new(knobs)?;
    let libraries = libraries(&run.nixl)?;
    if let Some(mbit) = run.link_mbit.filter(|_| !run.in_own_network) {
        bail!("starting anew in a network of its own: {}", own_network(mbit).exec());
    }
    let dir = tempfile::Builder::new().prefix("kvpath-workload-").tempdir().context("temporary folder")?;
    let mut starter = Starter { run, libraries, dir: dir.path(), children: Vec::new() };
    for rank in 0..knobs.decodes {
        starter.start(Role::Decode, rank, &decode::agent_name(rank), "decode_TP0")?;
    }
    for rank in 0..knobs.stages {
        starter.start(Role::Stage, rank, &format!("stage-{rank}"), &format!("prefill_PP{rank}_TP0"))?;
    }
    starter.start(Role::Router, 0, "router", "router")?;
    let outcome = wait(&mut starter.children);
    let agents = (0..knobs.decodes).map(decode::agent_name).chain((0..knobs.stages).map(stage::agent_name));
    let parts = agents.chain(["router".to_owned()]).map(|agent| truth::part(dir.path(), &agent));
    let parts: Vec<PathBuf> = parts.filter(|part| part.exists()).collect();
    truth::merge(&parts, &run.truth)?;
    outcome?;
    let blocks = u64::from(plan.slots()) * u64::from(knobs.layers_before(knobs.stages));
    eprintln!(
        "kvpath-workload: {} requests through {} stages, {} KiB handed over and verified, {}; truth in {}",
        knobs.requests,
        knobs.stages,
        blocks * u64::from(knobs.block_kib),
        truth::ttft(&run.truth)?,
        run.truth.display()
    );
    Ok(())
}

/// Refuses what would do nothing.
fn check(run: &Run) -> anyhow::Result<()> {
    let knobs = &run.knobs;
    let stages = (0..knobs.stages).map(|rank| format!("stage-{rank}"));
    let names: Vec<String> =
        (0..knobs.decodes).map(decode::agent_name).chain(stages).chain(["router".to_owned()]).collect();
    for (at, skew) in run.skew.iter().enumerate() {
        anyhow::ensure!(names.contains(&skew.process), "--skew {}: there are {}", skew.process, names.join(", "));
        let is_first = run.skew[..at].iter().all(|other| other.process != skew.process);
        anyhow::ensure!(is_first, "--skew {}: twice", skew.process);
    }
    anyhow::ensure!(
        run.link_mbit.is_none()
            || run.tls.split(',').all(|transport| ["tcp", "self", "cuda_copy"].contains(&transport)),
        "--link-mbit slows TCP alone, and --tls {} has other ways",
        run.tls
    );
    Ok(())
}

/// This very command in a network namespace, in which all TCP shares that many Mbit/s.
fn own_network(mbit: u64) -> Command {
    let script = "ip link set lo up && tc qdisc add dev lo root tbf rate \"$0\"mbit burst 256kb latency 1s && exec \"$@\" --in-own-network";
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "sh", "-c", script, &mbit.to_string()]).args(std::env::args_os());
    unshare
}

struct Starter<'a> {
    run: &'a Run,
    libraries: PathBuf,
    dir: &'a Path,
    children: Vec<(String, Child)>,
}

impl Drop for Starter<'_> {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Starter<'_> {
    fn start(&mut self, role: Role, rank: u32, name: &str, title: &str) -> anyhow::Result<()> {
        let own = std::env::current_exe().context("own program")?;
        let title = format!("kvpath-workload::{title}");
        let mut worker = match self.run.skew.iter().find(|skew| skew.process == name) {
            None => {
                let mut worker = Command::new(own);
                worker.arg0(title);
                worker
            }
            Some(skew) => {
                let mut unshare = Command::new("unshare");
                let seconds = format!("--monotonic={}", skew.seconds);
                unshare.args(["--time", &seconds, "bash", "-c", "exec -a \"$0\" \"$@\""]).arg(title).arg(own);
                unshare
            }
        };
        let role = role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        worker.args(["worker", "--role", &role, "--rank", &rank.to_string(), "--dir"]).arg(self.dir);
        worker.arg("--knobs").arg(serde_json::to_string(&self.run.knobs)?);
        environment(&mut worker, &self.libraries, &self.run.tls);
        self.children.push((name.to_owned(), worker.spawn().with_context(|| format!("starting {name}"))?));
        Ok(())
    }
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

/// What a process needs to find NIXL, and UCX its transports.
pub fn environment(command: &mut Command, libraries: &Path, tls: &str) {
    // What is there already may be CUDA's.
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(libraries.to_owned()).chain(std::env::split_paths(&before));
    let paths = std::env::join_paths(folders).unwrap_or_else(|_| libraries.into());
    command.env("LD_LIBRARY_PATH", paths).env("NIXL_PLUGIN_DIR", libraries.join("plugins")).env("UCX_TLS", tls);
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
