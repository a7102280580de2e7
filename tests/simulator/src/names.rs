//! Kernel names, as recorded from vLLM 0.26 on H200s, and what share of a layer each takes.

/// A kernel of the model.
#[derive(Debug, Clone, Copy)]
pub struct KernelName {
    /// Function name as CUPTI gives it.
    pub name: &'static str,
    /// Grid, x.
    pub grid_x: i32,
    /// Block, x.
    pub block_x: i32,
}

const fn kernel(name: &'static str, grid_x: i32, block_x: i32) -> KernelName {
    KernelName { name, grid_x, block_x }
}

const NORM: &str = "_ZN4vllm25fused_add_rms_norm_kernelIN3c108BFloat16ELi8ELb1EEENSt9enable_ifIXaagtT0_Li0Esr4vllm12_typeConvertIT_EE6existsEvE4typeEPS4_lS7_PKS4_fii";
const QK_NORM: &str = "_ZN4vllm15rms_norm_kernelIN3c108BFloat16ELi8ELi3ELb1EEEvPT_PKS3_lllllS6_lfii";

/// Every name; the first is for operations that are no kernels.
pub const NAMES: &[KernelName] = &[
    kernel("", 1, 1),
    // A layer.
    kernel(NORM, 8192, 256),
    kernel("nvjet_sm90_tst_256x128_64x4_1x2_h_bz_coopA_TNT", 2, 384),
    kernel(QK_NORM, 262_144, 16),
    kernel("_ZN4vllm23rotary_embedding_kernelIN3c108BFloat16ES2_Lb1EEEvPKlPT_S6_PKT0_illliiilb", 8192, 512),
    kernel(
        "_ZN4vllm30reshape_and_cache_flash_kernelI13__nv_bfloat16S1_LNS_18Fp8KVCacheDataTypeE0EEEvPKT_S5_PT0_S7_PKlllllliiiPKfSB_i",
        8192,
        512,
    ),
    kernel(
        "_ZN7cutlass13device_kernelIN5flash20enable_sm90_or_laterINS1_16FlashAttnFwdSm90INS1_25CollectiveMainloopFwdSm90EEEEEEvNT_6ParamsE",
        132,
        384,
    ),
    kernel("nvjet_sm90_tst_192x128_64x5_1x2_h_bz_coopB_TNT", 2, 384),
    kernel("nvjet_sm90_tst_192x192_64x4_2x1_v_bz_coopB_TNN", 2, 384),
    kernel(
        "_ZN4vllm18act_and_mul_kernelIN3c108BFloat16E14__nv_bfloat162XadL_ZNS_11silu_kernelIS2_EET_RKS5_fEEEvPS5_PS6_ifff",
        8192,
        1024,
    ),
    // Before and after the layers.
    kernel("_prepare_prefill_inputs_kernel", 1, 128),
    kernel("_prepare_pos_seq_lens_kernel", 2, 128),
    kernel("_gather_block_tables_kernel", 1, 128),
    kernel("_compute_slot_mappings_kernel", 1, 128),
    kernel(
        "_ZN5flash32prepare_varlen_num_blocks_kernelILi1ELb0EEEviiiPKiS2_S2_S2_S2_S2_iiiiiN7cutlass10FastDivmodE",
        1,
        1024,
    ),
    kernel("_gumbel_sample_kernel", 1, 128),
    // Decode.
    kernel("nvjet_sm90_tst_64x8_64x16_4x1_v_bz_TNT", 132, 384),
    kernel("nvjet_sm90_tst_128x8_64x12_4x1_v_bz_splitK_TNT", 132, 384),
    kernel("nvjet_sm90_tst_192x8_64x8_2x1_v_bz_TNT", 132, 384),
    // Between stages.
    kernel("_Z22ncclDevKernel_SendRecv24ncclDevKernelArgsStorageILm4096EE", 16, 544),
    // Anything else.
    kernel("_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_11FillFunctorIiEESt5arrayIPcLm1EEEEviT0_T1_", 1, 128),
];

/// Position of NCCL's kernel in [`NAMES`].
pub const SEND_RECEIVE: u16 = 19;
/// Position of a kernel of no layer in [`NAMES`].
pub const FILL: u16 = 20;
/// Position of the sampler in [`NAMES`].
pub const SAMPLE: u16 = 15;
/// Kernels before the layers of a forward pass.
pub const PROLOGUE: [u16; 5] = [10, 11, 12, 13, 14];
/// Position of the kernel that writes the KV cache within [`LAYER`].
pub const KV_WRITE_AT: usize = 6;

/// Kernels of a prefill layer in order: name, and its share of the layer's time at the first chunk, in 1/10,000.
pub const LAYER: [(u16, i64); 13] = [
    (1, 110),
    (2, 930),
    (3, 290),
    (3, 75),
    (4, 180),
    (20, 15),
    (5, 90),
    // Attention: takes what the others leave, so all that grows with the context.
    (6, 0),
    (7, 630),
    (1, 115),
    (8, 3700),
    (9, 300),
    (2, 1875),
];

/// Position of attention within [`LAYER`].
pub const ATTENTION_AT: usize = 7;

/// Kernels of a decode layer in order.
pub const DECODE_LAYER: [u16; 10] = [1, 16, 3, 4, 5, 6, 17, 1, 18, 9];

/// The durations of the kernels of a prefill layer that takes `layer_ns` now and took `first_ns` at the first chunk; they
/// sum to `layer_ns`.
#[must_use]
pub fn layer_kernels(layer_ns: i64, first_ns: i64) -> [i64; LAYER.len()] {
    let mut out = LAYER.map(|(_, share)| first_ns.min(layer_ns) * share / 10_000);
    let others: i64 = out.iter().sum();
    out[ATTENTION_AT] = layer_ns - others;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_name_what_they_say() {
        assert!(NAMES[usize::from(SEND_RECEIVE)].name.contains("SendRecv"));
        assert!(NAMES[usize::from(FILL)].name.contains("Fill"));
        assert!(NAMES[usize::from(SAMPLE)].name.contains("sample"));
        assert!(NAMES[usize::from(LAYER[KV_WRITE_AT].0)].name.contains("reshape_and_cache"));
        assert!(NAMES[usize::from(LAYER[ATTENTION_AT].0)].name.contains("FlashAttn"));
    }

    #[test]
    fn kernels_of_a_layer_sum_to_it() {
        for (now, first) in [(1_000_000, 1_000_000), (4_470_000, 1_000_000), (7, 3), (500, 1000)] {
            let kernels = layer_kernels(now, first);
            assert_eq!(kernels.iter().sum::<i64>(), now);
            assert!(kernels.iter().all(|ns| *ns >= 0));
        }
    }
}
