//! What the notification text of a transfer names, by the rules of the serving engines.

/// What a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The request: an id that prefill and decode side share.
    pub request: &'a str,
    /// The chunk of its prompt, from 0.
    pub chunk: Option<i32>,
    /// The rank that sends: `pp_rank * tp_size + tp_rank`.
    pub rank: Option<i32>,
}

/// What the notif text of a transfer names; `None` where no engine's rule matches.
///
/// A text that was cut (`is_cut`) names only what ended before the cut.
///
/// * vLLM: `{request}:{n}`, split at the last colon; its internal ids end in `-` and 8 hexadecimal digits that differ
///   between prefill and decode, so these are cut. `HB:` (heartbeat) and `PUSH_REG:` are not of a transfer.
/// * `SGLang` 0.5.11 to 0.5.21 (later ones send no text): `{room}_kv_{chunk}_{is last}_{rank}[_part_{i}_{n}]`,
///   `{room}_aux[_nokv_{rank}_{n}]`, `{room}_state_{rank}`, `{room}_stg_…` with a decimal room.
pub fn of_notif(text: &str, is_cut: bool) -> Option<Named<'_>> {
    // In a cut vLLM text the last colon may be beyond the cut, and one before it may be part of the id.
    sglang(text, is_cut).or_else(|| if is_cut { None } else { vllm(text) })
}

fn sglang(text: &str, is_cut: bool) -> Option<Named<'_>> {
    let mut fields: Vec<&str> = text.split('_').collect();
    if is_cut {
        // What stands before the cut may go on behind it.
        fields.pop();
    }
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
    let (chunk, rank) = match (*fields.get(1)?, fields.get(2).copied()) {
        ("kv", Some(_)) => (number(2), number(4)),
        ("aux", Some("nokv")) => (None, number(3)),
        ("state", Some(_)) => (None, number(2)),
        ("aux", _) | ("stg", Some(_)) => (None, None),
        ("kv" | "state" | "stg", None) if is_cut => (None, None),
        _ => return None,
    };
    let request = fields[0];
    (!request.is_empty() && request.bytes().all(|b| b.is_ascii_digit())).then_some(Named { request, chunk, rank })
}

fn vllm(text: &str) -> Option<Named<'_>> {
    if text.starts_with("HB:") || text.starts_with("PUSH_REG:") {
        return None;
    }
    let (id, count) = text.rsplit_once(':')?;
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let base = match id.rsplit_once('-') {
        Some((base, tail)) if tail.len() == 8 && tail.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => base,
        _ => id,
    };
    (!base.is_empty()).then_some(Named { request: base, chunk: None, rank: None })
}

#[cfg(test)]
mod tests {
    use super::{Named, of_notif};

    #[test]
    fn vllm_ids_lose_their_suffix_and_count() {
        for (text, request) in [
            ("cmpl-req-0-1a2b3c4d:1", Some("cmpl-req-0")),
            ("cmpl-req-0000:1", Some("cmpl-req-0000")),
            ("chatcmpl-a:b-00000000:16", Some("chatcmpl-a:b")),
            ("id-1A2B3C4D:1", Some("id-1A2B3C4D")),
            ("id-1a2b3c4:1", Some("id-1a2b3c4")),
            ("HB:cmpl-1,cmpl-2", None),
            ("HB:1:1", None),
            ("PUSH_REG:cmpl-req-0-1a2b3c4d:1", None),
            ("no count", None),
            ("id:", None),
            ("id:x", None),
            (":1", None),
            ("-1a2b3c4d:1", None),
            ("", None),
        ] {
            assert_eq!(of_notif(text, false).map(|named| named.request), request, "{text:?}");
        }
    }

    #[test]
    fn cut_texts_give_no_id_that_may_be_another() {
        for (text, request) in [
            ("chatcmpl-a:12", None),
            ("cmpl-req-0-1a2b3c4d:1", None),
            ("cmpl-req-0", None),
            ("8273645_kv_3_1", Some("8273645")),
            ("1_aux_", Some("1")),
            ("1_aux", None),
            ("8273645_k", None),
            ("8273645", None),
        ] {
            assert_eq!(of_notif(text, true).map(|named| named.request), request, "{text:?}");
        }
    }

    #[test]
    fn sglang_texts_carry_room_chunk_and_rank() {
        for (text, expected) in [
            ("8273645_kv_3_1_0", Some(("8273645", Some(3), Some(0)))),
            ("8273645_kv_13_0_2_part_1_4", Some(("8273645", Some(13), Some(2)))),
            ("1_kv_x_1_y", Some(("1", None, None))),
            ("1_kv_99999999999_1_0", Some(("1", None, Some(0)))),
            ("1_aux", Some(("1", None, None))),
            ("1_aux_nokv_5_2", Some(("1", None, Some(5)))),
            ("1_state_4", Some(("1", None, Some(4)))),
            ("1_stg_x", Some(("1", None, None))),
            ("1_kv", None),
            ("1_auxiliary", None),
            ("room_kv_3", None),
            ("_kv_3", None),
            ("1_other", None),
        ] {
            let expected = expected.map(|(request, chunk, rank)| Named { request, chunk, rank });
            assert_eq!(of_notif(text, false), expected, "{text:?}");
        }
        let cut = |text| of_notif(text, true).map(|named| (named.chunk, named.rank));
        assert_eq!(cut("8273645_kv_3"), Some((None, None)));
        assert_eq!(cut("8273645_kv_3_1_1"), Some((Some(3), None)));
    }
}
