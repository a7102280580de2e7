//! Kernels that move data between GPUs, by name. They wait for their peers, so their time is never that of compute; those that
//! also add or normalize what arrives are here too.
//!
//! A pattern is a part of the recorded name, mangled or not. The comments name the public projects whose kernels are called so.

use super::names::Class;

/// The first that a name contains decides.
const PATTERNS: &[(&str, Class)] = &[
    // NVIDIA/nccl: `ncclDevKernel_*` since 2.18, `ncclKernel_*` before; ROCm/rccl keeps both.
    ("ncclDevKernel_SendRecv", Class::PointToPoint),
    ("ncclKernel_SendRecv", Class::PointToPoint),
    ("ncclDevKernel", Class::Collective),
    ("ncclKernel", Class::Collective),
    // ROCm/rccl: algorithms of MSCCL.
    ("mscclKernel", Class::Collective),
    // microsoft/mscclpp.
    ("mscclpp", Class::Collective),
    // vllm-project/vllm (csrc/custom_all_reduce.cuh), sgl-project/sglang (sgl-kernel), ROCm/aiter: `_1stage`, `_2stage`.
    ("cross_device_reduce_", Class::Collective),
    // vllm-project/vllm (csrc/quickreduce), ROCm/aiter.
    ("allreduce_prototype_", Class::Collective),
    // flashinfer-ai/flashinfer (trtllm_allreduce_fusion.cuh, trtllm_moe_allreduce_fusion.cuh), NVIDIA/TensorRT-LLM:
    // `…_oneshot_lamport`, `…_twoshot_sync`, with `moereduce_` or `moefinalize_` before.
    ("allreduce_fusion_kernel", Class::Collective),
    // flashinfer-ai/flashinfer (trtllm_mnnvl_allreduce.cuh): over multicast memory.
    ("twoshotAllreduceKernel", Class::Collective),
    ("oneshotAllreduceFusionKernel", Class::Collective),
    // NVIDIA/TensorRT-LLM (customAllReduceKernels.cu), flashinfer-ai/flashinfer (trtllm_allreduce.cuh), pytorch/pytorch
    // (intra_node_comm.cu).
    ("oneShotAllReduceKernel", Class::Collective),
    ("twoShotAllReduceKernel", Class::Collective),
    // pytorch/pytorch (CUDASymmetricMemoryOps.cu): symmetric memory, by multicast or by peers.
    ("multimem_", Class::Collective),
    ("one_shot_all_reduce_kernel", Class::Collective),
    ("two_shot_all_reduce_kernel", Class::Collective),
    // deepseek-ai/DeepEP: dispatch and combine of experts.
    ("deep_ep", Class::Collective),
    // NVIDIA/nvshmem: barriers, collectives and puts on streams.
    ("nvshmem", Class::Collective),
];

/// The class of a kernel that moves data between GPUs.
pub(super) fn class(name: &str) -> Option<Class> {
    PATTERNS.iter().find(|(part, _)| name.contains(part)).map(|(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_move_data_between_gpus_are_told_by_name() {
        for (name, class) in [
            ("ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", Some(Class::PointToPoint)),
            ("ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t", Some(Class::PointToPoint)),
            ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", Some(Class::Collective)),
            ("ncclDevKernel_Generic_1", Some(Class::Collective)),
            ("_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li2EEEv", Some(Class::Collective)),
            (
                "void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<1>",
                Some(Class::Collective),
            ),
            ("void quickreduce::allreduce_prototype_twoshot<AllReduceTwoshot>", Some(Class::Collective)),
            ("multimem_one_shot_all_reduce_kernel<c10::BFloat16, 16>", Some(Class::Collective)),
            ("_ZN7deep_ep9intranode8dispatchILi8ELi768ELi8192EEEv", Some(Class::Collective)),
            ("nvshmemi_barrier_on_stream_kernel", Some(Class::Collective)),
            ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>", None),
            ("_ZN4vllm25fused_add_rms_norm_kernelIN3c108BFloat16ELi8EEE", None),
            ("cublasLt::splitKreduce_kernel", None),
        ] {
            assert_eq!(super::class(name), class, "{name}");
        }
    }
}
