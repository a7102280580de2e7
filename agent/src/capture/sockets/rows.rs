//! Counters of connections to rows. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kvpath_schema::cell::Name;
use kvpath_schema::tables::sockets::Socket;
use kvpath_schema::wire::sockets::{Flow, FlowKey};

use super::programs::{FlowKeyWords, FlowWords};

/// A key's parts.
pub fn key([sk, rest]: FlowKeyWords) -> FlowKey {
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    FlowKey { sk, tgid: half(rest), ports: half(rest >> 32) }
}

/// What a connection's words say.
pub fn flow(words: FlowWords) -> Flow {
    let [
        first_ns,
        last_ns,
        sent_bytes,
        sent_calls,
        received_bytes,
        received_calls,
        errors,
        family,
        local,
        local2,
        remote,
        remote2,
    ] = words;
    let (local, remote) = ([local, local2], [remote, remote2]);
    Flow { first_ns, last_ns, sent_bytes, sent_calls, received_bytes, received_calls, errors, family, local, remote }
}

/// What went over a connection between two looks; `None` for nothing.
pub fn row(key: FlowKey, process_id: i64, span: (i64, i64), before: &Flow, now: &Flow) -> Option<Socket> {
    let since = |now: u64, before: u64| i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX);
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (calls_sent, calls_received) =
        (since(now.sent_calls, before.sent_calls), since(now.received_calls, before.received_calls));
    let errors = since(now.errors, before.errors);
    if calls_sent + calls_received + errors == 0 {
        return None;
    }
    let ([remote_port, local_port], family) = (ports(key.ports), now.family & 0xffff);
    Some(Socket {
        start_ns: span.0,
        // Something may have come between the end of the span and this look.
        dur_ns: span.1.max(signed(now.last_ns)) - span.0,
        process_id,
        family: name(family, &[(1, "unix"), (2, "inet"), (10, "inet6"), (16, "netlink")]),
        protocol: name(now.family >> 32, &[(6, "tcp"), (17, "udp"), (262, "mptcp")]),
        local: address(family, now.local, local_port),
        remote: address(family, now.remote, remote_port),
        socket: key.sk,
        sent_bytes: since(now.sent_bytes, before.sent_bytes),
        sent_calls: calls_sent,
        received_bytes: since(now.received_bytes, before.received_bytes),
        received_calls: calls_received,
        errors,
        first_ns: signed(now.first_ns),
        last_ns: signed(now.last_ns),
    })
}

/// Remote and local port of the four bytes that hold them: the first pair big-endian, the second as the machine keeps it.
fn ports(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_be_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

fn name(number: u64, names: &[(u64, &str)]) -> Name {
    match names.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).into(),
        None => number.to_string().as_str().into(),
    }
}

fn address(family: u64, words: [u64; 2], port: u16) -> Option<Name> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip: IpAddr = match family {
        2 => Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?).into(),
        10 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port).to_string().as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: [u8; 8]) -> u64 {
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn a_connection_has_its_ends() {
        let ports = u32::from_ne_bytes([0x15, 0xe0, 0x39, 0x30]);
        let now = Flow {
            sent_bytes: 100,
            sent_calls: 2,
            family: 2 | 6 << 32,
            local: [word([10, 0, 0, 1, 0, 0, 0, 0]), 0],
            remote: [word([10, 0, 0, 2, 0, 0, 0, 0]), 0],
            ..Flow::default()
        };
        let before = Flow { sent_bytes: 40, sent_calls: 1, ..now };
        let row = row(FlowKey { sk: 9, tgid: 1, ports }, 1, (5, 15), &before, &now).unwrap();
        assert_eq!((row.local.as_deref(), row.remote.as_deref()), (Some("10.0.0.1:12345"), Some("10.0.0.2:5600")));
        assert_eq!((&*row.family, &*row.protocol, row.sent_bytes, row.sent_calls), ("inet", "tcp", 60, 1));
    }

    #[test]
    fn an_address_of_ipv4_in_ipv6_is_one_of_ipv4() {
        let mapped = [0, word([0, 0, 0xff, 0xff, 127, 0, 0, 1])];
        assert_eq!(address(10, mapped, 80).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(address(10, [0, word([0, 0, 0, 0, 0, 0, 0, 1])], 80).as_deref(), Some("[::1]:80"));
        assert_eq!(address(1, [0, 0], 0), None);
    }

    #[test]
    fn what_has_not_moved_is_no_row() {
        let flow = Flow { sent_calls: 3, ..Flow::default() };
        assert!(row(FlowKey { sk: 9, tgid: 1, ports: 0 }, 1, (5, 15), &flow, &flow).is_none());
        assert_eq!(key([7, 5 << 32 | 6]), FlowKey { sk: 7, tgid: 6, ports: 5 });
    }
}
