//! Messages between the processes of a run: a length, then bytes, over Unix sockets. Each connection is read by a thread of its
//! own, so that a process can do other things while it waits.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ffi::now_ns;

/// How long a process waits for another to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// No message is longer.
const LIMIT: usize = 64 << 20;

/// What a stage tells a decode worker first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Stage.
    pub rank: u32,
    /// NIXL metadata of its agent.
    pub metadata: Vec<u8>,
    /// Where its regions lie.
    pub regions: Vec<usize>,
    /// Device of its regions.
    pub device_id: u64,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Its pid.
    pub pid: u32,
    /// NIXL metadata of the decode agent.
    pub metadata: Vec<u8>,
    /// Where the regions of that stage's layers lie.
    pub regions: Vec<usize>,
    /// Device of its regions.
    pub device_id: u64,
}

/// What the router hears and says, and stages say to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkMessage {
    /// To the router, first: a process is set up. Stage 0 is `u32::MAX`, decode workers their rank.
    Ready(u32),
    /// From the router: a request has come.
    Request(u32),
    /// To the router: a request's first token is there.
    FirstToken(u32),
    /// From the router: there are no more requests.
    End,
    /// From a stage to the next: the activations of a part of a request follow.
    Activations {
        /// Request.
        request: u32,
        /// Position in its parts.
        part: u32,
    },
    /// From a stage to the one before: activations were taken, their buffer is free.
    Taken,
}

/// A message and when it came, ns.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// Which connection, as the reader was told.
    pub from: u32,
    /// When.
    pub time_ns: i64,
    /// The message; `None`: the other side is gone.
    pub message: Option<Vec<u8>>,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Link(UnixStream);

impl Link {
    /// Connects, once the other side listens.
    ///
    /// # Errors
    /// It does not listen in time.
    pub fn connect(path: &Path) -> anyhow::Result<Self> {
        let since = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Ok(Self(stream)),
                Err(error) if since.elapsed() > PATIENCE => {
                    return Err(error).with_context(|| format!("connecting to {}", path.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// The socket fails.
    pub fn accept(listener: &UnixListener) -> anyhow::Result<Self> {
        Ok(Self(listener.accept().context("accepting a connection")?.0))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let len = u32::try_from(message.len()).context("message too long")?;
        self.0.write_all(&len.to_le_bytes()).and_then(|()| self.0.write_all(message)).context("the other side is gone")
    }

    /// Says something.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn say(&mut self, what: &impl Serialize) -> anyhow::Result<()> {
        self.send(&serde_json::to_vec(what)?)
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// The other side is gone, or sends nonsense.
    pub fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).context("the other side is gone")?;
        let len = u32::from_le_bytes(len) as usize;
        if len > LIMIT {
            bail!("a message of {len} bytes");
        }
        let mut message = vec![0; len];
        self.0.read_exact(&mut message).context("the other side is gone")?;
        Ok(message)
    }

    /// Waits for something that is said.
    ///
    /// # Errors
    /// As [`Self::receive`], or it is something else.
    pub fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        heard(&self.receive()?)
    }

    /// Reads all messages from now on in a thread of their own, into a channel. This end can still send.
    ///
    /// # Errors
    /// The system has no thread or file for it.
    pub fn read_into(&self, from: u32, into: Sender<ReceivedMessage>) -> anyhow::Result<()> {
        let mut reader = Self(self.0.try_clone().context("a second end of the connection")?);
        let read = move || {
            loop {
                let message = reader.receive().ok();
                let is_over = message.is_none();
                if into.send(ReceivedMessage { from, time_ns: now_ns(), message }).is_err() || is_over {
                    return;
                }
            }
        };
        std::thread::Builder::new().name(format!("inbox-{from}")).spawn(read).context("a thread")?;
        Ok(())
    }
}

/// Something that was said.
///
/// # Errors
/// It is something else.
pub fn heard<T: DeserializeOwned>(message: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(message).context("another process speaks nonsense")
}
