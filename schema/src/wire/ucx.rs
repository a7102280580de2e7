//! What the UCX uprobes write. Every record starts with a [`Header`]; times are `CLOCK_MONOTONIC` ns.

/// Size of the ring buffer, bytes: a transfer of 36,000 descriptors is as many records of 80 bytes.
pub const RING_BYTES: u32 = 8 << 20;
/// Most transport functions of all libraries of a recording.
pub const FUNCTIONS: u32 = 4096;

/// Which function a probe sits on.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `ucp_put_nbx`: [`Op`].
    Put = 1,
    /// `ucp_get_nbx`: [`Op`].
    Get = 2,
    /// `ucp_am_send_nbx`: [`Op`].
    Am = 3,
    /// `ucp_tag_send_nbx`: [`Op`].
    Tag = 4,
    /// `ucp_ep_flush_nbx`: [`Op`].
    Flush = 5,
    /// Entry of `ucp_request_free`: [`Freed`].
    Free = 6,
    /// Entry of a function of a transport (`uct_*_ep_*`): counted, and noted in the op that it serves.
    Transport = 7,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Put, Self::Get, Self::Am, Self::Tag, Self::Flush, Self::Free, Self::Transport];

    /// The call with that number.
    #[must_use]
    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|call| *call as u32 == value)
    }

    /// Whether its return is probed too.
    #[must_use]
    pub const fn has_return(self) -> bool {
        !matches!(self, Self::Free | Self::Transport)
    }
}

/// What an attach cookie says: the [`Call`], and for a transport its function's number, from 1.
#[must_use]
pub const fn cookie(call: Call, function: u32) -> u64 {
    ((function as u64) << 32) | call as u64
}

/// Slots in the one value of the per-CPU map `UCX_COUNTS`: hits of entries by call, of returns, and losses.
pub const COUNT_SLOTS: u32 = 32;
/// Where hits of a return are counted; those of an entry at the call's number.
#[must_use]
pub const fn return_slot(call: Call) -> u32 {
    8 + call as u32
}
/// Ops that are missing because the ring buffer was full.
pub const LOST_OPS: u32 = 16;
/// Ends of ops that are missing for that.
pub const LOST_ENDS: u32 = 17;
/// Ops that are missing because too many calls were in flight.
pub const LOST_ENTRIES: u32 = 18;
/// Calls of transports that could not be counted.
pub const LOST_CALLS: u32 = 19;

/// Start of every record.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the record was made.
    pub time_ns: u64,
    /// `tgid << 32 | tid`.
    pub pid_tgid: u64,
    /// Number of the [`Call`].
    pub call: u32,
    /// For an op: number of the first transport function that it called, 0 for none.
    pub function: u32,
}

/// Value of the map `UCX_ENTRIES`: a call in flight, by thread.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it was entered.
    pub time_ns: u64,
    /// The endpoint.
    pub ep: u64,
    /// The remote address (put, get), else 0.
    pub remote: u64,
    /// Payload, bytes.
    pub bytes: u64,
    /// Number of the first transport function called.
    pub function: u32,
    /// Whether `bytes` is known: it is not for data that is not contiguous.
    pub bytes_known: u32,
}

/// A send call returned.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Header.
    pub header: Header,
    /// What its entry said.
    pub entry: Entry,
    /// What it returned: 0 done, a small negative number an error, else the request.
    pub result: u64,
}

/// A request is being freed, for its owner has seen that it is over.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// Header.
    pub header: Header,
    /// The request.
    pub request: u64,
}

/// Key of the map `UCX_CALLS`, whose value is a count.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey {
    /// Process.
    pub tgid: u32,
    /// Number of the transport function.
    pub function: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<Entry>() == 40);
    assert!(size_of::<Op>() == 72);
    assert!(size_of::<Freed>() == 32);
    assert!(return_slot(Call::Transport) < LOST_OPS && LOST_CALLS < COUNT_SLOTS);
};
