//! The ring file: how `libkvpath_inject.so`, inside a traced process, hands records to the agent.
//!
//! One file a process, in a directory that both know; the producer maps it, the reader uses `pread` and `pwrite`, so that
//! a producer that shrinks its file cannot hurt the agent. It outlives the process by design: what was recorded before a
//! `kill -9` is still there.
//!
//! The file is an array of 64-bit words of the machine's byte order, in this order:
//!
//! | part | words | written by |
//! |---|---|---|
//! | header | [`HEADER_WORDS`] | producer, save for the [`control`] words |
//! | lane headers | [`LANE_WORDS`] for each lane | producer, save for [`lane::TAIL`] |
//! | names | [`Shape::names_words`] | producer |
//! | data of lane 0, for what CUPTI tells | [`Shape::gpu_words`] | the one thread that decodes CUPTI's buffers |
//! | data of the other lanes, for NVTX | [`Shape::thread_words`] each | the thread that owns the lane |
//!
//! **Lanes** are single-producer, single-consumer rings. One lane a thread, not one ring for all, because then a thread
//! that is killed or stopped halfway through a record holds up nobody: its head has not moved, so the record is not there.
//! Head and tail count words since the start and never wrap; word `n` lies at `n` modulo the lane's size. A record is
//! whole once the head has passed it. A full lane drops what comes and counts it in [`header::LOSSES`].
//!
//! **Records** are a header word ([`Head`]), the fixed words of their kind ([`records`]), then, for kinds that carry
//! text, a word with the length and the bytes. The header word holds a check of the record's position, so a reader sees
//! words that are old, torn or made up; it then skips to the head and counts one damage.
//!
//! **Names** are stored once, so a reader that comes late can still read them. A name's id is the index of its first word
//! in the area: a word with length and check, written last, then the bytes. 0 is no name.

pub mod records;

/// First word of the file: "KVPRING" and the byte order.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"KVPRING\x01");
/// Version of this layout. A reader takes no other.
pub const VERSION: u32 = 2;
/// Words of the header: two pages of 4 KiB.
pub const HEADER_WORDS: usize = 1024;
/// Words of a lane header: two cache lines, so that producer and reader do not write to the same one.
pub const LANE_WORDS: usize = 16;
/// Longest name or text, bytes; longer ones are cut.
pub const TEXT_MAX: usize = 1024;
/// Most words of a record, header included.
pub const RECORD_WORDS_MAX: usize = 255;
/// Most lanes of a file.
pub const LANES_MAX: usize = 1024;
/// Most words of a lane or of the name area: 1 GiB.
pub const AREA_WORDS_MAX: usize = 1 << 27;
/// Most devices of which a process tells the UUID.
pub const DEVICES_MAX: usize = 32;
/// The lane of what CUPTI tells.
pub const GPU_LANE: usize = 0;
/// Extension of ring files; before it: pid, `-`, creation time (`CLOCK_MONOTONIC` ns).
pub const EXTENSION: &str = "ring";

/// Words of the header.
pub mod header {
    /// [`super::MAGIC`]; written last, so a file without it is not ready.
    pub const MAGIC: usize = 0;
    /// [`super::VERSION`].
    pub const VERSION: usize = 1;
    /// Size of the file, words.
    pub const FILE_WORDS: usize = 2;
    /// Number of lanes.
    pub const LANES: usize = 3;
    /// Words of lane 0.
    pub const GPU_WORDS: usize = 4;
    /// Words of each other lane.
    pub const THREAD_WORDS: usize = 5;
    /// Words of the name area.
    pub const NAMES_WORDS: usize = 6;
    /// Pid as the producer sees it.
    pub const PID: usize = 7;
    /// Start of the process, clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub const START_TICKS: usize = 8;
    /// When the file was made, `CLOCK_MONOTONIC` ns.
    pub const CREATED_NS: usize = 9;
    /// Clock of every time: [`super::CLOCK_MONOTONIC`].
    pub const CLOCK: usize = 10;
    /// Words of the name area in use or reserved.
    pub const NAMES_HEAD: usize = 16;
    /// When the producer's thread last went round, `CLOCK_MONOTONIC` ns; 0 if it has none (NVTX alone).
    pub const HEARTBEAT_NS: usize = 17;
    /// [`super::Level`] in force.
    pub const LEVEL: usize = 18;
    /// [`super::State`] of CUPTI.
    pub const STATE: usize = 19;
    /// When CUPTI came into that state, `CLOCK_MONOTONIC` ns.
    pub const STATE_NS: usize = 20;
    /// `CUPTI_API_VERSION` of the library in use; 0 for none.
    pub const CUPTI_VERSION: usize = 21;
    /// Last error of CUPTI, as `CUptiResult`.
    pub const CUPTI_ERROR: usize = 22;
    /// Calls of `calls::CALLS` that could not be turned on.
    pub const CALLS_REFUSED: usize = 23;
    /// The [`super::Level`] that was asked for and refused, plus one; 0: the last one that was asked for is in force.
    pub const LEVEL_REFUSED: usize = 24;
    /// Devices whose UUIDs stand from [`DEVICES`] on; 0: not known yet. Written after them.
    pub const DEVICE_COUNT: usize = 25;
    /// UUIDs of the first [`super::DEVICES_MAX`] devices in the order of the process's own numbers, two words each.
    pub const DEVICES: usize = 32;
    /// First of [`super::LOSS_SLOTS`] counters of what was lost, at [`super::loss_slot`].
    pub const LOSSES: usize = 128;
}

/// The words that a reader writes, on a page of their own.
pub mod control {
    /// The level that is wanted, plus one; 0: none was ever asked for.
    pub const LEVEL: usize = 512;
    /// When a reader last drained, `CLOCK_MONOTONIC` ns.
    pub const READER_NS: usize = 513;
}

/// Words of a lane header.
pub mod lane {
    /// Thread that owns the lane; 0 if nobody does. Lane 0 is always the decoding thread's.
    pub const OWNER: usize = 0;
    /// Words written since the start.
    pub const HEAD: usize = 1;
    /// The producer's last look at the tail.
    pub const SEEN_TAIL: usize = 2;
    /// Words read since the start; the reader's, on a cache line of its own.
    pub const TAIL: usize = 8;
}

/// Value of [`header::CLOCK`]: the number of that clock on Linux.
pub const CLOCK_MONOTONIC: u64 = 1;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $value:literal $text:literal, )+ }) => {
        $(#[$meta])*
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[doc = $doc])+ $variant = $value, )+ }

        impl $name {
            /// All, by number.
            pub const ALL: &[Self] = &[ $( Self::$variant ),+ ];

            /// The one with that number.
            #[must_use]
            pub fn from_word(word: u64) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| *one as u64 == word)
            }

            /// In words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }
    };
}

numbered! {
    /// How much is recorded of the GPU; each level holds the ones before it, save that `graph` has one record a graph
    /// launch where the higher ones have one a node. NVTX is recorded at every level but `off`.
    Level {
        /// Nothing.
        Off = 0 "off",
        /// Graph launches as a whole; kernels, copies and memsets outside of graphs.
        Graph = 1 "graph",
        /// Every kernel, copy and memset; CUPTI's own overhead.
        Kernel = 2 "kernel",
        /// Also launches, copies, synchronisation and IPC as calls, synchronisation records and event records.
        Launch = 3 "launch",
        /// Also event calls and queries that found work unfinished.
        Deep = 4 "deep",
    }
}

impl Level {
    /// The level of that name.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|level| level.text() == text)
    }
}

numbered! {
    /// What became of CUPTI in the process.
    State {
        /// No CUDA yet: NVTX alone.
        Unused = 0 "CUDA is not in use",
        /// Recording, or off by level.
        Running = 1 "recording",
        /// No libcupti was found.
        NotFound = 2 "no libcupti that belongs to the process was found",
        /// The library lacks functions that are needed.
        Unsuitable = 3 "libcupti lacks functions that are needed",
        /// CUPTI refused.
        Refused = 4 "CUPTI refused to record",
        /// Another CUPTI client came, or was there: it has CUPTI for itself.
        Aside = 5 "another CUPTI client is in the process, so recording stands aside",
        /// CUPTI is not touched yet: there is no context, or the level has been off so far.
        Waiting = 6 "waiting for a CUDA context, or off so far",
    }
}

numbered! {
    /// What a record is; see [`records`].
    Kind {
        /// [`records::Kernel`].
        Kernel = 1 "kernels",
        /// [`records::Memcpy`].
        Memcpy = 2 "memcpys",
        /// [`records::Memset`].
        Memset = 3 "memsets",
        /// [`records::Sync`].
        Sync = 4 "gpu_syncs",
        /// [`records::Call`].
        Call = 5 "api_calls",
        /// [`records::Graph`].
        Graph = 6 "graph_launches",
        /// [`records::Overhead`].
        Overhead = 7 "cupti_overheads",
        /// [`records::Event`].
        Event = 8 "cuda_events",
        /// [`records::Push`], with text.
        Push = 9 "nvtx_ranges",
        /// [`records::Pop`].
        Pop = 10 "nvtx_ranges",
        /// [`records::Start`], with text.
        Start = 11 "nvtx_ranges",
        /// [`records::End`].
        End = 12 "nvtx_ranges",
        /// [`records::Mark`], with text.
        Mark = 13 "nvtx_ranges",
        /// [`records::ThreadName`], with text.
        ThreadName = 14 "threads",
        /// Of losses only: CUPTI's records of unknown or several kinds.
        Other = 15 "unknown",
    }
}

impl Kind {
    /// The table that such records go to.
    #[must_use]
    pub const fn table(self) -> &'static str {
        self.text()
    }
}

numbered! {
    /// Why something was lost.
    Loss {
        /// The lane was full: the reader was away or too slow.
        Full = 0 "ring full",
        /// More threads at once than there are lanes.
        NoLane = 1 "more threads than the ring has lanes",
        /// A time that is zero or ends before it starts; CUPTI 12.6.2 to 13.0 gives such.
        BadTime = 2 "CUPTI gave an invalid time",
        /// CUPTI had no buffer, or dropped for reasons of its own.
        Cupti = 3 "dropped by CUPTI",
        /// A record of a kind that was not asked for.
        UnknownKind = 4 "a CUPTI record of unknown kind",
        /// The name area was full: the record is there, its name is not.
        NamesFull = 5 "the ring's name area is full: names are missing",
        /// The table of NVTX domains was full: ranges of further ones have none.
        DomainsFull = 6 "more NVTX domains than can be told apart",
        /// The producer panicked in one of its entry points; the program goes on.
        Panic = 7 "an error inside the injected library",
    }
}

/// Counters at [`header::LOSSES`].
pub const LOSS_SLOTS: usize = 256;

/// Where a loss is counted, from 0.
#[must_use]
pub const fn loss_slot(loss: Loss, kind: Kind) -> usize {
    loss as usize * 32 + kind as usize
}

/// What the header says of the file's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of lanes, lane 0 included.
    pub lanes: usize,
    /// Words of lane 0, a power of two.
    pub gpu_words: usize,
    /// Words of each other lane, a power of two.
    pub thread_words: usize,
    /// Words of the name area.
    pub names_words: usize,
}

impl Shape {
    /// Whether a file can have this shape.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.lanes >= 1
            && self.lanes <= LANES_MAX
            && self.gpu_words.is_power_of_two()
            && self.gpu_words >= RECORD_WORDS_MAX
            && self.gpu_words <= AREA_WORDS_MAX
            && self.thread_words.is_power_of_two()
            && self.thread_words >= RECORD_WORDS_MAX
            && self.thread_words <= AREA_WORDS_MAX
            && self.names_words >= 1
            && self.names_words <= AREA_WORDS_MAX
    }

    /// First word of a lane's header.
    #[must_use]
    pub const fn lane_header(self, lane: usize) -> usize {
        HEADER_WORDS + lane * LANE_WORDS
    }

    /// First word of the name area.
    #[must_use]
    pub const fn names(self) -> usize {
        self.lane_header(self.lanes)
    }

    /// First word of a lane's data.
    #[must_use]
    pub const fn lane_data(self, lane: usize) -> usize {
        let gpu = self.names() + self.names_words;
        if lane == GPU_LANE { gpu } else { gpu + self.gpu_words + (lane - 1) * self.thread_words }
    }

    /// Words of a lane's data.
    #[must_use]
    pub const fn lane_words(self, lane: usize) -> usize {
        if lane == GPU_LANE { self.gpu_words } else { self.thread_words }
    }

    /// Words of the whole file.
    #[must_use]
    pub const fn file_words(self) -> usize {
        self.lane_data(self.lanes)
    }
}

/// The header word of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the [`Kind`].
    pub kind: u8,
    /// Words of the record, this one included.
    pub words: u8,
    /// Thread that it is about: the caller of an API or of NVTX; 0 for records of the GPU.
    pub tid: u32,
}

impl Head {
    /// As it lies at word `position` of its lane.
    #[must_use]
    pub const fn to_word(self, position: u64) -> u64 {
        self.kind as u64
            | (self.words as u64) << 8
            | (check(position, self.kind, self.words) as u64) << 16
            | (self.tid as u64) << 32
    }

    /// Back; `None` if the check is not that of `position`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the parts of a word")]
    pub const fn from_word(word: u64, position: u64) -> Option<Self> {
        let head = Self { kind: word as u8, words: (word >> 8) as u8, tid: (word >> 32) as u32 };
        if (word >> 16) as u16 == check(position, head.kind, head.words) { Some(head) } else { None }
    }
}

const fn check(position: u64, kind: u8, words: u8) -> u16 {
    let mixed = (position ^ (kind as u64) << 56 ^ (words as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Never zero, so that untouched memory is no record.
    (mixed >> 48) as u16 | 1
}

/// FNV-1a, 64 bits: for names.
#[must_use]
pub const fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// The first word of a name: its length, and a check that is never zero.
#[must_use]
pub const fn name_word(bytes: &[u8]) -> u64 {
    bytes.len() as u64 | (hash(bytes) >> 32 | 1) << 32
}

/// Words that `bytes` bytes take.
#[must_use]
pub const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { lanes: 3, gpu_words: 1024, thread_words: 256, names_words: 100 };

    #[test]
    fn parts_follow_one_another() {
        assert!(SHAPE.is_valid());
        assert_eq!(SHAPE.lane_header(0), HEADER_WORDS);
        assert_eq!(SHAPE.names(), HEADER_WORDS + 3 * LANE_WORDS);
        assert_eq!(SHAPE.lane_data(0), SHAPE.names() + 100);
        assert_eq!(SHAPE.lane_data(1), SHAPE.lane_data(0) + 1024);
        assert_eq!(SHAPE.lane_data(2), SHAPE.lane_data(1) + 256);
        assert_eq!(SHAPE.file_words(), SHAPE.lane_data(2) + 256);
    }

    #[test]
    fn shapes_that_would_not_fit_are_refused() {
        for shape in [
            Shape { lanes: 0, ..SHAPE },
            Shape { lanes: LANES_MAX + 1, ..SHAPE },
            Shape { gpu_words: 1000, ..SHAPE },
            Shape { gpu_words: 128, ..SHAPE },
            Shape { thread_words: usize::MAX, ..SHAPE },
            Shape { thread_words: 1 << 62, ..SHAPE },
            Shape { names_words: usize::MAX, ..SHAPE },
        ] {
            assert!(!shape.is_valid(), "{shape:?}");
        }
    }

    #[test]
    fn a_header_word_is_only_valid_where_it_was_written() {
        let head = Head { kind: 3, words: 9, tid: u32::MAX };
        let word = head.to_word(77);
        assert_eq!(Head::from_word(word, 77), Some(head));
        assert_eq!(Head::from_word(word, 77 + 1024), None);
        assert_eq!(Head::from_word(0, 0), None);
    }

    #[test]
    fn every_loss_has_a_slot_of_its_own_below_the_control_words() {
        let mut seen = [false; LOSS_SLOTS];
        for loss in Loss::ALL {
            for kind in Kind::ALL {
                assert!(!core::mem::replace(&mut seen[loss_slot(*loss, *kind)], true), "{loss:?} {kind:?}");
            }
        }
        const { assert!(header::LOSSES + LOSS_SLOTS <= control::LEVEL && control::READER_NS < HEADER_WORDS) };
    }

    #[test]
    fn levels_have_names() {
        for level in Level::ALL {
            assert_eq!(Level::from_text(level.text()), Some(*level));
            assert_eq!(Level::from_word(*level as u64), Some(*level));
        }
        assert_eq!(Level::from_text("all"), None);
        assert_eq!(Level::from_word(99), None);
    }
}
