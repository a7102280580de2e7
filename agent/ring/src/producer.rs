//! The writing end.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use kvpath_schema::wire::ring::records::RingRecord;
use kvpath_schema::wire::ring::{
    self as wire, DEVICES_MAX, GPU_LANE, Head, Kind, Level, Loss, RECORD_WORDS_MAX, Shape, State, TEXT_MAX, control,
    header, lane,
};

/// Most words between the header word and the text of a record.
const FIXED_MAX: usize = 16;
const _: () = assert!(2 + FIXED_MAX + TEXT_MAX / 8 <= RECORD_WORDS_MAX);

/// What the producer says of itself once.
#[derive(Debug, Clone, Copy)]
pub struct ProducerInfo {
    /// Own pid.
    pub pid: u32,
    /// Start of the process, clock ticks since boot.
    pub start_ticks: u64,
    /// Now, `CLOCK_MONOTONIC` ns.
    pub created_ns: u64,
}

/// The writing end of a ring over some words of memory.
///
/// A lane has one producer at a time: the caller sees to that with [`Producer::claim`]. To break the rule garbles that
/// lane's records, which the reader notices, and nothing else.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    shape: Shape,
}

impl<M: Deref<Target = [AtomicU64]>> Producer<M> {
    /// Lays out a ring in `memory`, which is all zeros; `None` if the shape is not that of its size.
    pub fn new(memory: M, shape: Shape, about: ProducerInfo) -> Option<Self> {
        if !shape.is_valid() || memory.len() != shape.file_words() {
            return None;
        }
        let producer = Self { memory, shape };
        for (word, value) in [
            (header::VERSION, u64::from(wire::VERSION)),
            (header::FILE_WORDS, shape.file_words() as u64),
            (header::LANES, shape.lanes as u64),
            (header::GPU_WORDS, shape.gpu_words as u64),
            (header::THREAD_WORDS, shape.thread_words as u64),
            (header::NAMES_WORDS, shape.names_words as u64),
            (header::PID, u64::from(about.pid)),
            (header::START_TICKS, about.start_ticks),
            (header::CREATED_NS, about.created_ns),
            (header::CLOCK, wire::CLOCK_MONOTONIC),
            // Id 0 is "no name".
            (header::NAMES_HEAD, 1),
        ] {
            producer.memory[word].store(value, Ordering::Relaxed);
        }
        producer.memory[header::MAGIC].store(wire::MAGIC, Ordering::Release);
        Some(producer)
    }

    /// Appends a record to a lane, with text if its kind has text. Full lanes drop it and count that.
    #[inline]
    pub fn push<R: RingRecord>(&self, to: usize, tid: u32, record: &R, text: Option<&[u8]>) -> bool {
        const { assert!(R::WORDS <= FIXED_MAX) };
        let text = text.map(cut);
        let words = 1 + R::WORDS + text.map_or(0, |text| 1 + wire::words_of(text.len()));
        let mut fixed = [0; FIXED_MAX];
        record.write(&mut fixed);
        let lane_header = &self.memory[self.shape.lane_header(to)..][..wire::LANE_WORDS];
        let head = lane_header[lane::HEAD].load(Ordering::Relaxed);
        let Some(data) = self.room(to, lane_header, head, words) else {
            self.lose(Loss::Full, R::KIND, 1);
            return false;
        };
        let mask = data.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "64-bit words need a 64-bit machine")]
        let at = head as usize;
        let put = |offset: usize, word: u64| data[(at + offset) & mask].store(word, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "FIXED_MAX sees to it")]
        put(0, Head { kind: R::KIND as u8, words: words as u8, tid }.to_word(head));
        for (offset, word) in fixed[..R::WORDS].iter().enumerate() {
            put(1 + offset, *word);
        }
        if let Some(text) = text {
            put(1 + R::WORDS, text.len() as u64);
            for (offset, bytes) in text.chunks(8).enumerate() {
                put(2 + R::WORDS + offset, word_of(bytes));
            }
        }
        lane_header[lane::HEAD].store(head + words as u64, Ordering::Release);
        true
    }

    /// The data of a lane, if `words` more fit.
    #[inline]
    fn room(&self, to: usize, lane_header: &[AtomicU64], head: u64, words: usize) -> Option<&[AtomicU64]> {
        let size = self.shape.lane_words(to);
        let fits = |tail: u64| head.checked_sub(tail).is_some_and(|used| used + words as u64 <= size as u64);
        if !fits(lane_header[lane::SEEN_TAIL].load(Ordering::Relaxed)) {
            let tail = lane_header[lane::TAIL].load(Ordering::Acquire);
            if !fits(tail) {
                return None;
            }
            lane_header[lane::SEEN_TAIL].store(tail, Ordering::Relaxed);
        }
        Some(&self.memory[self.shape.lane_data(to)..][..size])
    }

    /// A lane for the thread `tid`: its own from before, a free one, or one whose thread has ended.
    pub fn claim(&self, tid: u32, is_alive: impl Fn(u32) -> bool) -> Option<usize> {
        let lanes = || (GPU_LANE + 1..self.shape.lanes).map(|at| (at, &self.memory[self.shape.lane_header(at)]));
        // A thread that finds its own number there is a later thread with the number of one that has ended.
        if let Some((at, _)) = lanes().find(|(_, owner)| owner.load(Ordering::Acquire) == u64::from(tid)) {
            return Some(at);
        }
        let take = |owner: &AtomicU64, from: u64| {
            owner.compare_exchange(from, u64::from(tid), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if let Some((at, _)) = lanes().find(|(_, owner)| owner.load(Ordering::Relaxed) == 0 && take(owner, 0)) {
            return Some(at);
        }
        lanes()
            .find(|(_, owner)| {
                let before = owner.load(Ordering::Acquire);
                u32::try_from(before).is_ok_and(|before| !is_alive(before)) && take(owner, before)
            })
            .map(|(at, _)| at)
    }

    /// Stores a name once and for all; 0 if there is no room, which is counted.
    pub fn intern(&self, bytes: &[u8]) -> u32 {
        let bytes = cut(bytes);
        let words = 1 + wire::words_of(bytes.len()) as u64;
        let head = &self.memory[header::NAMES_HEAD];
        let fit = |at: u64| (at + words <= self.shape.names_words as u64).then_some(at + words);
        let Ok(at) = head.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fit) else {
            self.lose(Loss::NamesFull, Kind::Other, 1);
            return 0;
        };
        let Ok(id) = u32::try_from(at) else {
            return 0;
        };
        let area = &self.memory[self.shape.names()..][..self.shape.names_words];
        let at = id as usize;
        for (offset, chunk) in bytes.chunks(8).enumerate() {
            area[at + 1 + offset].store(word_of(chunk), Ordering::Relaxed);
        }
        area[at].store(wire::name_word(bytes), Ordering::Release);
        id
    }

    /// Whether less than half of the name area is in use: the rest is for names that are sure to be used again.
    pub fn has_room_for_texts(&self) -> bool {
        self.memory[header::NAMES_HEAD].load(Ordering::Relaxed) < self.shape.names_words as u64 / 2
    }

    /// Counts a loss.
    pub fn lose(&self, loss: Loss, kind: Kind, count: u64) {
        self.memory[header::LOSSES + wire::loss_slot(loss, kind)].fetch_add(count, Ordering::Relaxed);
    }

    /// Says how CUPTI is.
    pub fn set_state(&self, state: State, now_ns: u64, error: u32) {
        self.memory[header::CUPTI_ERROR].store(u64::from(error), Ordering::Relaxed);
        self.memory[header::STATE_NS].store(now_ns, Ordering::Relaxed);
        self.memory[header::STATE].store(state as u64, Ordering::Release);
    }

    /// How CUPTI is.
    pub fn state(&self) -> Option<State> {
        State::from_word(self.memory[header::STATE].load(Ordering::Acquire))
    }

    /// Says which CUPTI is in use, and how many of the chosen calls it refuses.
    pub fn set_cupti(&self, version: u32, calls_refused: u64) {
        self.memory[header::CUPTI_VERSION].store(u64::from(version), Ordering::Relaxed);
        self.memory[header::CALLS_REFUSED].store(calls_refused, Ordering::Relaxed);
    }

    /// Says that the producer's thread went round.
    pub fn beat(&self, now_ns: u64) {
        self.memory[header::HEARTBEAT_NS].store(now_ns, Ordering::Relaxed);
    }

    /// Says which level is in force.
    pub fn set_level(&self, level: Level) {
        self.memory[header::LEVEL].store(level as u64, Ordering::Relaxed);
    }

    /// Says which level was asked for and cannot be; `None` once another is in force.
    pub fn set_refused(&self, level: Option<Level>) {
        self.memory[header::LEVEL_REFUSED].store(level.map_or(0, |level| level as u64 + 1), Ordering::Relaxed);
    }

    /// Says which devices the process sees, by UUID (`CUuuid`, its bytes in order), in the order of its own numbers.
    pub fn set_devices(&self, uuids: &[[u8; 16]]) {
        let uuids = &uuids[..uuids.len().min(DEVICES_MAX)];
        let words = uuids.iter().flat_map(|uuid| uuid.as_chunks::<8>().0);
        for (at, word) in words.enumerate() {
            self.memory[header::DEVICES + at].store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        self.memory[header::DEVICE_COUNT].store(uuids.len() as u64, Ordering::Release);
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        Level::from_word(self.memory[header::LEVEL].load(Ordering::Relaxed)).unwrap_or(Level::Off)
    }

    /// The level that a reader asks for, if one ever did.
    pub fn wanted(&self) -> Option<Level> {
        let word = self.memory[control::LEVEL].load(Ordering::Relaxed);
        // Whatever stood in the data before the reader asked is out of date by then.
        fence(Ordering::Acquire);
        word.checked_sub(1).and_then(Level::from_word)
    }

    /// When a reader last drained, `CLOCK_MONOTONIC` ns; 0 for never.
    pub fn reader_ns(&self) -> u64 {
        self.memory[control::READER_NS].load(Ordering::Relaxed)
    }
}

/// At most [`TEXT_MAX`] bytes, whole characters if it is UTF-8.
fn cut(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= TEXT_MAX {
        return bytes;
    }
    let is_start = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    &bytes[..(TEXT_MAX - 3..=TEXT_MAX).rev().find(is_start).unwrap_or(TEXT_MAX)]
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}
