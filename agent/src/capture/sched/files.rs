//! What files threads wait for: sockets with both ends, pipes, devices, by `/proc`.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kvpath_schema::cell::Name;

/// Longest text that is kept, bytes.
const LONGEST: usize = 256;
/// Sockets that are remembered; then all are forgotten.
const SOCKETS: usize = 4_096;
/// How often the sockets of a process are read again for one that is not known, ns.
const READ_EVERY_NS: i64 = 1_000_000_000;

/// Files of processes.
#[derive(Debug, Default)]
pub struct Files {
    /// Since the last [`Files::forget`]: a descriptor may be another file later.
    open: HashMap<(i32, i32), Option<Name>>,
    /// By inode, which is not given to another socket soon.
    sockets: HashMap<u64, Name>,
    /// When the sockets of a process were read.
    read_ns: HashMap<i32, i64>,
}

impl Files {
    /// What a descriptor of a process is now; `None` if it is closed.
    pub fn text(&mut self, pid: i32, file: i32, now_ns: i64) -> Option<Name> {
        if let Some(known) = self.open.get(&(pid, file)) {
            return known.clone();
        }
        let link = fs::read_link(format!("/proc/{pid}/fd/{file}")).ok();
        let text = link.map(|link| match kind(&link.to_string_lossy()) {
            Kind::Socket(inode) => self.socket(pid, inode, now_ns),
            Kind::Other(text) => text,
        });
        self.open.insert((pid, file), text.clone());
        text
    }

    /// Descriptors may have changed.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    fn socket(&mut self, pid: i32, inode: u64, now_ns: i64) -> Name {
        let is_due = self.read_ns.get(&pid).is_none_or(|read| now_ns - read >= READ_EVERY_NS);
        if !self.sockets.contains_key(&inode) && is_due {
            self.read_ns.insert(pid, now_ns);
            if self.sockets.len() > SOCKETS || self.read_ns.len() > SOCKETS {
                self.sockets.clear();
                self.read_ns.clear();
            }
            let found = ["tcp", "tcp6", "unix"].into_iter().find_map(|protocol| {
                let table = fs::read_to_string(format!("/proc/{pid}/net/{protocol}")).ok()?;
                let own = table.lines().filter_map(|line| socket(protocol, line)).find(|(number, _)| *number == inode);
                own.map(|(_, text)| text)
            });
            // Of another family: it is not looked for again.
            self.sockets.insert(inode, found.unwrap_or_else(|| "socket".into()));
        }
        self.sockets.get(&inode).cloned().unwrap_or_else(|| "socket".into())
    }
}

#[derive(Debug, PartialEq)]
enum Kind {
    Socket(u64),
    Other(Name),
}

/// By the text of the link in `/proc/PID/fd`.
fn kind(link: &str) -> Kind {
    let bracket = |text: &str| text.strip_suffix(']').and_then(|text| text.parse().ok());
    if let Some(inode) = link.strip_prefix("socket:[").and_then(bracket) {
        return Kind::Socket(inode);
    }
    if link.starts_with("pipe:[") {
        return Kind::Other("pipe".into());
    }
    let anonymous = link.strip_prefix("anon_inode:").map(|name| name.trim_matches(['[', ']']));
    let text = anonymous.unwrap_or(link);
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= LONGEST).last();
    Kind::Other(text[..end.unwrap_or(0)].into())
}

/// A line of `/proc/net/tcp`, `tcp6` or `unix`: inode and text (`Documentation/networking/proc_net_tcp.rst`).
fn socket(protocol: &str, line: &str) -> Option<(u64, Name)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if protocol == "unix" {
        let inode = words.get(6)?.parse().ok()?;
        let text = words.get(7).map_or_else(|| "unix".to_owned(), |path| format!("unix {path}"));
        return Some((inode, text.into()));
    }
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    Some((words.get(9)?.parse().ok()?, format!("tcp {local} to {remote}").into()))
}

/// `0100007F:1F90`: words in the byte order of the machine, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words: Vec<u8> = (0..4).map(word).collect::<Option<Vec<_>>>()?.concat();
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn links_say_what_a_file_is() {
        let other = |text: &str| Kind::Other(text.into());
        assert_eq!(kind("socket:[4711]"), Kind::Socket(4711));
        assert_eq!(kind("pipe:[12]"), other("pipe"));
        assert_eq!(kind("anon_inode:[eventpoll]"), other("eventpoll"));
        assert_eq!(kind("/dev/nvidia0"), other("/dev/nvidia0"));
        assert_eq!(kind(&"ä".repeat(200)), other(&"ä".repeat(128)));
    }

    #[test]
    fn lines_of_the_kernels_tables_are_read_as_far_as_they_go() {
        let line = "  3: 0100007F:1F90 0200000A:0050 01 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 20";
        assert_eq!(socket("tcp", line), Some((4711, "tcp 127.0.0.1:8080 to 10.0.0.2:80".into())));
        let mapped = "0000000000000000FFFF00000100007F:0050";
        let line = format!("3: {mapped} {mapped} 01 0:0 0:0 0 0 0 4712");
        assert_eq!(socket("tcp6", &line), Some((4712, "tcp 127.0.0.1:80 to 127.0.0.1:80".into())));
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 4713 /run/x";
        assert_eq!(socket("unix", line), Some((4713, "unix /run/x".into())));
        for line in ["", "sl local_address rem_address", "1: 0100007F 0:0 1", "ÿ: ÿÿÿÿÿÿÿÿ:1 2 3 4 5 6 7 8 9"]
        {
            assert_eq!(socket("tcp", line), None, "{line}");
        }
    }

    #[test]
    fn a_connection_has_both_its_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let text = Files::default().text(pid, own.as_raw_fd(), 0);
        let expected = format!("tcp {} to {}", own.local_addr().unwrap(), own.peer_addr().unwrap());
        assert_eq!(text.as_deref(), Some(&*expected));
        assert_eq!(Files::default().text(pid, 1 << 20, 0), None);
    }
}
