//! The router: lets requests in, as many at once as it may or when a trace says, and measures their time to first token.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cli::{Knobs, Worker};
use crate::ffi::now_ns;
use crate::layout;
use crate::link::{Link, LinkMessage, ReceivedMessage, heard};
use crate::plan::Plan;
use crate::truth::{ActionInfo, Span, Truth};

/// What stage 0 calls itself; decode workers give their rank.
pub const STAGE: u32 = u32::MAX;

/// Where the router waits for stage 0 and the decode workers.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("router.sock")
}

/// Runs it to its end.
///
/// # Errors
/// Another process fails.
pub fn run(worker: &Worker) -> anyhow::Result<()> {
    let knobs = &worker.knobs;
    let plan = Plan::new(knobs)?;
    let truth = Truth::create(&worker.dir, "router")?;
    let listener = UnixListener::bind(socket(&worker.dir)).context("own socket")?;
    let (inbox, came) = mpsc::channel();
    let (mut stage, mut decodes) = (None, (0..knobs.decodes).map(|_| None).collect::<Vec<_>>());
    for _ in 0..=knobs.decodes {
        let mut link = Link::accept(&listener)?;
        let LinkMessage::Ready(who) = link.hear()? else { bail!("a process that does not say who it is") };
        link.read_into(who, inbox.clone())?;
        match decodes.get_mut(who as usize) {
            Some(decode) => *decode = Some(link),
            None => stage = Some(link),
        }
    }
    std::thread::sleep(Duration::from_millis(knobs.start_delay_ms));
    let stage = stage.context("no stage")?;
    let decodes = decodes.into_iter().collect::<Option<Vec<_>>>().context("two decode workers of one rank")?;
    let arrived = vec![0; plan.requests.len()];
    Router { knobs, plan: &plan, truth, inbox: came, stage, decodes, arrived }.work()
}

struct Router<'a> {
    knobs: &'a Knobs,
    plan: &'a Plan,
    truth: Truth,
    inbox: Receiver<ReceivedMessage>,
    stage: Link,
    decodes: Vec<Link>,
    /// When each request came, ns.
    arrived: Vec<i64>,
}

impl Router<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let (mut sent, mut ended) = (0, 0);
        while ended < self.knobs.requests {
            let wait = self.next(sent, ended, began.elapsed());
            if wait == Some(Duration::ZERO) {
                self.send(sent)?;
                sent += 1;
                continue;
            }
            match self.inbox.recv_timeout(wait.unwrap_or(Duration::from_secs(1))) {
                Ok(came) => {
                    self.hear(&came)?;
                    ended += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("all other processes are gone"),
            }
        }
        self.stage.say(&LinkMessage::End)?;
        self.decodes.iter_mut().try_for_each(|decode| decode.say(&LinkMessage::End))
    }

    /// How long until the next request; `None`: another must end first, or there is none.
    fn next(&self, sent: u32, ended: u32, elapsed: Duration) -> Option<Duration> {
        let request = self.plan.requests.get(sent as usize)?;
        match self.knobs.trace {
            Some(_) => Some(request.after.saturating_sub(elapsed)),
            None => (sent - ended < self.knobs.concurrency).then_some(Duration::ZERO),
        }
    }

    fn send(&mut self, request: u32) -> anyhow::Result<()> {
        self.arrived[request as usize] = now_ns();
        self.decodes[(request % self.knobs.decodes) as usize].say(&LinkMessage::Request(request))?;
        self.stage.say(&LinkMessage::Request(request))
    }

    fn hear(&mut self, ReceivedMessage { from, time_ns, message }: &ReceivedMessage) -> anyhow::Result<()> {
        let Some(message) = message else { bail!("connection {from} is gone") };
        let LinkMessage::FirstToken(request) = heard(message)? else { bail!("connection {from} speaks nonsense") };
        let start_ns = *self.arrived.get(request as usize).context("a request that never came")?;
        let tokens = self.plan.requests[request as usize].blocks * self.knobs.block_tokens;
        let id = layout::request_id(self.knobs, request);
        let about = ActionInfo { request: &id, detail: format!("tokens={tokens}"), ..ActionInfo::default() };
        self.truth.say("ttft", Span { start_ns, end_ns: *time_ns }, &about)
    }
}
