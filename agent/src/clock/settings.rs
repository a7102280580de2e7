//! What the user sets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The shortest key, bytes.
const LEAST_KEY_BYTES: usize = 16;

/// Settings of the clock probes, as options and as `[clock]` of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocking {
    /// Where to listen, and send from.
    pub listen: SocketAddr,
    /// Whom to probe, each a host name or address and a port; none: probes of others are answered.
    #[serde(default)]
    pub peers: Vec<String>,
    /// File of the key.
    pub key: PathBuf,
}

/// Why a file holds no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is too short.
    #[error(
        "a key of {0} bytes is too short, it takes {LEAST_KEY_BYTES}: make one with `head -c 32 /dev/urandom | base64`"
    )]
    Short(usize),
}

/// The key in a file, without the end of its line.
///
/// # Errors
/// See [`KeyError`].
pub fn key(path: &Path) -> Result<Vec<u8>, KeyError> {
    let bytes = std::fs::read(path)?;
    let key = bytes.trim_ascii_end();
    if key.len() < LEAST_KEY_BYTES { Err(KeyError::Short(key.len())) } else { Ok(key.to_vec()) }
}

/// Checks the form of a peer: a host, a colon and a port.
///
/// # Errors
/// What is wrong with it.
pub fn peer(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is no peer, as node-b:7433");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_a_file_holds_without_its_end_of_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(key(&path).unwrap(), b"0123456789abcdef");
        std::fs::write(&path, "short\n").unwrap();
        assert!(key(&path).unwrap_err().to_string().contains("5 bytes is too short"));
        assert!(matches!(key(&folder.path().join("none")), Err(KeyError::Io(_))));
    }

    #[test]
    fn a_peer_has_a_port() {
        assert!(["node-b:7433", "10.0.0.2:1", "[::1]:7433"].iter().all(|text| peer(text).is_ok()));
        assert!(["node-b", "node-b:", ":7433", "node-b:0", "node-b:70000"].iter().all(|text| peer(text).is_err()));
    }
}
