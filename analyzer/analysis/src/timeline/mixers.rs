//! Kernels by which a layer mixes what its tokens hold, by name: attention, or a state-space model's scan. A layer has one such
//! place; what repeats in a pass and has several holds several layers.
//!
//! A pattern is a part of the recorded name, mangled or not. The comments name the public projects whose kernels are called so.

/// What a kernel shows of a mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mixer {
    /// Keys and values are written into the cache: once in a layer with attention, in however many parts that runs.
    CacheWrite,
    /// Attention.
    Attention,
    /// A scan of states.
    Scan,
}

/// The first that a name contains decides.
const PATTERNS: &[(&str, Mixer)] = &[
    // vllm-project/vllm (csrc/cache_kernels.cu, triton_reshape_and_cache_flash.py).
    ("reshape_and_cache", Mixer::CacheWrite),
    ("concat_and_cache_mla", Mixer::CacheWrite),
    // Dao-AILab/flash-attention: version 3 (`FlashAttnFwdSm90`), version 2 and deepseek-ai/FlashMLA (`flash_fwd_*`).
    ("FlashAttnFwdSm", Mixer::Attention),
    ("flash_fwd_kernel", Mixer::Attention),
    ("flash_fwd_splitkv_kernel", Mixer::Attention),
    ("flash_fwd_splitkv_mla", Mixer::Attention),
    // flashinfer-ai/flashinfer.
    ("BatchPrefillWith", Mixer::Attention),
    ("BatchDecodeWith", Mixer::Attention),
    // NVIDIA/TensorRT-LLM, and flashinfer's builds of its kernels.
    ("fmhaSm", Mixer::Attention),
    // vllm-project/vllm (triton_unified_attention.py).
    ("kernel_unified_attention", Mixer::Attention),
    // state-spaces/mamba: a chunked scan in prefill, an update of one step in decode.
    ("_chunk_scan_fwd_kernel", Mixer::Scan),
    ("selective_scan", Mixer::Scan),
    ("selective_state_update", Mixer::Scan),
    // fla-org/flash-linear-attention: gated delta rule and its kin.
    ("chunk_fwd_kernel_o", Mixer::Scan),
    ("fused_recurrent_", Mixer::Scan),
];

/// What a kernel shows of a mixer, if anything.
#[must_use]
pub fn of_kernel(name: &str) -> Option<Mixer> {
    PATTERNS.iter().find(|(part, _)| name.contains(part)).map(|(_, mixer)| *mixer)
}
