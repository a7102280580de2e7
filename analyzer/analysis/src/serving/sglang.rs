//! SGLang, as its NIXL backend writes.
//!
//! 0.5.11 to 0.5.21 send a text with each transfer; later ones send none, and tell decode by other means that KV is there.

use kvpath_schema::tables::purposes::Purpose;

use super::notifications::Named;
use super::region_order::Order;

/// How process titles begin: `sglang::scheduler_PP1_TP0`.
pub(super) const TITLE: &str = "sglang::";

/// The rank of context parallelism in titles.
pub(super) const CP: &str = "ATTN_CP";

/// Before `DP` in titles: the rank is that of experts (`MOE_DP`), not of attention.
pub(super) const OF_EXPERTS: &str = "MOE_";

/// Its pool lists the buffers of K, then those of V.
pub(super) const REGION_ORDER: Order = Order::ByPart;

/// What a notification names: `{room}_kv_{chunk}_{is last}_{rank}[_part_{i}_{n}]`, `{room}_aux[_nokv_{rank}_{n}]`,
/// `{room}_state_{rank}`, `{room}_stg_…`, with a decimal room, which prefill and decode share. The rank is
/// `pp_rank * tp_size + tp_rank`.
pub(super) fn of_transfer(text: &str, is_cut: bool) -> Option<Named<'_>> {
    let mut fields: Vec<&str> = text.split('_').collect();
    if is_cut {
        // What stands before the cut may go on behind it.
        fields.pop();
    }
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
    let (chunk, sender_rank) = match (*fields.get(1)?, fields.get(2).copied()) {
        ("kv", Some(_)) => (number(2), number(4)),
        ("aux", Some("nokv")) => (None, number(3)),
        ("state", Some(_)) => (None, number(2)),
        ("aux", _) | ("stg", Some(_)) => (None, None),
        ("kv" | "state" | "stg", None) if is_cut => (None, None),
        _ => return None,
    };
    let request = fields[0];
    let is_room = !request.is_empty() && request.bytes().all(|byte| byte.is_ascii_digit());
    is_room.then_some(Named { request, chunk, sender_rank })
}

/// What the text of a transfer says that it is for, if that is not KV.
pub(super) fn purpose(text: &str) -> Option<Purpose> {
    let mut fields = text.split('_');
    let room = fields.next()?;
    if room.is_empty() || !room.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match fields.next()? {
        "aux" => Some(Purpose::Metadata),
        "state" => Some(Purpose::State),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_carry_room_chunk_and_rank() {
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
            let expected = expected.map(|(request, chunk, sender_rank)| Named { request, chunk, sender_rank });
            assert_eq!(of_transfer(text, false), expected, "{text:?}");
        }
    }

    #[test]
    fn cut_texts_name_what_ended_before_the_cut() {
        for (text, request) in [
            ("8273645_kv_3_1", Some("8273645")),
            ("1_aux_", Some("1")),
            ("1_aux", None),
            ("8273645_k", None),
            ("827", None),
        ] {
            assert_eq!(of_transfer(text, true).map(|named| named.request), request, "{text:?}");
        }
        let cut = |text| of_transfer(text, true).map(|named| (named.chunk, named.sender_rank));
        assert_eq!(cut("8273645_kv_3"), Some((None, None)));
        assert_eq!(cut("8273645_kv_3_1_1"), Some((Some(3), None)));
    }
}
