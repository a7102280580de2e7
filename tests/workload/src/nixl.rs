//! A NIXL agent with its UCX backend, as much of it as the workload needs; every call is timed into the truth.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow, bail};
use nixl_sys::{
    Agent, AgentConfig, Backend, MemType, NotificationMap, OptArgs, RegistrationHandle, XferDescList, XferDlistHandle,
    XferOp, XferRequest, XferStatus,
};

use crate::cli::{Make, Op};
use crate::device::Region;
use crate::ffi::MemoryRange;
use crate::layout::Listed;
use crate::truth::{ActionInfo, Span, Truth, timed};

/// NIXL's defaults, but a progress thread that rests between its rounds: without, three processes keep three CPUs busy,
/// and a machine with two of them measures its own scheduler.
fn config() -> AgentConfig {
    AgentConfig { pthr_delay_us: 100, ..AgentConfig::default() }
}

/// A peer's blocks and our own, prepared once for all requests.
pub struct Lists {
    /// Local list.
    pub local: XferDlistHandle,
    /// Remote list.
    pub remote: XferDlistHandle,
}

/// A hand-off.
pub struct HandoffPlan<'a> {
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
    pub listed: &'a Listed,
    /// Size of each block, bytes.
    pub bytes: usize,
    /// Kind of memory and device, here and there.
    pub memory: [(MemType, u64); 2],
    /// Lists that its positions are of.
    pub lists: &'a Lists,
}

/// A transfer that was posted.
pub struct PostedTransfer {
    handle: XferRequest,
    request: String,
    peer: String,
    bytes: u64,
    descriptors: usize,
    notif: String,
    pending: Option<(Span, Span, u64)>,
}

/// A handle that was made.
pub struct TransferHandle {
    flying: PostedTransfer,
}

/// A NIXL agent, its UCX backend and the notifications that it has received.
pub struct Node {
    agent: Agent,
    backend: Backend,
    notifs: HashMap<Vec<u8>, Vec<String>>,
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
        truth.say("agent", span, &ActionInfo::default())?;
        Ok(Self { agent, backend, notifs: HashMap::new() })
    }

    /// Registers a region.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn register(&self, region: &Region, truth: &mut Truth) -> anyhow::Result<RegistrationHandle> {
        let mut options = OptArgs::new()?;
        options.add_backend(&self.backend)?;
        let (span, handle) = timed(|| self.agent.register_memory(&MemoryRange::of(region), Some(&options)));
        let about = ActionInfo {
            bytes: Some(region.bytes as u64),
            detail: format!("{:#x}", region.address),
            ..ActionInfo::default()
        };
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

    /// Forgets a peer: what is posted to it from now on fails.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn forget_peer(&self, peer: &str) -> anyhow::Result<()> {
        self.agent.invalidate_remote_md(peer).context("forgetting a peer")
    }

    /// Prepares a list of blocks of such memory, of a peer or local.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn prepare(
        &self,
        peer: Option<&str>,
        addresses: &[usize],
        bytes: usize,
        memory: (MemType, u64),
    ) -> anyhow::Result<XferDlistHandle> {
        let list = list_of(addresses.iter().copied(), bytes, memory)?;
        self.agent.prepare_xfer_dlist(peer.unwrap_or(""), &list, None).context("preparing descriptors")
    }

    /// Sends a notification on its own.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn notify(&self, peer: &str, request: &str, message: &[u8], truth: &mut Truth) -> anyhow::Result<()> {
        let (span, sent) = timed(|| self.agent.send_notification(peer, message, Some(&self.backend)));
        let text = &String::from_utf8_lossy(message);
        truth.say("notif_sent", span, &ActionInfo { request, peer, result: text, ..ActionInfo::default() })?;
        sent.context("sending a notification")
    }

    /// How many notifications of exactly these bytes have come.
    pub fn came(&self, message: &[u8]) -> usize {
        self.notifs.get(message).map_or(0, Vec::len)
    }

    /// Takes the notifications that have come.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn take_notifs(&mut self, truth: &mut Truth) -> anyhow::Result<()> {
        let mut map = NotificationMap::new()?;
        let (span, taken) = timed(|| self.agent.get_notifications(&mut map, None));
        taken.context("taking notifications")?;
        for peer in map.agents() {
            let peer = peer?;
            for index in 0..map.get_notifications_size(peer)? {
                let message = map.get_notification_bytes(peer, index)?;
                let text = &String::from_utf8_lossy(&message);
                truth.say("notif_taken", span, &ActionInfo { peer, result: text, ..ActionInfo::default() })?;
                self.notifs.entry(message).or_default().push(peer.to_owned());
            }
        }
        Ok(())
    }

    /// Makes the handle of a hand-off.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn make(&self, what: &HandoffPlan<'_>, truth: &mut Truth) -> anyhow::Result<TransferHandle> {
        let HandoffPlan { op, make, peer, request, notif, listed, bytes, memory, lists } = what;
        let op = || match op {
            Op::Write => XferOp::Write,
            Op::Read => XferOp::Read,
        };
        let mut options = OptArgs::new()?;
        options.add_backend(&self.backend)?;
        options.set_notification_message(notif.as_bytes())?;
        options.set_has_notification(true)?;
        let (span, handle) = match make {
            Make::Prepped => timed(|| {
                self.agent.make_xfer_req(op(), &lists.local, &listed.here, &lists.remote, &listed.there, Some(&options))
            }),
            Make::Create => {
                let local = list_of(listed.pairs.iter().map(|pair| pair.0), *bytes, memory[0])?;
                let remote = list_of(listed.pairs.iter().map(|pair| pair.1), *bytes, memory[1])?;
                timed(|| self.agent.create_xfer_req(op(), &local, &remote, peer, Some(&options)))
            }
        };
        let made = handle.map(|handle| PostedTransfer {
            handle,
            request: (*request).to_owned(),
            peer: (*peer).to_owned(),
            bytes: (listed.pairs.len() * bytes) as u64,
            descriptors: listed.pairs.len(),
            notif: (*notif).to_owned(),
            pending: None,
        });
        let flying = made.context("making a request handle")?;
        truth.say("make", span, &flying.about())?;
        Ok(TransferHandle { flying })
    }

    /// Posts it. Gives the transfer if it goes on, nothing if it has ended.
    ///
    /// # Errors
    /// NIXL refuses; the handle is released then.
    pub fn post(
        &self,
        TransferHandle { flying }: TransferHandle,
        truth: &mut Truth,
    ) -> anyhow::Result<Option<PostedTransfer>> {
        let (span, posted) = timed(|| self.agent.post_xfer_req(&flying.handle, None));
        let result = match posted {
            Ok(true) => "in_progress",
            Ok(false) => "done",
            Err(_) => "failed",
        };
        truth.say("post", span, &ActionInfo { result, detail: flying.notif.clone(), ..flying.about() })?;
        match posted {
            Ok(true) => Ok(Some(flying)),
            Ok(false) => release(flying, truth).map(|()| None),
            Err(error) => {
                release(flying, truth)?;
                Err(anyhow!("posting: {error}"))
            }
        }
    }

    /// Polls a transfer once; gives it back if it goes on.
    ///
    /// # Errors
    /// It failed.
    pub fn poll(&self, mut flying: PostedTransfer, truth: &mut Truth) -> anyhow::Result<Option<PostedTransfer>> {
        let (span, status) = timed(|| self.agent.get_xfer_status(&flying.handle));
        let result = match status {
            Ok(XferStatus::InProgress) => {
                let (first, _, count) = flying.pending.unwrap_or((span, span, 0));
                flying.pending = Some((first, span, count + 1));
                return Ok(Some(flying));
            }
            Ok(XferStatus::Success) => "done",
            Err(_) => "failed",
        };
        if let Some((first, last, count)) = flying.pending {
            truth.say("poll_pending_first", first, &flying.about())?;
            truth.say("poll_pending_last", last, &ActionInfo { detail: count.to_string(), ..flying.about() })?;
        }
        truth.say("poll_done", span, &ActionInfo { result, ..flying.about() })?;
        release(flying, truth)?;
        match status {
            Ok(_) => Ok(None),
            Err(error) => bail!("the transfer failed: {error}"),
        }
    }
}

impl PostedTransfer {
    fn about(&self) -> ActionInfo<'_> {
        let (bytes, descriptors) = (Some(self.bytes), Some(self.descriptors));
        ActionInfo { request: &self.request, peer: &self.peer, bytes, descriptors, ..ActionInfo::default() }
    }
}

fn release(flying: PostedTransfer, truth: &mut Truth) -> anyhow::Result<()> {
    let PostedTransfer { handle, request, peer, bytes, descriptors, .. } = flying;
    let (span, ()) = timed(|| drop(handle));
    let about = ActionInfo {
        request: &request,
        peer: &peer,
        bytes: Some(bytes),
        descriptors: Some(descriptors),
        ..ActionInfo::default()
    };
    truth.say("release", span, &about)
}

fn list_of(
    addresses: impl Iterator<Item = usize>,
    bytes: usize,
    (memory, device): (MemType, u64),
) -> anyhow::Result<XferDescList<'static>> {
    let mut list = XferDescList::new(memory)?;
    for address in addresses {
        list.add_desc(address, bytes, device);
    }
    Ok(list)
}
