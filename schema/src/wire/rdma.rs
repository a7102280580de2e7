//! What the uprobes on libibverbs write.

/// Size of the ring buffer, bytes.
pub const RING_BYTES: u32 = 1 << 20;
/// Arguments that are kept of a call.
pub const ARGS: usize = 4;

/// Which function a probe sits on; all of them belong to the control path, which is walked seldom.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `ibv_reg_mr_iova2` (`ibv_reg_mr` jumps to it).
    RegMr = 1,
    /// `ibv_reg_dmabuf_mr`.
    RegDmabuf = 2,
    /// `ibv_dereg_mr`.
    DeregMr = 3,
    /// `ibv_create_qp`, `mlx5dv_create_qp`.
    CreateQp = 4,
    /// `ibv_modify_qp`.
    ModifyQp = 5,
    /// `ibv_destroy_qp`.
    DestroyQp = 6,
    /// `ibv_create_cq`.
    CreateCq = 7,
    /// `mlx5dv_devx_obj_create`.
    DevxCreate = 8,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RegMr,
        Self::RegDmabuf,
        Self::DeregMr,
        Self::CreateQp,
        Self::ModifyQp,
        Self::DestroyQp,
        Self::CreateCq,
        Self::DevxCreate,
    ];

    /// The call with that number.
    #[must_use]
    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|call| *call as u32 == value)
    }
}

/// Slots of the per-CPU map `RDMA_LOST`: records the ring had no room for, and calls in flight that were too many.
pub const LOST_SLOTS: u32 = 2;

/// Value of the map `RDMA_ENTRIES`: a call in flight, by thread.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it was entered.
    pub time_ns: u64,
    /// Its first arguments.
    pub args: [u64; ARGS],
    /// For `ibv_modify_qp`: the state that is asked for; else, or if it could not be read, `u32::MAX`.
    pub state: u32,
    /// Number of the [`Call`].
    pub call: u32,
}

/// A call returned.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// When.
    pub time_ns: u64,
    /// `tgid << 32 | tid`.
    pub pid_tgid: u64,
    /// What it returned.
    pub result: u64,
    /// What its entry said.
    pub entry: Entry,
}

const _: () = {
    assert!(size_of::<Entry>() == 48);
    assert!(size_of::<Returned>() == 72);
};
