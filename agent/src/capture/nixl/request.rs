//! Which request a notification text belongs to, by the rules of the serving engines.

/// The request id in the notif text of a transfer; `None` where no engine's rule matches.
///
/// A text that was cut (`is_cut`) has an id only if the id ended before the cut.
///
/// * vLLM: `{request}:{n}`, split at the last colon; its internal ids end in `-` and 8 hexadecimal digits that differ
///   between prefill and decode, so these are cut. `HB:` (heartbeat) and `PUSH_REG:` are not of a transfer.
/// * `SGLang`: `{room}_kv_…`, `{room}_aux…`, `{room}_state_…`, `{room}_stg_…` with a decimal room.
pub fn of_notif(text: &str, is_cut: bool) -> Option<&str> {
    // In a cut vLLM text the last colon may be beyond the cut, and one before it may be part of the id.
    sglang_room(text, is_cut).or_else(|| if is_cut { None } else { vllm_request(text) })
}

fn sglang_room(text: &str, is_cut: bool) -> Option<&str> {
    let (room, rest) = text.split_once('_')?;
    let known = ["kv_", "state_", "stg_"].iter().any(|word| rest.starts_with(word))
        || rest == "aux" && !is_cut
        || rest.starts_with("aux_");
    (known && !room.is_empty() && room.bytes().all(|b| b.is_ascii_digit())).then_some(room)
}

fn vllm_request(text: &str) -> Option<&str> {
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
    (!base.is_empty()).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::of_notif;

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
            assert_eq!(of_notif(text, false), request, "{text:?}");
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
            assert_eq!(of_notif(text, true), request, "{text:?}");
        }
    }

    #[test]
    fn sglang_texts_carry_a_room() {
        for (text, request) in [
            ("8273645_kv_3_1_0", Some("8273645")),
            ("8273645_kv_3_1_0_part_1_4", Some("8273645")),
            ("1_aux", Some("1")),
            ("1_aux_nokv_0_2", Some("1")),
            ("1_state_4", Some("1")),
            ("1_stg_x", Some("1")),
            ("1_auxiliary", None),
            ("room_kv_3", None),
            ("_kv_3", None),
            ("1_other", None),
        ] {
            assert_eq!(of_notif(text, false), request, "{text:?}");
        }
    }
}
