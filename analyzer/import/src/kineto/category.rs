//! Categories of events.

/// What an event is, by its `cat` (`ActivityType` in Kineto's sources).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Category {
    /// An operator of PyTorch on a CPU thread.
    CpuOp,
    /// A range that a program names: `record_function`, `ProfilerStep#12`.
    UserAnnotation,
    /// A call of the CUDA runtime or driver API, or another backend's.
    ApiCall,
    /// A kernel.
    Kernel,
    /// A copy by a GPU.
    Memcpy,
    /// A memset by a GPU.
    Memset,
    /// A synchronisation.
    Sync,
    /// The recording of a CUDA event into a stream.
    CudaEvent,
    /// Time that CUPTI or the driver took.
    Overhead,
    /// Anything else.
    #[default]
    Other,
}

impl Category {
    /// The category of that name; until 2022 they were written as `Operator`, `Runtime`, `Kernel`, `Memcpy`, `Memset`.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"cpu_op" | b"Operator" => Self::CpuOp,
            b"user_annotation" => Self::UserAnnotation,
            b"cuda_runtime"
            | b"cuda_driver"
            | b"Runtime"
            | b"xpu_runtime"
            | b"xpu_driver"
            | b"mtia_runtime"
            | b"privateuse1_runtime"
            | b"privateuse1_driver"
            | b"glow_runtime" => Self::ApiCall,
            b"kernel" | b"Kernel" => Self::Kernel,
            b"gpu_memcpy" | b"Memcpy" => Self::Memcpy,
            b"gpu_memset" | b"Memset" => Self::Memset,
            b"cuda_sync" => Self::Sync,
            b"cuda_event" => Self::CudaEvent,
            b"overhead" => Self::Overhead,
            _ => Self::Other,
        }
    }

    /// The table that such events become rows of.
    pub(super) fn table(self) -> Option<&'static str> {
        match self {
            Self::CpuOp | Self::UserAnnotation => Some("nvtx_ranges"),
            Self::ApiCall => Some("api_calls"),
            Self::Kernel => Some("kernels"),
            Self::Memcpy => Some("memcpys"),
            Self::Memset => Some("memsets"),
            Self::Sync => Some("gpu_syncs"),
            Self::CudaEvent => Some("cuda_events"),
            Self::Overhead => Some("cupti_overheads"),
            Self::Other => None,
        }
    }

    /// Whether such events carry the id of their process; those of a GPU carry the device's in its place.
    pub(super) fn is_host(self) -> bool {
        matches!(self, Self::CpuOp | Self::UserAnnotation | Self::ApiCall)
    }

    /// Whether anything is read from the `args` of such events.
    pub(super) fn has_args(self) -> bool {
        !matches!(self, Self::CpuOp | Self::UserAnnotation | Self::Overhead)
    }
}
