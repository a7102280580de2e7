//! What notifications name: those of transfers their request, chunk and sender, those that register a request its id.

use std::collections::HashMap;

use kvpath_schema::tables::nixl::{NixlNotifs, NixlTransfers};

use super::ids::Texts;
use super::{sglang, vllm, workload};

/// What the notification of a transfer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The request: an id that prefill and decode side share.
    pub request: &'a str,
    /// The chunk of its prompt, from 0.
    pub chunk: Option<i32>,
    /// The rank that sends: `pp_rank * tp_size + tp_rank`.
    pub sender_rank: Option<i32>,
}

/// What the text of a transfer's notification names, of which `bytes` were sent; `None` where no engine's rule matches. A text that
/// was cut names only what ended before the cut.
#[must_use]
pub fn of_transfer(text: &str, bytes: Option<i64>) -> Option<Named<'_>> {
    let is_cut = is_cut(text, bytes);
    sglang::of_transfer(text, is_cut).or_else(|| vllm::of_transfer(text, is_cut))
}

/// Replacing what is not UTF-8 makes a text longer, never shorter.
fn is_cut(text: &str, bytes: Option<i64>) -> bool {
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).is_some_and(|bytes| bytes > text.len())
}

/// Whether a message asks to keep the KV of requests.
#[must_use]
pub fn is_heartbeat(text: &str) -> bool {
    vllm::is_heartbeat(text)
}

/// The requests whose KV a message asks to keep; none of one that is no heartbeat.
pub fn kept_requests(text: &str, bytes: i64) -> impl Iterator<Item = &str> {
    vllm::kept(text, is_cut(text, Some(bytes)))
}

/// Fills in what the notifications of transfers name; what a recorder read from them stays where they say nothing.
pub fn name_transfers(transfers: &mut NixlTransfers) {
    for row in 0..transfers.transfer_id.len() {
        let Some(named) =
            transfers.notif[row].as_deref().and_then(|text| of_transfer(text, transfers.notif_bytes[row]))
        else {
            continue;
        };
        let request = &mut transfers.request[row];
        if request.as_deref() != Some(named.request) {
            *request = Some(named.request.to_owned());
        }
        transfers.chunk[row] = named.chunk.or(transfers.chunk[row]);
        transfers.sender_rank[row] = named.sender_rank.or(transfers.sender_rank[row]);
    }
}

/// Whether a message registers a request with a stage that is to hand it over.
#[must_use]
pub fn is_registration(text: &str) -> bool {
    vllm::is_registration(text)
}

/// What a registration says of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered<'a> {
    /// Its id, that prefill and decode side share.
    Request(&'a str),
    /// Only a text that holds it somewhere.
    Text(&'a str),
}

impl<'a> Registered<'a> {
    /// Reads a row that [`is_registration`].
    #[must_use]
    pub fn of(notifs: &'a NixlNotifs, row: usize) -> Self {
        Self::read(&notifs.message[row], notifs.message_raw[row].as_deref())
    }

    /// Reads a registration; its bytes are there if they are not UTF-8.
    fn read(text: &'a str, raw: Option<&'a [u8]>) -> Self {
        let in_text = |body| vllm::registered_in_text(body).or_else(|| workload::registered(body));
        let id = raw.and_then(vllm::registered).or_else(|| vllm::body(text).and_then(in_text));
        id.map_or(Self::Text(text), |id| Self::Request(vllm::base(id)))
    }
}

/// Registrations, to be asked which of them are of a request.
#[derive(Debug, Default)]
pub struct Registrations<'a> {
    by_request: HashMap<&'a str, Vec<usize>>,
    /// Those that only have texts, and their positions.
    texts: Texts<'a>,
    of_texts: Vec<usize>,
}

impl<'a> Registrations<'a> {
    /// Takes them in; they are named by their position.
    pub fn of(registrations: impl IntoIterator<Item = Registered<'a>>) -> Self {
        let mut by_request: HashMap<&str, Vec<usize>> = HashMap::new();
        let (mut texts, mut of_texts) = (Vec::new(), Vec::new());
        for (at, registered) in registrations.into_iter().enumerate() {
            match registered {
                Registered::Request(id) => by_request.entry(id).or_default().push(at),
                Registered::Text(text) => {
                    texts.push(text);
                    of_texts.push(at);
                }
            }
        }
        Self { by_request, texts: Texts::of(texts), of_texts }
    }

    /// Positions of those of a request, rising.
    #[must_use]
    pub fn naming(&self, id: &str) -> Vec<usize> {
        let mut found = self.by_request.get(id).cloned().unwrap_or_default();
        found.extend(self.texts.naming(id).map(|at| self.of_texts[at]));
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_cut_where_more_was_sent() {
        let request = |text, bytes| of_transfer(text, bytes).map(|named| named.request);
        assert_eq!(request("cmpl-1-0a0b0c0d:1", Some(17)), Some("cmpl-1"));
        assert_eq!(request("cmpl-1-0a0b0c0d:1", None), Some("cmpl-1"));
        assert_eq!(request("cmpl-1-0a0b0c0d:1", Some(18)), None);
        assert_eq!(request("7_kv_0_1_0", Some(10)), Some("7"));
        assert_eq!(request("7_kv_0_", Some(10)), Some("7"));
    }

    #[test]
    fn texts_say_more_than_what_was_read_from_them() {
        let mut facts = Facts::default();
        for (notif, stored) in [
            (Some("7_kv_3_1_1"), (None, None, None)),
            (Some("8_kv_3_1_1"), (Some("8"), Some(3), Some(1))),
            (Some("of no engine"), (Some("9"), Some(2), None)),
            (None, (Some("9"), None, Some(4))),
            (Some("cmpl-1-0a0b0c0d:1"), (None, None, None)),
        ] {
            facts.write(1, "p", "d", 0, 1, "r");
            let table = &mut facts.transfers;
            let row = table.transfer_id.len() - 1;
            table.notif[row] = notif.map(str::to_owned);
            table.notif_bytes[row] = notif.map(|text| i64::try_from(text.len()).unwrap());
            table.request[row] = stored.0.map(str::to_owned);
            (table.chunk[row], table.sender_rank[row]) = (stored.1, stored.2);
        }
        name_transfers(&mut facts.transfers);
        let table = &facts.transfers;
        let found: Vec<_> =
            (0..5).map(|row| (table.request[row].as_deref(), table.chunk[row], table.sender_rank[row])).collect();
        assert_eq!(
            found,
            [
                (Some("7"), Some(3), Some(1)),
                (Some("8"), Some(3), Some(1)),
                (Some("9"), Some(2), None),
                (Some("9"), None, Some(4)),
                (Some("cmpl-1"), None, None),
            ]
        );
    }

    #[test]
    fn registrations_are_found_by_id_however_it_is_written() {
        let long = "chatcmpl-0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11";
        let mut bytes = b"PUSH_REG:\x81\xaarequest_id\xd9\x36".to_vec();
        bytes.extend(format!("{long}-1a2b3c4d").bytes());
        let lossy = String::from_utf8_lossy(&bytes).into_owned();
        let texts = [
            lossy.clone(),
            format!("{lossy}\u{fffd}decode_engine_id"),
            format!("PUSH_REG:{long}-01234567"),
            format!("PUSH_REG:{{'id': '{long}-01234567'}}"),
            format!("PUSH_REG:{{'id': '{long}-2-01234567'}}"),
        ];
        let mut read = texts.each_ref().map(|text| Registered::read(text, None));
        assert_eq!(read[0], Registered::Text(&lossy), "where the id ends is not to be seen");
        read[0] = Registered::read(&lossy, Some(&bytes));
        assert_eq!(read[0], Registered::Request(long));
        let all = Registrations::of(read);
        assert_eq!(all.naming(long), [0, 1, 2, 3, 4]);
        assert_eq!(all.naming(&format!("{long}-2")), [4]);
        assert_eq!(all.naming("chatcmpl"), [3, 4], "a text holds it; an id is another");
        assert!(is_registration(&lossy) && !is_registration("HB:a"));
    }

    proptest! {
        /// With vLLM's suffix and without, whatever byte their number is: by the bytes, and by the text of which what is not UTF-8
        /// was replaced.
        #[test]
        fn registrations_of_ids_of_any_length_name_them(
            id in "[a-z0-9]([a-zA-Z0-9_.:-]{0,200}[a-zA-Z0-9])?",
            suffix in prop::option::of("-[0-9a-f]{8}"),
        ) {
            let whole = format!("{id}{}", suffix.unwrap_or_default());
            let (bytes, shared) = (vllm::tests::registration(&whole), vllm::base(&whole));
            let other = format!("{shared}0");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for raw in [Some(&bytes[..]), None] {
                let all = Registrations::of([Registered::read(&text, raw)]);
                prop_assert_eq!(all.naming(shared), [0], "{:?}", text);
                prop_assert!(all.naming(&other).is_empty());
            }
        }
    }
}
