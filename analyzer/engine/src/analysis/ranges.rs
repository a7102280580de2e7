//! Layers that the program itself names: NVTX ranges such as vLLM's (`{'Module': 'model.layers.17.mlp', …`) and SGLang's
//! (`model.layers.17`), around the launches of a layer's kernels.

use std::collections::{BTreeMap, HashMap};

use super::Raw;
use super::intervals::Span;

/// The layer of a launch, by process and correlation id.
pub type Ranges = HashMap<(i64, i64), u32>;

/// The launches within ranges that name a layer, one each: ranges of the same layer may lie within each other.
#[must_use]
pub fn of(raw: &Raw) -> Ranges {
    let mut by_thread: BTreeMap<(i64, i32), Vec<(Span, u32)>> = BTreeMap::new();
    for row in 0..raw.nvtx.start_ns.len() {
        if let (Some(layer), Some(dur)) = (layer(&raw.nvtx.text[row]), raw.nvtx.dur_ns[row]) {
            let start = raw.nvtx.start_ns[row];
            let thread = (raw.nvtx.process_id[row], raw.nvtx.tid[row]);
            by_thread.entry(thread).or_default().push(((start, start.saturating_add(dur)), layer));
        }
    }
    for ranges in by_thread.values_mut() {
        ranges.sort_unstable();
        // What lies within a range, or goes on from it, says the same.
        ranges.dedup_by(|next, kept| {
            let is_same = next.1 == kept.1 && next.0.0 <= kept.0.1;
            if is_same {
                kept.0.1 = kept.0.1.max(next.0.1);
            }
            is_same
        });
    }
    let mut out = Ranges::new();
    if by_thread.is_empty() {
        return out;
    }
    let calls = &raw.calls;
    for row in 0..calls.start_ns.len() {
        let Some(ranges) = by_thread.get(&(calls.process_id[row], calls.tid[row])) else { continue };
        let at = calls.start_ns[row];
        let before = ranges.partition_point(|((start, _), _)| *start <= at);
        if let Some((_, layer)) = before.checked_sub(1).map(|i| ranges[i]).filter(|((_, end), _)| at < *end) {
            out.insert((calls.process_id[row], calls.correlation_id[row]), layer);
        }
    }
    out
}

/// The layer that a text names: the number after `layer` or `layers` and one of `.`, `_`, `:`, `=` or a space.
#[must_use]
pub fn layer(text: &str) -> Option<u32> {
    text.match_indices("layer").find_map(|(at, word)| {
        let rest = &text[at + word.len()..];
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let rest = rest.strip_prefix(['.', '_', ':', '=', ' '])?.trim_start();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_name_layers() {
        for (text, named) in [
            ("{'Module': 'model.layers.17.self_attn.qkv_proj', 'TrainableParams': {}}", Some(17)),
            ("model.layers.0", Some(0)),
            ("layer 3", Some(3)),
            ("layer=12", Some(12)),
            ("layernorm.4", None),
            ("nixl::postXferReq.write", None),
            ("layers.99999999999", None),
            ("", None),
        ] {
            assert_eq!(layer(text), named, "{text}");
        }
    }
}
