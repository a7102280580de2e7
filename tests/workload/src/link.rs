//! Messages between the processes of a run: a length, then bytes, over Unix sockets.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// How long a process waits for another to come up.
const PATIENCE: Duration = Duration::from_secs(30);
/// No message is longer.
const LIMIT: usize = 64 << 20;

/// What a stage tells the decode process first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Stage.
    pub rank: u32,
    /// NIXL metadata of its agent.
    pub metadata: Vec<u8>,
    /// Where the regions of its layers lie.
    pub layers: Vec<usize>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// NIXL metadata of the decode agent.
    pub metadata: Vec<u8>,
    /// Where the regions of that stage's layers lie.
    pub layers: Vec<usize>,
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
}
