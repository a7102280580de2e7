//! What the NIXL uprobes write.
//!
//! Every ring-buffer record starts with a [`Header`], whose `kind` says which struct it is. Times are
//! `CLOCK_MONOTONIC` ns. Maps carry plain words so that the agent needs no `unsafe` to read them; the structs here say
//! what the words mean.

/// Longest text that is copied; longer ones are cut and keep their true length.
pub const TEXT_MAX: usize = 256;
/// Bytes of region descriptors in one [`Regions`] record.
pub const REGION_BYTES: usize = 1024;
/// Bytes of one side's descriptors in one [`Descriptors`] record.
pub const DESCRIPTOR_BYTES: usize = 2048;
/// Most [`Regions`] records of one call: 18 regions a record of 56-byte elements.
pub const REGION_RECORDS: u32 = 64;
/// Most [`Descriptors`] records of one post.
pub const DESCRIPTOR_RECORDS: u32 = 1024;
/// Most descriptors of one post that are recorded, with elements of 32 bytes; the rest is counted. NIXL merges neighbours
/// before it posts, so only scattered lists are long, and those take far longer to post than to copy.
pub const DESCRIPTOR_LIMIT: u64 = 65_536;
/// Most rows of one prepared list that are recorded; the rest is counted.
pub const PREPARED_ROWS: u32 = 1024;
/// Most elements of one prepared list of single blocks that are looked at, to find its runs.
pub const PREPARED_LOOKS: u32 = 65_536;
/// Size of the ring buffer, bytes: the lists of several posts at once.
pub const RING_BYTES: u32 = 16 << 20;
/// Most layouts (builds of NIXL) in one recording.
pub const LAYOUTS: u32 = 64;

/// Which function a probe sits on, and which struct a record is.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `nixlAgent` constructor: [`Agent`].
    Agent = 1,
    /// Entry of `registerMem`: [`Regions`], several if the list is long.
    Regions = 2,
    /// Return of `registerMem`: [`RegionsEnd`].
    RegionsEnd = 3,
    /// `makeXferReq`, overload with spans (NIXL 1.5): [`HandleMade`].
    MakeSpan = 4,
    /// `createXferReq`: [`HandleMade`].
    Create = 5,
    /// `postXferReq`: [`Posted`].
    Post = 6,
    /// Descriptors of a post: [`Descriptors`].
    Descriptors = 7,
    /// `getXferStatus` that left "in progress": [`Status`].
    Status = 8,
    /// Entry of `releaseXferReq`: [`Released`], and [`CallEnd`] when it returns.
    Release = 9,
    /// Entry of `genNotif`: [`Notif`].
    NotifSent = 10,
    /// Entry of the backend's `appendNotif`: [`Notif`].
    NotifArrived = 11,
    /// `makeXferReq`, overload with vectors (NIXL before 1.5): [`HandleMade`].
    MakeVector = 12,
    /// Entry of an `appendNotif` that may pass its arguments on to the one of its base class, which is then a hit of
    /// [`Kind::NotifArrived`] for the same arrival and writes nothing: [`Notif`].
    NotifPassed = 13,
    /// Return of `getNotifs` that handed notifications over: [`Notif`], one for each.
    NotifTaken = 14,
    /// Entry of `prepXferDlist`, a descriptor a block: [`Prepared`], after its [`PreparedRow`]s; [`CallEnd`] when it returns.
    Prepare = 15,
    /// The same, a descriptor for blocks at a constant distance (NIXL 1.5).
    PrepareStrided = 16,
    /// Blocks of a prepared list: [`PreparedRow`].
    PreparedRow = 17,
    /// `loadRemoteMD`: [`Call`], another one with the name that it has learned, and [`CallEnd`].
    LoadMd = 18,
    /// `makeConnection`: [`Call`] and [`CallEnd`].
    Connect = 19,
    /// `fetchRemoteMD`: the same.
    FetchMd = 20,
    /// `sendLocalMD`: the same.
    SendMd = 21,
    /// `invalidateRemoteMD`: the same.
    InvalidateMd = 22,
    /// `deregisterMem`: the same.
    Deregister = 23,
    /// Entry of one of these six, or a make or create that has failed: [`Call`].
    Call = 24,
    /// Return of one of these, of `prepXferDlist` or of `releaseXferReq`: [`CallEnd`].
    CallEnd = 25,
    /// In place of any of these that follow the layout, where that is judged and what it leads to is not what it should be:
    /// [`Contradicted`].
    Contradicted = 26,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 26] = [
        Self::Agent,
        Self::Regions,
        Self::RegionsEnd,
        Self::MakeSpan,
        Self::Create,
        Self::Post,
        Self::Descriptors,
        Self::Status,
        Self::Release,
        Self::NotifSent,
        Self::NotifArrived,
        Self::MakeVector,
        Self::NotifPassed,
        Self::NotifTaken,
        Self::Prepare,
        Self::PrepareStrided,
        Self::PreparedRow,
        Self::LoadMd,
        Self::Connect,
        Self::FetchMd,
        Self::SendMd,
        Self::InvalidateMd,
        Self::Deregister,
        Self::Call,
        Self::CallEnd,
        Self::Contradicted,
    ];

    /// The kind with that number.
    #[must_use]
    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == value)
    }
}

/// Why the kernel half lost something; counted in the per-CPU map `LOSSES` at [`loss_slot`].
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The ring buffer was full.
    RingFull = 0,
    /// The map of calls in flight was full: this call's return is not seen.
    EntriesFull = 1,
    /// The map of polled handles was full: polls of this handle are not counted.
    PollsFull = 2,
    /// A pointer to follow could not be read, so there is no record.
    Unreadable = 3,
    /// Notifications of one `getNotifs` beyond [`TAKEN_LIMIT`], or that cannot be told from those that were in the map before.
    Unrecorded = 4,
}

impl Loss {
    /// Every cause.
    pub const ALL: [Self; 5] = [Self::RingFull, Self::EntriesFull, Self::PollsFull, Self::Unreadable, Self::Unrecorded];
}

/// Slots of `LOSSES`.
pub const LOSS_SLOTS: u32 = 160;

/// Where a loss is counted.
#[must_use]
pub const fn loss_slot(loss: Loss, kind: Kind) -> u32 {
    (loss as u32) * 32 + kind as u32
}

/// Slots in the one value of the per-CPU map `HITS`.
pub const HIT_SLOTS: u32 = 64;

/// Where hits are counted: each trap, before anything else is done about it.
#[must_use]
pub const fn hit_slot(kind: Kind, is_return: bool) -> u32 {
    kind as u32 + if is_return { 32 } else { 0 }
}

/// What an attach cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// Number of the [`Kind`].
    pub kind: u32,
    /// Index into the map `LAYOUTS`.
    pub layout: u32,
}

impl Cookie {
    /// As the kernel carries it.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.layout as u64) << 32) | self.kind as u64
    }

    /// Back from the kernel.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a u64")]
    pub const fn from_u64(cookie: u64) -> Self {
        Self { kind: cookie as u32, layout: (cookie >> 32) as u32 }
    }
}

/// Offsets and sizes in one build of NIXL, all in bytes. In the map as [`Layout::WORDS`] words in this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// In the handle: 1 if the next two are pointers to the lists, 0 if they are the lists.
    pub handle_pointers: u32,
    /// In the handle: the local descriptor list.
    pub handle_local: u32,
    /// In the handle: the remote descriptor list.
    pub handle_remote: u32,
    /// In the handle: name of the remote agent (`std::string`).
    pub handle_peer: u32,
    /// In the handle: notification text (`std::string`).
    pub handle_notif: u32,
    /// In the handle: whether there is a notification (u8).
    pub handle_has_notif: u32,
    /// In the handle: operation (i32).
    pub handle_op: u32,
    /// In the handle: what the last post or poll said (i32).
    pub handle_status: u32,
    /// In the handle: payload (u64); 0 if the build does not always fill it in.
    pub handle_bytes: u32,
    /// In a descriptor list: memory type (i32).
    pub list_memory: u32,
    /// In a descriptor list: begin pointer of the vector; the end pointer follows it.
    pub list_begin: u32,
    /// Size of an element of the handle's lists.
    pub meta_bytes: u32,
    /// Size of an element of the lists given to `createXferReq`, and to `prepXferDlist` without strides.
    pub basic_bytes: u32,
    /// Size of an element of the lists with strides; 0 if the build has none.
    pub strided_bytes: u32,
    /// Size of an element of the list given to `registerMem`.
    pub blob_bytes: u32,
    /// 1 if the layout is assumed and not yet confirmed: then the strings and vectors that it leads to are looked at whether they are
    /// some.
    pub judged: u32,
}

impl Layout {
    /// Words in the map.
    pub const WORDS: usize = 16;

    /// For the map.
    #[must_use]
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [
            self.handle_pointers,
            self.handle_local,
            self.handle_remote,
            self.handle_peer,
            self.handle_notif,
            self.handle_has_notif,
            self.handle_op,
            self.handle_status,
            self.handle_bytes,
            self.list_memory,
            self.list_begin,
            self.meta_bytes,
            self.basic_bytes,
            self.strided_bytes,
            self.blob_bytes,
            self.judged,
        ]
    }
}

/// Key of the map `ENTRIES`: a call in flight.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKey {
    /// `tgid << 32 | tid`.
    pub pid_tgid: u64,
    /// Number of the [`Kind`].
    pub kind: u64,
}

/// Value of the map `ENTRIES`. A call that never returns leaves it behind, and the agent then reads it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When the call was entered.
    pub time_ns: u64,
    /// `this`.
    pub agent_ptr: u64,
    /// The request handle; for make and create, where its address will be stored.
    pub handle: u64,
    /// Descriptors asked for (make, create), else 0.
    pub asked: u64,
    /// Where the peer's name is (create), or will be stored (`loadRemoteMD`); else 0.
    pub peer: u64,
    /// Operation asked for (make, create, of a layout that is judged), else [`OP_UNKNOWN`].
    pub op: u64,
}

impl Entry {
    /// Words in the map.
    pub const WORDS: usize = 6;
}

/// An operation that was not looked at.
pub const OP_UNKNOWN: u64 = u64::MAX;

/// Key of the map `POLLS`: a handle that was in progress when last seen.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollKey {
    /// Process.
    pub tgid: u64,
    /// The request handle.
    pub handle: u64,
}

/// Value of the map `POLLS`, and part of the records that end a transfer.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polls {
    /// Polls that said "in progress".
    pub pending: u64,
    /// Entry of the last of them; 0 for none.
    pub last_pending_ns: u64,
}

/// Start of every record, also of Mooncake's.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the record was made: entry of the function, or its return for records of a return.
    pub time_ns: u64,
    /// `tgid << 32 | tid`.
    pub pid_tgid: u64,
    /// Number of the [`Kind`].
    pub kind: u32,
    /// Index into the map of layouts.
    pub layout: u32,
}

/// A text of the traced process.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// True length; what is beyond [`TEXT_MAX`] was not copied.
    pub len: u64,
    /// 1 if `bytes` could be read; else `bytes` means nothing.
    pub read: u64,
    /// The first bytes; those beyond `len` mean nothing.
    pub bytes: [u8; TEXT_MAX],
}

/// An agent is being made.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Agent {
    /// Header.
    pub header: Header,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// Its name.
    pub name: Text,
}

/// Some regions of a `registerMem` call.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Regions {
    /// Header; `time_ns` is the entry of the call for each of its records.
    pub header: Header,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// Regions in the whole list.
    pub total: u32,
    /// Position of the first region here.
    pub first: u32,
    /// Regions here; 0 if they could not be read.
    pub count: u32,
    /// Memory type of the list; -1 if it could not be read.
    pub memory: i32,
    /// `count` elements as they lay in the process.
    pub data: [u8; REGION_BYTES],
}

/// The end of a `registerMem` call.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct RegionsEnd {
    /// Header.
    pub header: Header,
    /// Entry of the call.
    pub entry_ns: u64,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// NIXL status.
    pub status: i32,
    /// Zero.
    pub pad: u32,
}

/// What a request handle says of itself.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    /// Payload, bytes.
    pub bytes: u64,
    /// Descriptors after merging, local side.
    pub descriptors: u64,
    /// Operation: 0 read, 1 write.
    pub op: i32,
    /// Memory type of the local side.
    pub local_memory: i32,
    /// Memory type of the remote side.
    pub remote_memory: i32,
    /// Whether it carries a notification.
    pub has_notif: u32,
    /// Which of the fields could not be read: bits of [`unread`].
    pub unread: u32,
    /// Zero.
    pub pad: u32,
    /// Remote agent.
    pub peer: Text,
    /// Notification text.
    pub notif: Text,
}

/// Bits of [`Handle::unread`].
pub mod unread {
    /// `bytes`.
    pub const BYTES: u32 = 1;
    /// `descriptors`.
    pub const DESCRIPTORS: u32 = 1 << 1;
    /// `op`.
    pub const OP: u32 = 1 << 2;
    /// `local_memory`.
    pub const LOCAL_MEMORY: u32 = 1 << 3;
    /// `remote_memory`.
    pub const REMOTE_MEMORY: u32 = 1 << 4;
    /// `has_notif`.
    pub const HAS_NOTIF: u32 = 1 << 5;
}

/// A request handle was made.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct HandleMade {
    /// Header; `kind` says by which function.
    pub header: Header,
    /// Entry of the call.
    pub entry_ns: u64,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// The new handle.
    pub handle: u64,
    /// Descriptors asked for.
    pub asked: u64,
    /// Operation asked for, if the layout is judged; else [`OP_UNKNOWN`].
    pub op: u64,
    /// What it says.
    pub about: Handle,
}

/// What a judged layout leads to is not what it should be; there is no other record of that call.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradicted {
    /// Header.
    pub header: Header,
    /// Number of the [`Kind`] of what was called.
    pub of: u32,
    /// Bits of [`flaw`].
    pub flaws: u32,
}

/// Bits of [`Contradicted::flaws`]: what is not there.
pub mod flaw {
    /// A `std::string` with the peer's name.
    pub const PEER: u32 = 1;
    /// A `std::string` with the notification.
    pub const NOTIF: u32 = 1 << 1;
    /// A vector of local descriptors.
    pub const LOCAL: u32 = 1 << 2;
    /// A vector of remote descriptors.
    pub const REMOTE: u32 = 1 << 3;
    /// The status that the call has just given.
    pub const STATUS: u32 = 1 << 4;
    /// A vector of what is registered, prepared or asked for.
    pub const LIST: u32 = 1 << 5;
    /// Whether there is a notification: 0 or 1.
    pub const HAS_NOTIF: u32 = 1 << 6;

    /// Each with what it is of.
    pub const ALL: [(u32, &str); 7] = [
        (PEER, "the peer's name"),
        (NOTIF, "the notification"),
        (LOCAL, "the local descriptors"),
        (REMOTE, "the remote descriptors"),
        (STATUS, "the status"),
        (LIST, "the list"),
        (HAS_NOTIF, "whether there is a notification"),
    ];
}

/// A post returned.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Posted {
    /// Header.
    pub header: Header,
    /// Entry of the call.
    pub entry_ns: u64,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// The handle.
    pub handle: u64,
    /// Polls of an earlier post of the handle that was not seen to end.
    pub earlier: Polls,
    /// NIXL status: 0 done, 1 in progress, negative an error.
    pub status: i32,
    /// Zero.
    pub pad: u32,
    /// What the handle says.
    pub about: Handle,
}

/// Some descriptors of a post; follows its [`Posted`].
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Descriptors {
    /// Header.
    pub header: Header,
    /// The handle.
    pub handle: u64,
    /// Position of the first descriptor here.
    pub first: u32,
    /// Descriptors here.
    pub count: u32,
    /// Whether the remote side could be read (1) or not (0).
    pub remote_read: u32,
    /// Zero.
    pub pad: u32,
    /// `count` local elements as they lay in the process.
    pub local: [u8; DESCRIPTOR_BYTES],
    /// `count` remote elements.
    pub remote: [u8; DESCRIPTOR_BYTES],
}

/// A poll found that the transfer had ended.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Status {
    /// Header: return of that poll.
    pub header: Header,
    /// The handle.
    pub handle: u64,
    /// Polls before it.
    pub polls: Polls,
    /// NIXL status: 0 done, negative an error.
    pub status: i32,
    /// Zero.
    pub pad: u32,
}

/// A handle is being released.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Released {
    /// Header.
    pub header: Header,
    /// The handle.
    pub handle: u64,
    /// Polls of a transfer that was not seen to end.
    pub polls: Polls,
    /// What the last post or poll said, as the handle keeps it: 0 done, 1 in progress, negative an error.
    pub status: i32,
    /// Whether `status` could be read.
    pub status_read: u32,
}

/// A call of which there is no other record; it may come again, once the peer is known.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Call {
    /// Header.
    pub header: Header,
    /// Entry of the call.
    pub entry_ns: u64,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// Number of the function's [`Kind`].
    pub of: u32,
    /// Zero.
    pub pad: u32,
    /// The peer; empty if the call names none, or not yet.
    pub peer: Text,
}

/// A call returned.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct CallEnd {
    /// Header.
    pub header: Header,
    /// Entry of the call.
    pub entry_ns: u64,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// The request handle of a release, else 0.
    pub handle: u64,
    /// Number of the function's [`Kind`].
    pub of: u32,
    /// NIXL status.
    pub status: i32,
}

/// Most notifications of one `getNotifs` that are recorded: 2 MB of the ring.
pub const TAKEN_LIMIT: u32 = 4096;

/// A notification is being sent, has arrived, or was taken.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Notif {
    /// Header.
    pub header: Header,
    /// The other end's agent name.
    pub peer: Text,
    /// Message.
    pub message: Text,
}

/// Blocks of a prepared list, at a constant distance from each other.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreparedRow {
    /// Header; `time_ns` is the entry of the call for each of its records.
    pub header: Header,
    /// Position in the list.
    pub position: u64,
    /// First byte of the first block.
    pub addr: u64,
    /// Size of a block, bytes.
    pub bytes: u64,
    /// Device.
    pub device: u64,
    /// From the start of a block to that of the next, bytes.
    pub stride: u64,
    /// Blocks.
    pub count: u64,
}

/// A list is being prepared; its [`PreparedRow`]s came before.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
pub struct Prepared {
    /// Header; `kind` says which of the two functions it is.
    pub header: Header,
    /// Address of the agent object.
    pub agent_ptr: u64,
    /// Elements of the list.
    pub asked: u64,
    /// Elements that rows stand for, whether these were recorded or not.
    pub covered: u64,
    /// Those rows.
    pub rows: u64,
    /// Memory type of the list; -1 if it could not be read.
    pub memory: i32,
    /// Zero.
    pub pad: u32,
    /// Whose memory it is; empty for the agent's own.
    pub peer: Text,
}

const _: () = {
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<Text>() == 16 + TEXT_MAX);
    assert!(size_of::<Layout>() == 4 * Layout::WORDS);
    assert!(size_of::<Entry>() == 8 * Entry::WORDS);
    assert!(size_of::<Handle>() == 40 + 2 * size_of::<Text>());
    assert!(size_of::<HandleMade>() == 64 + size_of::<Handle>());
    assert!(size_of::<Contradicted>() == 32);
    assert!(size_of::<Posted>() == 72 + size_of::<Handle>());
    assert!(size_of::<Regions>() == 48 + REGION_BYTES);
    assert!(size_of::<RegionsEnd>() == 48);
    assert!(size_of::<Descriptors>() == 48 + 2 * DESCRIPTOR_BYTES);
    assert!(size_of::<Status>() == 56);
    assert!(size_of::<Released>() == 56);
    assert!(size_of::<Notif>() == 24 + 2 * size_of::<Text>());
    assert!(size_of::<PreparedRow>() == 72);
    assert!(size_of::<Prepared>() == 64 + size_of::<Text>());
    assert!(size_of::<Call>() == 48 + size_of::<Text>());
    assert!(size_of::<CallEnd>() == 56);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_kinds_come_back() {
        for kind in Kind::ALL {
            let cookie = Cookie { kind: kind as u32, layout: 63 };
            assert_eq!(Cookie::from_u64(cookie.to_u64()), cookie);
            assert_eq!(Kind::from_u32(kind as u32), Some(kind));
        }
        assert_eq!(Kind::from_u32(0), None);
        assert_eq!(Kind::from_u32(99), None);
    }

    #[test]
    fn every_hit_has_a_slot_of_its_own() {
        let mut seen = [false; HIT_SLOTS as usize];
        for kind in Kind::ALL {
            for is_return in [false, true] {
                let slot = hit_slot(kind, is_return) as usize;
                assert!(!core::mem::replace(&mut seen[slot], true), "{kind:?} {is_return}");
            }
        }
    }

    #[test]
    fn every_loss_has_a_slot_of_its_own() {
        let mut seen = [false; LOSS_SLOTS as usize];
        for loss in Loss::ALL {
            for kind in Kind::ALL {
                let slot = loss_slot(loss, kind) as usize;
                assert!(!core::mem::replace(&mut seen[slot], true), "{loss:?} {kind:?}");
            }
        }
    }
}
