//! What NIXL's calls cost: two agents of one process, and each call by itself. With and without a recorder beside it, this is
//! what recording costs a call.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use nixl_sys::{Agent, AgentConfig, Backend, MemType, OptArgs, XferDescList, XferOp, XferStatus};

use crate::cli::Calls;
use crate::coordinator;
use crate::device::{Device as _, Region, cpu::Cpu};
use crate::ffi::{MemoryRange, now_ns};

/// Size of a block, bytes; every second one is used, so that NIXL cannot merge neighbours.
const BLOCK: usize = 256;
/// Polls of a finished handle that are timed together.
const POLLS: i64 = 100;

/// Prints a line for each call and number of descriptors: `CALL DESCRIPTORS NS`, the median of all rounds.
///
/// # Errors
/// NIXL is not there, or refuses.
pub fn run(calls: &Calls) -> anyhow::Result<()> {
    // NIXL's libraries are found by variables that must be there when the process starts.
    if std::env::var_os("NIXL_PLUGIN_DIR").is_none() {
        let libraries = coordinator::libraries(&calls.nixl)?;
        let mut again = Command::new(std::env::current_exe().context("own program")?);
        again.args(std::env::args_os().skip(1));
        coordinator::environment(&mut again, &libraries, "tcp");
        bail!("starting anew: {}", again.exec());
    }
    if nixl_sys::is_stub() {
        bail!("libnixl_capi.so cannot be loaded; is it in LD_LIBRARY_PATH?");
    }
    let most = calls.descriptors.iter().copied().max().unwrap_or(1);
    let (from, to) = (Side::new("from", most)?, Side::new("to", most)?);
    let peer = from.agent.load_remote_md(&to.agent.get_local_md()?).context("the peer's metadata")?;
    for count in &calls.descriptors {
        let local = from.agent.prepare_xfer_dlist("", &list(&from.region, most)?, None)?;
        let remote = from.agent.prepare_xfer_dlist(&peer, &list(&to.region, most)?, None)?;
        let indices: Vec<i32> = (0..*count).collect();
        let mut options = OptArgs::new()?;
        options.add_backend(&from.backend)?;
        let mut costs = [const { Vec::new() }; 4];
        for _ in 0..calls.rounds {
            let start = now_ns();
            let handle =
                from.agent.make_xfer_req(XferOp::Write, &local, &indices, &remote, &indices, Some(&options))?;
            let made = now_ns();
            let mut pending = from.agent.post_xfer_req(&handle, None)?;
            let posted = now_ns();
            while pending {
                pending = matches!(from.agent.get_xfer_status(&handle)?, XferStatus::InProgress);
            }
            let finished = now_ns();
            for _ in 0..POLLS {
                from.agent.get_xfer_status(&handle)?;
            }
            let polled = now_ns();
            drop(handle);
            let released = now_ns();
            let round = [made - start, posted - made, (polled - finished) / POLLS, released - polled];
            costs.iter_mut().zip(round).for_each(|(costs, cost)| costs.push(cost));
        }
        for (name, mut costs) in ["make", "post", "poll", "release"].into_iter().zip(costs) {
            costs.sort_unstable();
            println!("{name} {count} {}", costs[costs.len() / 2]);
        }
    }
    if calls.storm > 0 { storm(&from, &to, &peer, calls.storm) } else { Ok(()) }
}

/// Polls a finished handle without pause, and prints how long one took: `storm 1 NS`.
#[expect(clippy::cast_precision_loss, reason = "of times and counts far below 2^53")]
fn storm(from: &Side, to: &Side, peer: &str, seconds: u64) -> anyhow::Result<()> {
    let mut options = OptArgs::new()?;
    options.add_backend(&from.backend)?;
    let handle = from.agent.create_xfer_req(
        XferOp::Write,
        &list(&from.region, 1)?,
        &list(&to.region, 1)?,
        peer,
        Some(&options),
    )?;
    let mut pending = from.agent.post_xfer_req(&handle, None)?;
    while pending {
        pending = matches!(from.agent.get_xfer_status(&handle)?, XferStatus::InProgress);
    }
    let (start, mut polls) = (now_ns(), 0);
    let end = start + i64::try_from(seconds)? * 1_000_000_000;
    let mut now = start;
    while now < end {
        for _ in 0..POLLS {
            from.agent.get_xfer_status(&handle)?;
        }
        polls += POLLS;
        now = now_ns();
    }
    println!("storm 1 {:.1}", (now - start) as f64 / polls as f64);
    Ok(())
}

/// One of the two agents.
struct Side {
    region: Region,
    backend: Backend,
    /// Goes after what was made of it.
    agent: Agent,
}

impl Side {
    fn new(name: &str, descriptors: i32) -> anyhow::Result<Self> {
        let agent = Agent::new_configured(name, &AgentConfig::default()).context("making the NIXL agent")?;
        let (_, params) = agent.get_plugin_params("UCX").context("the UCX plugin")?;
        let backend = agent.create_backend("UCX", &params).context("making the UCX backend")?;
        let region = Cpu::default().region(2 * BLOCK * usize::try_from(descriptors)?)?;
        let mut options = OptArgs::new()?;
        options.add_backend(&backend)?;
        // Registered until the process ends.
        std::mem::forget(
            agent.register_memory(&MemoryRange::of(&region), Some(&options)).context("registering memory")?,
        );
        Ok(Self { region, backend, agent })
    }
}

fn list(region: &Region, descriptors: i32) -> anyhow::Result<XferDescList<'static>> {
    let mut list = XferDescList::new(MemType::Dram)?;
    for at in 0..usize::try_from(descriptors)? {
        list.add_desc(region.address + 2 * at * BLOCK, BLOCK, 0);
    }
    Ok(list)
}
