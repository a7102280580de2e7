//! The CUDA API calls that may be recorded: a list, because all of them would be a hundred records for each kernel.
//!
//! Numbers are CUPTI's callback ids, which only ever grow: those of `cupti_driver_cbid.h` and `cupti_runtime_cbid.h` of
//! CUDA 13.5; a library that does not know one refuses it, and that is counted. Array and symbol copies are left out.

use super::ring::Level;

/// Which API a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// The driver API.
    Driver = 0,
    /// The runtime API.
    Runtime = 1,
}

/// A call that may be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its API.
    pub domain: Domain,
    /// CUPTI's number.
    pub cbid: u32,
    /// Name without version and stream suffix.
    pub name: &'static str,
    /// The lowest level that records it.
    pub level: Level,
}

const fn call(domain: Domain, cbid: u32, name: &'static str, level: Level) -> Call {
    Call { domain, cbid, name, level }
}

/// The call with that number of that API; `None` for one that is not on the list.
#[must_use]
pub fn find(domain: u32, cbid: u32) -> Option<&'static Call> {
    let at = CALLS.binary_search_by_key(&(domain, cbid), |call| (call.domain as u32, call.cbid)).ok()?;
    CALLS.get(at)
}

/// The name of a recorded call; `None` for one that is not on the list.
#[must_use]
pub fn name(domain: u32, cbid: u32) -> Option<&'static str> {
    find(domain, cbid).map(|call| call.name)
}

/// The list, by API and number.
pub const CALLS: &[Call] = &[
    call(Domain::Driver, 17, "cuCtxSynchronize", Level::Launch),
    call(Domain::Driver, 43, "cuMemcpyHtoD", Level::Launch),
    call(Domain::Driver, 45, "cuMemcpyDtoH", Level::Launch),
    call(Domain::Driver, 47, "cuMemcpyDtoD", Level::Launch),
    call(Domain::Driver, 56, "cuMemcpy2D", Level::Launch),
    call(Domain::Driver, 57, "cuMemcpy2DUnaligned", Level::Launch),
    call(Domain::Driver, 58, "cuMemcpy3D", Level::Launch),
    call(Domain::Driver, 60, "cuMemcpyHtoDAsync", Level::Launch),
    call(Domain::Driver, 62, "cuMemcpyDtoHAsync", Level::Launch),
    call(Domain::Driver, 64, "cuMemcpyDtoDAsync", Level::Launch),
    call(Domain::Driver, 68, "cuMemcpy2DAsync", Level::Launch),
    call(Domain::Driver, 69, "cuMemcpy3DAsync", Level::Launch),
    call(Domain::Driver, 118, "cuEventCreate", Level::Launch),
    call(Domain::Driver, 119, "cuEventRecord", Level::Deep),
    call(Domain::Driver, 120, "cuEventQuery", Level::Deep),
    call(Domain::Driver, 121, "cuEventSynchronize", Level::Launch),
    call(Domain::Driver, 122, "cuEventDestroy", Level::Deep),
    call(Domain::Driver, 125, "cuStreamQuery", Level::Deep),
    call(Domain::Driver, 126, "cuStreamSynchronize", Level::Launch),
    call(Domain::Driver, 276, "cuMemcpyHtoD", Level::Launch),
    call(Domain::Driver, 277, "cuMemcpyHtoDAsync", Level::Launch),
    call(Domain::Driver, 278, "cuMemcpyDtoH", Level::Launch),
    call(Domain::Driver, 279, "cuMemcpyDtoHAsync", Level::Launch),
    call(Domain::Driver, 280, "cuMemcpyDtoD", Level::Launch),
    call(Domain::Driver, 281, "cuMemcpyDtoDAsync", Level::Launch),
    call(Domain::Driver, 287, "cuMemcpy2D", Level::Launch),
    call(Domain::Driver, 288, "cuMemcpy2DUnaligned", Level::Launch),
    call(Domain::Driver, 289, "cuMemcpy2DAsync", Level::Launch),
    call(Domain::Driver, 290, "cuMemcpy3D", Level::Launch),
    call(Domain::Driver, 291, "cuMemcpy3DAsync", Level::Launch),
    call(Domain::Driver, 295, "cuStreamWaitEvent", Level::Deep),
    call(Domain::Driver, 305, "cuMemcpy", Level::Launch),
    call(Domain::Driver, 306, "cuMemcpyAsync", Level::Launch),
    call(Domain::Driver, 307, "cuLaunchKernel", Level::Launch),
    call(Domain::Driver, 318, "cuMemcpyPeer", Level::Launch),
    call(Domain::Driver, 319, "cuMemcpyPeerAsync", Level::Launch),
    call(Domain::Driver, 320, "cuMemcpy3DPeer", Level::Launch),
    call(Domain::Driver, 321, "cuMemcpy3DPeerAsync", Level::Launch),
    call(Domain::Driver, 325, "cuEventDestroy", Level::Deep),
    call(Domain::Driver, 328, "cuIpcGetMemHandle", Level::Launch),
    call(Domain::Driver, 329, "cuIpcOpenMemHandle", Level::Launch),
    call(Domain::Driver, 330, "cuIpcCloseMemHandle", Level::Launch),
    call(Domain::Driver, 334, "cuIpcGetEventHandle", Level::Launch),
    call(Domain::Driver, 335, "cuIpcOpenEventHandle", Level::Launch),
    call(Domain::Driver, 397, "cuMemcpyHtoD", Level::Launch),
    call(Domain::Driver, 398, "cuMemcpyDtoH", Level::Launch),
    call(Domain::Driver, 399, "cuMemcpyDtoD", Level::Launch),
    call(Domain::Driver, 405, "cuMemcpy2D", Level::Launch),
    call(Domain::Driver, 406, "cuMemcpy2DUnaligned", Level::Launch),
    call(Domain::Driver, 407, "cuMemcpy3D", Level::Launch),
    call(Domain::Driver, 408, "cuMemcpy", Level::Launch),
    call(Domain::Driver, 409, "cuMemcpyPeer", Level::Launch),
    call(Domain::Driver, 410, "cuMemcpy3DPeer", Level::Launch),
    call(Domain::Driver, 418, "cuMemcpyAsync", Level::Launch),
    call(Domain::Driver, 421, "cuMemcpyHtoDAsync", Level::Launch),
    call(Domain::Driver, 422, "cuMemcpyDtoHAsync", Level::Launch),
    call(Domain::Driver, 423, "cuMemcpyDtoDAsync", Level::Launch),
    call(Domain::Driver, 424, "cuMemcpy2DAsync", Level::Launch),
    call(Domain::Driver, 425, "cuMemcpy3DAsync", Level::Launch),
    call(Domain::Driver, 426, "cuMemcpyPeerAsync", Level::Launch),
    call(Domain::Driver, 427, "cuMemcpy3DPeerAsync", Level::Launch),
    call(Domain::Driver, 436, "cuStreamWaitEvent", Level::Deep),
    call(Domain::Driver, 439, "cuStreamQuery", Level::Deep),
    call(Domain::Driver, 440, "cuStreamSynchronize", Level::Launch),
    call(Domain::Driver, 441, "cuEventRecord", Level::Deep),
    call(Domain::Driver, 442, "cuLaunchKernel", Level::Launch),
    call(Domain::Driver, 477, "cuLaunchCooperativeKernel", Level::Launch),
    call(Domain::Driver, 478, "cuLaunchCooperativeKernel", Level::Launch),
    call(Domain::Driver, 514, "cuGraphLaunch", Level::Launch),
    call(Domain::Driver, 515, "cuGraphLaunch", Level::Launch),
    call(Domain::Driver, 527, "cuLaunchHostFunc", Level::Deep),
    call(Domain::Driver, 528, "cuLaunchHostFunc", Level::Deep),
    call(Domain::Driver, 567, "cuIpcOpenMemHandle", Level::Launch),
    call(Domain::Driver, 587, "cuEventRecordWithFlags", Level::Deep),
    call(Domain::Driver, 588, "cuEventRecordWithFlags", Level::Deep),
    call(Domain::Driver, 652, "cuLaunchKernelEx", Level::Launch),
    call(Domain::Driver, 653, "cuLaunchKernelEx", Level::Launch),
    call(Domain::Driver, 776, "cuMemcpyBatchAsync", Level::Launch),
    call(Domain::Driver, 777, "cuMemcpyBatchAsync", Level::Launch),
    call(Domain::Driver, 778, "cuMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Driver, 779, "cuMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Driver, 796, "cuMemcpyBatchAsync", Level::Launch),
    call(Domain::Driver, 797, "cuMemcpyBatchAsync", Level::Launch),
    call(Domain::Driver, 798, "cuMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Driver, 799, "cuMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Driver, 800, "cuCtxSynchronize", Level::Launch),
    call(Domain::Driver, 831, "cuLaunchHostFunc", Level::Deep),
    call(Domain::Driver, 832, "cuLaunchHostFunc", Level::Deep),
    call(Domain::Driver, 837, "cuMemcpyWithAttributesAsync", Level::Launch),
    call(Domain::Driver, 838, "cuMemcpyWithAttributesAsync", Level::Launch),
    call(Domain::Driver, 839, "cuMemcpy3DWithAttributesAsync", Level::Launch),
    call(Domain::Driver, 840, "cuMemcpy3DWithAttributesAsync", Level::Launch),
    call(Domain::Runtime, 31, "cudaMemcpy", Level::Launch),
    call(Domain::Runtime, 32, "cudaMemcpy2D", Level::Launch),
    call(Domain::Runtime, 41, "cudaMemcpyAsync", Level::Launch),
    call(Domain::Runtime, 44, "cudaMemcpy2DAsync", Level::Launch),
    call(Domain::Runtime, 131, "cudaStreamSynchronize", Level::Launch),
    call(Domain::Runtime, 132, "cudaStreamQuery", Level::Deep),
    call(Domain::Runtime, 133, "cudaEventCreate", Level::Launch),
    call(Domain::Runtime, 134, "cudaEventCreateWithFlags", Level::Launch),
    call(Domain::Runtime, 135, "cudaEventRecord", Level::Deep),
    call(Domain::Runtime, 136, "cudaEventDestroy", Level::Deep),
    call(Domain::Runtime, 137, "cudaEventSynchronize", Level::Launch),
    call(Domain::Runtime, 138, "cudaEventQuery", Level::Deep),
    call(Domain::Runtime, 144, "cudaMemcpy3D", Level::Launch),
    call(Domain::Runtime, 145, "cudaMemcpy3DAsync", Level::Launch),
    call(Domain::Runtime, 147, "cudaStreamWaitEvent", Level::Deep),
    call(Domain::Runtime, 160, "cudaMemcpyPeer", Level::Launch),
    call(Domain::Runtime, 161, "cudaMemcpyPeerAsync", Level::Launch),
    call(Domain::Runtime, 162, "cudaMemcpy3DPeer", Level::Launch),
    call(Domain::Runtime, 163, "cudaMemcpy3DPeerAsync", Level::Launch),
    call(Domain::Runtime, 165, "cudaDeviceSynchronize", Level::Launch),
    call(Domain::Runtime, 176, "cudaIpcGetEventHandle", Level::Launch),
    call(Domain::Runtime, 177, "cudaIpcOpenEventHandle", Level::Launch),
    call(Domain::Runtime, 178, "cudaIpcGetMemHandle", Level::Launch),
    call(Domain::Runtime, 179, "cudaIpcOpenMemHandle", Level::Launch),
    call(Domain::Runtime, 180, "cudaIpcCloseMemHandle", Level::Launch),
    call(Domain::Runtime, 211, "cudaLaunchKernel", Level::Launch),
    call(Domain::Runtime, 214, "cudaLaunchKernel", Level::Launch),
    call(Domain::Runtime, 215, "cudaMemcpy", Level::Launch),
    call(Domain::Runtime, 216, "cudaMemcpy2D", Level::Launch),
    call(Domain::Runtime, 225, "cudaMemcpyAsync", Level::Launch),
    call(Domain::Runtime, 228, "cudaMemcpy2DAsync", Level::Launch),
    call(Domain::Runtime, 239, "cudaStreamSynchronize", Level::Launch),
    call(Domain::Runtime, 240, "cudaStreamQuery", Level::Deep),
    call(Domain::Runtime, 242, "cudaEventRecord", Level::Deep),
    call(Domain::Runtime, 245, "cudaMemcpy3D", Level::Launch),
    call(Domain::Runtime, 246, "cudaMemcpy3DAsync", Level::Launch),
    call(Domain::Runtime, 247, "cudaStreamWaitEvent", Level::Deep),
    call(Domain::Runtime, 249, "cudaMemcpy3DPeer", Level::Launch),
    call(Domain::Runtime, 250, "cudaMemcpy3DPeerAsync", Level::Launch),
    call(Domain::Runtime, 269, "cudaLaunchCooperativeKernel", Level::Launch),
    call(Domain::Runtime, 270, "cudaLaunchCooperativeKernel", Level::Launch),
    call(Domain::Runtime, 284, "cudaLaunchHostFunc", Level::Deep),
    call(Domain::Runtime, 285, "cudaLaunchHostFunc", Level::Deep),
    call(Domain::Runtime, 311, "cudaGraphLaunch", Level::Launch),
    call(Domain::Runtime, 312, "cudaGraphLaunch", Level::Launch),
    call(Domain::Runtime, 370, "cudaEventRecordWithFlags", Level::Deep),
    call(Domain::Runtime, 371, "cudaEventRecordWithFlags", Level::Deep),
    call(Domain::Runtime, 430, "cudaLaunchKernelExC", Level::Launch),
    call(Domain::Runtime, 431, "cudaLaunchKernelExC", Level::Launch),
    call(Domain::Runtime, 482, "cudaMemcpyBatchAsync", Level::Launch),
    call(Domain::Runtime, 483, "cudaMemcpyBatchAsync", Level::Launch),
    call(Domain::Runtime, 484, "cudaMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Runtime, 485, "cudaMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Runtime, 505, "cudaLaunchKernel", Level::Launch),
    call(Domain::Runtime, 506, "cudaLaunchKernel", Level::Launch),
    call(Domain::Runtime, 509, "cudaMemcpyBatchAsync", Level::Launch),
    call(Domain::Runtime, 510, "cudaMemcpyBatchAsync", Level::Launch),
    call(Domain::Runtime, 511, "cudaMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Runtime, 512, "cudaMemcpy3DBatchAsync", Level::Launch),
    call(Domain::Runtime, 550, "cudaLaunchHostFunc", Level::Deep),
    call(Domain::Runtime, 551, "cudaLaunchHostFunc", Level::Deep),
    call(Domain::Runtime, 554, "cudaMemcpyWithAttributesAsync", Level::Launch),
    call(Domain::Runtime, 555, "cudaMemcpyWithAttributesAsync", Level::Launch),
    call(Domain::Runtime, 556, "cudaMemcpy3DWithAttributesAsync", Level::Launch),
    call(Domain::Runtime, 557, "cudaMemcpy3DWithAttributesAsync", Level::Launch),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_without_twins() {
        for pair in CALLS.windows(2) {
            let key = |call: &Call| (call.domain as u32, call.cbid);
            assert!(key(&pair[0]) < key(&pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn names_are_found() {
        assert_eq!(name(0, 307), Some("cuLaunchKernel"));
        assert_eq!(name(0, 442), Some("cuLaunchKernel"));
        assert_eq!(name(1, 211), Some("cudaLaunchKernel"));
        assert_eq!(name(1, 0), None);
        assert_eq!(name(2, 211), None);
    }
}
