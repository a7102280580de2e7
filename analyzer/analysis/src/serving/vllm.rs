//! vLLM, as its NIXL connector writes: 0.20 to 0.33 alike, but where a line says otherwise.
//!
//! Its ids inside are those outside with a suffix that differs between prefill and decode. `HB:` (heartbeat, a list of ids) names
//! no request of its own.

use super::leases::Lease;
use super::msgpack;
use super::notifications::Named;
use super::region_order::Order;

/// How process titles begin: `VLLM::Worker_PP1_TP0`, `VLLM::EngineCore`. `VLLM_PROCESS_NAME_PREFIX` may say otherwise.
pub(super) const TITLE: &str = "vllm::";

/// Whether a process with the first title waits in a shared-memory queue for the steps that one with the second gives out
/// (`vllm/distributed/device_communicators/shm_broadcast.py`): it looks again and again, with `sched_yield`.
pub(super) fn waits_for_core(worker: &str, core: &str) -> bool {
    let begins = |title: &str, with: &str| title.get(..with.len()).is_some_and(|own| own.eq_ignore_ascii_case(with));
    begins(worker, "VLLM::Worker") && begins(core, "VLLM::EngineCore")
}

/// The rank of context parallelism in titles.
pub(super) const CP: &str = "PCP";

/// It goes through its layers, and through the regions of each (before 0.29, which registers all layers as one).
pub(super) const REGION_ORDER: Order = Order::ByLayer;

/// Decode registers a request with a prefill worker that is to push its KV: this and msgpack.
const REGISTRATION: &str = "PUSH_REG:";

/// Decode says whose KV prefill is to keep: this and ids with commas between them.
const HEARTBEAT: &str = "HB:";

/// The key of the id in that map; the first one.
const ID: &str = "request_id";

/// An id without the suffix that vLLM appends, `-` and eight hexadecimal digits in lower case; `None` if it has none.
#[must_use]
pub fn without_suffix(id: &str) -> Option<&str> {
    let (rest, hex) = id.rsplit_once('-')?;
    (hex.len() == 8 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(rest)
}

/// The id that both sides share.
pub(super) fn base(id: &str) -> &str {
    without_suffix(id).unwrap_or(id)
}

/// What a notification names: `{request}:{n}`, split at the last colon. In a cut text that colon may be beyond the cut, and one
/// before it may be part of the id.
pub(super) fn of_transfer(text: &str, is_cut: bool) -> Option<Named<'_>> {
    if is_cut || text.starts_with(HEARTBEAT) || is_registration(text) || text.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    let (id, count) = text.rsplit_once(':')?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let request = base(id);
    (!request.is_empty()).then_some(Named { request, chunk: None, sender_rank: None })
}

/// The requests that a heartbeat names; none of another message. Of a text that was cut the last may be cut too.
pub(super) fn kept(text: &str, is_cut: bool) -> impl Iterator<Item = &str> {
    let ids = text.strip_prefix(HEARTBEAT).unwrap_or_default();
    let whole = if is_cut { ids.rsplit_once(',').map_or("", |(whole, _)| whole) } else { ids };
    whole.split(',').map(base).filter(|id| !id.is_empty())
}

/// Whether a title is of a process of the engine.
pub(super) fn is_title(title: &str) -> bool {
    title.to_ascii_lowercase().starts_with(TITLE)
}

/// A title that is as long may be cut (`agent/src/processes.rs` keeps 512 bytes).
const WHOLE_TITLE: usize = 500;

/// `NixlConnector`'s lease: `kv_lease_duration` of its extra configuration, and two thirds of it from a heartbeat on
/// (`nixl/base_worker.py` of 0.26.0 to 0.33.0). The server's arguments say it, of several the longest; else it is 30 s, if there are
/// heartbeats (versions before these waited otherwise) and the arguments are there and whole.
pub(super) fn lease<'a>(titles: &(impl Iterator<Item = &'a str> + Clone), has_heartbeats: bool) -> Option<Lease> {
    const SECOND: i64 = 1_000_000_000;
    const KEY: &str = "kv_lease_duration";
    let told = titles.clone().filter_map(|title| {
        let value = title.split_once(KEY)?.1.trim_start_matches(['"', ':', ' ', '=']);
        // A number at the end may be cut.
        let end = value.find(|c: char| !c.is_ascii_digit())?;
        value[..end].parse::<i64>().ok().filter(|seconds| (1..=1_000_000).contains(seconds))
    });
    let servers = || titles.clone().filter(|title| title.contains("--kv-transfer-config"));
    let is_default =
        || has_heartbeats && servers().next().is_some() && servers().all(|title| title.len() < WHOLE_TITLE);
    let ns = told.max().or_else(|| is_default().then_some(30))?.saturating_mul(SECOND);
    Some(Lease { ns, extension_ns: ns * 2 / 3 })
}

/// Whether a message is a heartbeat.
pub(super) fn is_heartbeat(text: &str) -> bool {
    text.starts_with(HEARTBEAT)
}

/// Whether a message registers a request.
pub(super) fn is_registration(text: &str) -> bool {
    text.starts_with(REGISTRATION)
}

/// What a registration says, as text: msgpack with U+FFFD for what is not UTF-8.
pub(super) fn body(text: &str) -> Option<&str> {
    text.strip_prefix(REGISTRATION)
}

/// The id in the bytes of a registration, of which the end may be missing.
pub(super) fn registered(message: &[u8]) -> Option<&str> {
    msgpack::text_at(message.strip_prefix(REGISTRATION.as_bytes())?, ID)
}

/// The id in the text of a registration whose bytes are not recorded. Up to 31 bytes follow a byte that is not UTF-8, more follow
/// such a byte and one of their number: what it says must hold.
pub(super) fn registered_in_text(body: &str) -> Option<&str> {
    let value = body.split_once(ID)?.1.strip_prefix(char::REPLACEMENT_CHARACTER)?;
    // The next key begins with such a byte too.
    let id = &value[..value.find(char::REPLACEMENT_CHARACTER)?];
    if id.len() < 32 {
        return (!id.is_empty()).then_some(id);
    }
    let (&count, rest) = id.as_bytes().split_first()?;
    (usize::from(count) == rest.len()).then(|| &id[1..])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As msgspec packs the map of decode's registration in 0.26.
    pub(in super::super) fn registration(id: &str) -> Vec<u8> {
        let mut bytes = b"PUSH_REG:\x87".to_vec();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            let count = u8::try_from(text.len()).unwrap();
            if count < 32 {
                bytes.push(0xa0 | count);
            } else {
                bytes.extend([0xd9, count]);
            }
            bytes.extend(text.bytes());
        };
        text(&mut bytes, "request_id");
        text(&mut bytes, id);
        text(&mut bytes, "decode_engine_id");
        text(&mut bytes, "f8951904-42d4-4e01-af3b-4383855e8a7f");
        text(&mut bytes, "decode_host");
        text(&mut bytes, "localhost");
        text(&mut bytes, "decode_port");
        bytes.extend([0xcd, 0x16, 0x44]);
        text(&mut bytes, "decode_tp_size");
        bytes.push(1);
        text(&mut bytes, "local_block_ids");
        bytes.extend([0x91, 0xdc, 0, 64]);
        bytes.extend(1..=64);
        text(&mut bytes, "remote_engine_id");
        text(&mut bytes, "5b4d3f6e-8f5c-4b0f-9f0a-6a4c9d1f2e3b");
        bytes
    }

    /// Ids as they are on the wire, by what makes them: vLLM with and without an `X-Request-Id`, a proxy around it, Dynamo. The
    /// length of most is the byte of a letter or a digit.
    const IDS: [(&str, usize); 7] = [
        ("cmpl-req-0-1000-0-9847af24", 26),
        ("chatcmpl-0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11-1a2b3c4d", 54),
        ("chatcmpl-0f3c1a526f0e4d6b9c596d0f7c1f6c11-1a2b3c4d", 50),
        ("cmpl-0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11-0-1a2b3c4d", 52),
        ("cmpl-0f3c1a526f0e4d6b9c596d0f7c1f6c11-0-1a2b3c4d", 48),
        ("0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11-1a2b3c4d", 45),
        (
            "chatcmpl-___prefill_addr_10.0.0.1:20001___decode_addr_10.0.0.2:20002_0f3c1a526f0e4d6b9c596d0f7c1f6c11-1a2b3c4d",
            110,
        ),
    ];

    #[test]
    fn the_lease_is_that_of_the_servers_arguments() {
        let server =
            |config: &str| format!("python3 -m vllm serve m --kv-transfer-config {{\"kv_role\": \"kv_both\"{config}}}");
        let of = |config: &str, has_heartbeats: bool| {
            let lease = Lease::of(&[server(config).as_str(), "VLLM::EngineCore"].into_iter(), has_heartbeats);
            lease.map(|lease| lease.ns / 1_000_000_000)
        };
        assert_eq!((of("", true), of("", false)), (Some(30), None));
        assert_eq!(of(", \"kv_connector_extra_config\": {\"kv_lease_duration\": 3}", false), Some(3));
        assert_eq!(of(", \"kv_lease_duration\":\"45\"", true), Some(45));
        let cut = |title: &str| Lease::of(&[title, "VLLM::EngineCore"].into_iter(), true);
        assert_eq!(cut(&format!("vllm serve --kv-transfer-config {}\"kv_lease_duration\": 1", "x".repeat(480))), None);
        assert_eq!(cut("vllm serve --config file.yaml"), None, "its arguments are elsewhere");
        assert_eq!(Lease::of(&["sglang::scheduler"].into_iter(), true), None);
    }

    #[test]
    fn registrations_name_the_ids_that_vllm_makes() {
        for (id, len) in IDS {
            assert_eq!(id.len(), len, "{id}");
            let bytes = registration(id);
            // As much as the recorder keeps.
            for kept in [bytes.len(), 256.min(bytes.len()), "PUSH_REG:...request_id..".len() + len] {
                assert_eq!(registered(&bytes[..kept]), Some(id), "{kept} bytes");
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(registered_in_text(body(&text).unwrap()), Some(id), "{text:?}");
        }
        let cut = registration(IDS[1].0);
        assert_eq!(registered(&cut[..60]), None, "cut within the id");
        assert_eq!(registered_in_text("\u{fffd}\u{fffd}request_id\u{fffd}6chatcmpl-0f3c"), None, "cut within the id");
        let wrong = "\u{fffd}\u{fffd}request_id\u{fffd}7chatcmpl-0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11-1a2b3c4d\u{fffd}";
        assert_eq!(registered_in_text(wrong), None, "the number does not hold");
    }

    #[test]
    fn ids_lose_their_suffix_and_count() {
        for (text, request) in [
            ("cmpl-req-0-1a2b3c4d:1", Some("cmpl-req-0")),
            ("cmpl-req-0000:1", Some("cmpl-req-0000")),
            ("chatcmpl-a:b-00000000:16", Some("chatcmpl-a:b")),
            ("id-1A2B3C4D:1", Some("id-1A2B3C4D")),
            ("id-1a2b3c4:1", Some("id-1a2b3c4")),
            ("HB:cmpl-1,cmpl-2", None),
            ("HB:1:1", None),
            ("PUSH_REG:cmpl-req-0-1a2b3c4d:1", None),
            ("\u{fffd}\u{fffd}sync:1", None),
            ("no count", None),
            ("id:", None),
            ("id:x", None),
            (":1", None),
            ("-1a2b3c4d:1", None),
            ("", None),
        ] {
            assert_eq!(of_transfer(text, false).map(|named| named.request), request, "{text:?}");
        }
        assert_eq!(of_transfer("chatcmpl-a:12", true), None, "cut");
        assert_eq!(without_suffix("cmpl-req-1-0-0123abcd"), Some("cmpl-req-1-0"));
        assert_eq!(without_suffix("cmpl-req-1-0-0123ABCD"), None, "the digits are in lower case");
        assert_eq!(without_suffix("cmpl-req-1"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_id_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut message = REGISTRATION.as_bytes().to_vec();
            message.extend(&bytes);
            registered(&message);
            registered_in_text(&String::from_utf8_lossy(&bytes));
        }
    }
}
