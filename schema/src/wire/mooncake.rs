//! What the uprobes on Mooncake's transfer engine write.
//!
//! Every ring-buffer record starts with a [`Header`], whose `kind` says which struct it is. Times are `CLOCK_MONOTONIC` ns.

pub use super::nixl::Header;
use super::nixl::Text;

/// Bytes of a vector's elements in one [`Requests`] record: 64 of 56 bytes.
pub const REQUEST_BYTES: usize = 3584;
/// Most [`Requests`] records of one submit: 65,536 requests of 56 bytes.
pub const REQUEST_RECORDS: u32 = 1024;
/// Bytes of a vector's elements in one [`Registered`] record.
pub const BUFFER_BYTES: usize = 1024;
/// Most [`Registered`] records of one call.
pub const BUFFER_RECORDS: u32 = 64;
/// Most tasks of a batch that are looked at when it is freed and does not say itself how it ended.
pub const TASKS: u32 = 4096;
/// Size of the ring buffer, bytes.
pub const RING_BYTES: u32 = 8 << 20;
/// Most layouts (builds of Mooncake) in one recording.
pub const LAYOUTS: u32 = 64;
/// Bytes of the request in which SGLang's prefill hands over the room of a request, which its first 8 bytes are.
pub const ROOM_ROW_BYTES: u64 = 64;

/// Which function a probe sits on, and which struct a record is.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Return of `TransferEngine::openSegment`: [`Opened`].
    Open = 1,
    /// Entry of `registerLocalMemory`: [`Registered`].
    Register = 2,
    /// Entry of `registerLocalMemoryBatch`: [`Registered`], several if the list is long.
    RegisterBatch = 3,
    /// Entry of `submitTransfer` or `submitTransferWithNotify`: [`Submitted`].
    Submit = 4,
    /// Requests of a submit: [`Requests`].
    Requests = 5,
    /// Entry of `freeBatchID`: [`Freed`].
    Free = 6,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Register, Self::RegisterBatch, Self::Submit, Self::Requests, Self::Free];

    /// The kind with that number.
    #[must_use]
    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == value)
    }
}

/// Why the kernel half lost something.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The ring buffer was full.
    RingFull = 0,
    /// The map of calls in flight was full: this call's return is not seen.
    EntriesFull = 1,
    /// A pointer to follow could not be read, so there is no record.
    Unreadable = 2,
}

impl Loss {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::RingFull, Self::EntriesFull, Self::Unreadable];
}

/// Slots in the one value of the per-CPU map `MOONCAKE_COUNTS`: hits of entries by kind, of returns, and losses.
pub const COUNT_SLOTS: u32 = 64;

/// Where hits are counted.
#[must_use]
pub const fn hit_slot(kind: Kind, is_return: bool) -> u32 {
    kind as u32 + if is_return { 8 } else { 0 }
}

/// Where a loss is counted.
#[must_use]
pub const fn loss_slot(loss: Loss, kind: Kind) -> u32 {
    16 + (loss as u32) * 8 + kind as u32
}

/// What an attach cookie says: the [`Kind`], the index into the map `MOONCAKE_LAYOUTS`, and whether rooms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// Number of the [`Kind`].
    pub kind: u32,
    /// Index of the layout.
    pub layout: u16,
    /// Whether [`Submitted::room`] is read.
    pub reads_room: bool,
}

impl Cookie {
    /// As the kernel carries it.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.reads_room as u64) << 48) | ((self.layout as u64) << 32) | self.kind as u64
    }

    /// Back from the kernel.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a u64")]
    pub const fn from_u64(cookie: u64) -> Self {
        Self { kind: cookie as u32, layout: (cookie >> 32) as u16, reads_room: cookie >> 48 != 0 }
    }
}

/// Offsets and sizes in one build of Mooncake, all in bytes. In the map as [`Layout::WORDS`] words in this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// In `TransferEngine`: pointer to its implementation.
    pub engine_impl: u32,
    /// In the implementation: the local server name (`std::string`).
    pub impl_name: u32,
    /// Size of a `TransferRequest`.
    pub request_bytes: u32,
    /// In a request: operation (i32; 0 read, 1 write).
    pub request_op: u32,
    /// In a request: local address (u64).
    pub request_source: u32,
    /// In a request: segment id of the peer (u64).
    pub request_target: u32,
    /// In a request: address at the peer (u64).
    pub request_offset: u32,
    /// In a request: size (u64).
    pub request_length: u32,
    /// In a batch: vector of tasks.
    pub batch_tasks: u32,
    /// In a batch: whether all of it was seen to be done (u8).
    pub batch_finished: u32,
    /// Size of a task.
    pub task_bytes: u32,
    /// In a task: slices that failed (u64).
    pub task_failed: u32,
    /// In a task: whether it has ended (u8).
    pub task_finished: u32,
    /// Size of an element of the list given to `registerLocalMemoryBatch`: address and size come first, 8 bytes each.
    pub buffer_bytes: u32,
}

impl Layout {
    /// Words in the map.
    pub const WORDS: usize = 14;

    /// For the map.
    #[must_use]
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [
            self.engine_impl,
            self.impl_name,
            self.request_bytes,
            self.request_op,
            self.request_source,
            self.request_target,
            self.request_offset,
            self.request_length,
            self.batch_tasks,
            self.batch_finished,
            self.task_bytes,
            self.task_failed,
            self.task_finished,
            self.buffer_bytes,
        ]
    }
}

/// Value of the map `MOONCAKE_ENTRIES`: an `openSegment` in flight, by thread.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it was entered.
    pub time_ns: u64,
    /// The engine.
    pub engine: u64,
    /// Address of the segment's name.
    pub name: u64,
}

/// A peer was opened.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Opened {
    /// Header.
    pub header: Header,
    /// Address of the engine.
    pub engine: u64,
    /// Its id, by which requests name it; all ones if it could not be opened.
    pub segment: u64,
    /// Its name.
    pub name: Text,
}

/// Memory is being registered.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Registered {
    /// Header.
    pub header: Header,
    /// Address of the engine.
    pub engine: u64,
    /// Buffers of the call.
    pub total: u32,
    /// Position of the first buffer here.
    pub first: u32,
    /// Buffers here; 0 if they could not be read.
    pub count: u32,
    /// Zero.
    pub pad: u32,
    /// Name of the engine.
    pub own: Text,
    /// Where the memory is, as the caller says: `cpu:0`, `cuda:0`, or `*` for a look by Mooncake.
    pub location: Text,
    /// `count` elements as they lay in the process.
    pub data: [u8; BUFFER_BYTES],
}

/// A batch is being submitted.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Submitted {
    /// Header.
    pub header: Header,
    /// Address of the engine.
    pub engine: u64,
    /// Batch id.
    pub batch: u64,
    /// Requests.
    pub total: u64,
    /// Tasks that the batch has already: this submit is not its first.
    pub tasks_before: u64,
    /// What the first 8 bytes of the last request's local memory hold, if `room_read`.
    pub room: u64,
    /// Whether it is a write of [`ROOM_ROW_BYTES`] whose next 8 bytes are 0, rooms are to be read, and it could be.
    pub room_read: u32,
    /// Zero.
    pub pad: u32,
    /// Name of the engine.
    pub own: Text,
}

/// Some requests of a submit; follows its [`Submitted`].
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Requests {
    /// Header.
    pub header: Header,
    /// Batch id.
    pub batch: u64,
    /// Position of the first request here.
    pub first: u32,
    /// Requests here.
    pub count: u32,
    /// `count` elements as they lay in the process.
    pub data: [u8; REQUEST_BYTES],
}

/// A batch is being freed.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// Header.
    pub header: Header,
    /// Batch id.
    pub batch: u64,
    /// Its tasks; one a request, none if it could not be submitted.
    pub tasks: u64,
    /// Tasks that were looked at, if it does not say itself that it is done.
    pub looked: u64,
    /// Of these, with slices that failed.
    pub failed: u64,
    /// Of these, ended.
    pub ended: u64,
    /// Whether it says itself that it is done.
    pub finished: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Layout>() == 4 * Layout::WORDS);
    assert!(size_of::<Opened>() == 40 + size_of::<Text>());
    assert!(size_of::<Registered>() == 48 + 2 * size_of::<Text>() + BUFFER_BYTES);
    assert!(size_of::<Submitted>() == 72 + size_of::<Text>());
    assert!(size_of::<Requests>() == 40 + REQUEST_BYTES);
    assert!(size_of::<Freed>() == 72);
    assert!(loss_slot(Loss::Unreadable, Kind::Free) < COUNT_SLOTS);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_kinds_come_back() {
        for kind in Kind::ALL {
            let cookie = Cookie { kind: kind as u32, layout: 63, reads_room: kind == Kind::Submit };
            assert_eq!(Cookie::from_u64(cookie.to_u64()), cookie);
            assert_eq!(Kind::from_u32(kind as u32), Some(kind));
        }
        assert_eq!((Kind::from_u32(0), Kind::from_u32(99)), (None, None));
    }

    #[test]
    fn every_count_has_a_slot_of_its_own() {
        let mut seen = [false; COUNT_SLOTS as usize];
        let hits = Kind::ALL.into_iter().flat_map(|kind| [hit_slot(kind, false), hit_slot(kind, true)]);
        let losses =
            Loss::ALL.into_iter().flat_map(|loss| Kind::ALL.into_iter().map(move |kind| loss_slot(loss, kind)));
        for slot in hits.chain(losses) {
            assert!(!core::mem::replace(&mut seen[slot as usize], true), "{slot}");
        }
    }
}
