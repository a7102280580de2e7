//! Layers that serving engines name in NVTX ranges: vLLM's `{'Module': 'model.layers.17.mlp', …`, SGLang's `model.layers.17`.

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
