//! A NIXL agent with its UCX backend, as much of it as the workload needs; every call is timed into the truth.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nixl_sys::{
    Agent, AgentConfig, Backend, MemType, NotificationMap, OptArgs, RegistrationHandle, XferDescList, XferDlistHandle,
    XferOp, XferRequest, XferStatus,
};

use crate::cli::{Make, Op};
use crate::ffi::{Region, now_ns};
use crate::layout::Listed;
use crate::truth::{About, Span, Truth, timed};

/// NIXL's defaults, but a progress thread that rests between its rounds: without, three processes keep three CPUs busy,
/// and a machine with two of them measures its own scheduler.
fn config() -> AgentConfig {
    AgentConfig { pthr_delay_us: 100, ..AgentConfig::default() }
}

/// Time between two polls of a transfer.
const POLL_EVERY: Duration = Duration::from_micros(50);

/// Blocks to move: pairs of local and remote address, all of one size.
pub struct Blocks<'a> {
    /// Addresses.
    pub pairs: &'a [(usize, usize)],
    /// Size of each, bytes.
    pub bytes: usize,
}

/// Lists that were prepared once for all requests, and which of their entries to use.
pub struct Prepared<'a> {
    /// Local list.
    pub local: &'a XferDlistHandle,
    /// Remote list.
    pub remote: &'a XferDlistHandle,
    /// Entries of both.
    pub listed: &'a Listed,
}

/// A hand-over.
pub struct HandOver<'a> {
    /// Which way.
    pub op: Op,
    /// How the handle is made.
    pub make: Make,
    /// With whom.
    pub peer: &'a str,
    /// Request.
    pub request: &'a str,
    /// Text of the notification.
    pub notif: &'a str,
    /// What.
    pub blocks: Blocks<'a>,
    /// The same by prepared lists.
    pub prepared: Prepared<'a>,
}

/// See the module.
pub struct Node {
    agent: Agent,
    backend: Backend,
    name: String,
    notifs: HashMap<String, Vec<String>>,
}

impl Node {
    /// Makes the agent.
    ///
    /// # Errors
    /// The NIXL library is not there, or its UCX backend cannot be made.
    pub fn new(name: &str, truth: &mut Truth) -> anyhow::Result<Self> {
        // Any other call would abort the process if the library were not there.
        if nixl_sys::is_stub() {
            bail!("libnixl_capi.so cannot be loaded; is it in LD_LIBRARY_PATH?");
        }
        let (span, made) = timed(|| -> anyhow::Result<(Agent, Backend)> {
            let agent = Agent::new_configured(name, &config()).context("making the NIXL agent")?;
            let (_, params) = agent.get_plugin_params("UCX").context("the UCX plugin")?;
            let backend = agent.create_backend("UCX", &params).context("making the UCX backend")?;
            Ok((agent, backend))
        });
        let (agent, backend) = made?;
        truth.say("agent", span, &About::default())?;
        Ok(Self { agent, backend, name: name.to_owned(), notifs: HashMap::new() })
    }

    /// Registers a region.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn register(&self, region: &Region, bytes: usize, truth: &mut Truth) -> anyhow::Result<RegistrationHandle> {
        let mut options = OptArgs::new()?;
        options.add_backend(&self.backend)?;
        let (span, handle) = timed(|| self.agent.register_memory(region, Some(&options)));
        let about = About { bytes: Some(bytes as u64), detail: format!("{:#x}", region.address()), ..About::default() };
        truth.say("register", span, &about)?;
        handle.context("registering memory")
    }

    /// What peers need to reach this agent.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn metadata(&self) -> anyhow::Result<Vec<u8>> {
        self.agent.get_local_md().context("own metadata")
    }

    /// Makes a peer known; gives its name.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn add_peer(&self, metadata: &[u8]) -> anyhow::Result<String> {
        self.agent.load_remote_md(metadata).context("a peer's metadata")
    }

    /// Prepares a list of blocks, of a peer or local.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn prepare(&self, peer: Option<&str>, addresses: &[usize], bytes: usize) -> anyhow::Result<XferDlistHandle> {
        let list = list_of(addresses.iter().copied(), bytes)?;
        self.agent.prepare_xfer_dlist(peer.unwrap_or(""), &list, None).context("preparing descriptors")
    }

    /// Sends a notification on its own.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn notify(&self, peer: &str, request: &str, text: &str, truth: &mut Truth) -> anyhow::Result<()> {
        let (span, sent) = timed(|| self.agent.send_notification(peer, text.as_bytes(), Some(&self.backend)));
        truth.say("notif_sent", span, &About { request, peer, result: text, ..About::default() })?;
        sent.context("sending a notification")
    }

    /// Waits until `count` notifications of exactly this text have come from anybody; gives their senders.
    ///
    /// # Errors
    /// NIXL refuses, or they do not come in time.
    pub fn await_notifs(&mut self, text: &str, count: usize, truth: &mut Truth) -> anyhow::Result<Vec<String>> {
        let since = now_ns();
        loop {
            let senders = self.notifs.entry(text.to_owned()).or_default();
            if senders.len() >= count {
                return Ok(std::mem::take(senders));
            }
            if now_ns() - since > 60_000_000_000 {
                bail!("{}: waited a minute for {count} notifications `{text}`, got {}", self.name, senders.len());
            }
            self.take_notifs(truth)?;
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn take_notifs(&mut self, truth: &mut Truth) -> anyhow::Result<()> {
        let mut map = NotificationMap::new()?;
        let (span, taken) = timed(|| self.agent.get_notifications(&mut map, None));
        taken.context("taking notifications")?;
        for (peer, texts) in map.take_notifs()? {
            for text in texts {
                truth.say("notif_taken", span, &About { peer: &peer, result: &text, ..About::default() })?;
                self.notifs.entry(text).or_default().push(peer.clone());
            }
        }
        Ok(())
    }

    /// Moves blocks to or from a peer, with a notification, and waits until NIXL says that they are there.
    ///
    /// # Errors
    /// NIXL refuses, or the transfer fails.
    pub fn hand_over(&self, what: &HandOver<'_>, truth: &mut Truth) -> anyhow::Result<()> {
        let HandOver { op, make, peer, request, notif, blocks, prepared } = what;
        let op = || match op {
            Op::Write => XferOp::Write,
            Op::Read => XferOp::Read,
        };
        let mut options = OptArgs::new()?;
        options.add_backend(&self.backend)?;
        options.set_notification_message(notif.as_bytes())?;
        options.set_has_notification(true)?;
        let about = About {
            request,
            peer,
            bytes: Some((blocks.pairs.len() * blocks.bytes) as u64),
            descriptors: Some(blocks.pairs.len()),
            ..About::default()
        };
        let (span, handle) = match make {
            Make::Prepped => timed(|| {
                self.agent.make_xfer_req(
                    op(),
                    prepared.local,
                    &prepared.listed.here,
                    prepared.remote,
                    &prepared.listed.there,
                    Some(&options),
                )
            }),
            Make::Create => {
                let local = list_of(blocks.pairs.iter().map(|pair| pair.0), blocks.bytes)?;
                let remote = list_of(blocks.pairs.iter().map(|pair| pair.1), blocks.bytes)?;
                timed(|| self.agent.create_xfer_req(op(), &local, &remote, peer, Some(&options)))
            }
        };
        truth.say("make", span, &about)?;
        let handle = handle.context("making a request handle")?;
        let (span, posted) = timed(|| self.agent.post_xfer_req(&handle, None));
        let posted = posted.context("posting")?;
        let result = if posted { "in_progress" } else { "done" };
        truth.say("post", span, &About { result, detail: (*notif).to_owned(), ..about.clone() })?;
        if posted {
            self.poll(&handle, &about, truth)?;
        }
        let (span, ()) = timed(|| drop(handle));
        truth.say("release", span, &about)
    }

    fn poll(&self, handle: &XferRequest, about: &About<'_>, truth: &mut Truth) -> anyhow::Result<()> {
        let mut pending: Option<(Span, Span, u64)> = None;
        let done = loop {
            let (span, status) = timed(|| self.agent.get_xfer_status(handle));
            match status.map_err(|error| anyhow!("the transfer failed: {error}"))? {
                XferStatus::Success => break span,
                XferStatus::InProgress => {
                    let (first, _, count) = pending.unwrap_or((span, span, 0));
                    pending = Some((first, span, count + 1));
                }
            }
            std::thread::sleep(POLL_EVERY);
        };
        if let Some((first, last, count)) = pending {
            truth.say("poll_pending_first", first, about)?;
            truth.say("poll_pending_last", last, &About { detail: count.to_string(), ..about.clone() })?;
        }
        truth.say("poll_done", done, &About { result: "done", ..about.clone() })
    }
}

fn list_of(addresses: impl Iterator<Item = usize>, bytes: usize) -> anyhow::Result<XferDescList<'static>> {
    let mut list = XferDescList::new(MemType::Dram)?;
    for address in addresses {
        list.add_desc(address, bytes, 0);
    }
    Ok(list)
}
