//! Layers that the program itself names: NVTX ranges such as vLLM's (`{'Module': 'model.layers.17.mlp', …`) and SGLang's
//! (`model.layers.17`), around the launches of a layer's kernels.

use std::collections::BTreeMap;

use super::Raw;
use super::intervals::Span;
use crate::timeline::{LaneKind, Timeline};

/// Ranges that name a layer, of each thread by time.
#[derive(Debug, Default)]
pub struct Ranges(BTreeMap<(i64, i32), Vec<(Span, u32)>>);

impl Ranges {
    /// Those of a recording, one each: ranges of the same layer may lie within each other.
    #[must_use]
    pub fn of(raw: &Raw) -> Self {
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
        Self(by_thread)
    }

    /// The layer within whose range a process made the call with that correlation id.
    #[must_use]
    pub fn layer(&self, timeline: &Timeline, process: i64, correlation: i64) -> Option<u32> {
        if self.0.is_empty() {
            return None;
        }
        let (lane, call) = timeline.call(process, correlation)?;
        let LaneKind::Thread(tid) = timeline.id(lane).kind else { return None };
        let ranges = self.0.get(&(process, tid))?;
        let at = timeline.lane(lane).start[call];
        let before = ranges.partition_point(|((start, _), _)| *start <= at);
        before.checked_sub(1).map(|i| ranges[i]).filter(|((_, end), _)| at < *end).map(|(_, layer)| layer)
    }
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
