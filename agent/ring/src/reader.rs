//! The reading end. Whatever a producer has written, reading it ends in records or a count of damages.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{Ordering, fence};

use kvpath_schema::wire::ring::{
    self as wire, DEVICES_MAX, HEADER_WORDS, Head, Kind, LANE_WORDS, LOSS_SLOTS, Level, Loss, RECORD_WORDS_MAX, Shape,
    State, TEXT_MAX, control, header, lane, loss_slot,
};

/// Words that are read at once.
const CHUNK_WORDS: usize = 8192;

/// Where a ring lies: a file, or memory in tests.
pub trait Medium {
    /// Words that are there.
    ///
    /// # Errors
    /// The system refuses.
    fn words(&self) -> io::Result<usize>;
    /// Reads words from `at` on, all or an error.
    ///
    /// # Errors
    /// They are not there (any more), or the system refuses.
    fn read(&self, at: usize, into: &mut [u64]) -> io::Result<()>;
    /// Writes one word.
    ///
    /// # Errors
    /// The system refuses.
    fn write(&self, at: usize, word: u64) -> io::Result<()>;
}

impl Medium for File {
    fn words(&self) -> io::Result<usize> {
        usize::try_from(self.metadata()?.len() / 8).map_err(io::Error::other)
    }

    fn read(&self, at: usize, into: &mut [u64]) -> io::Result<()> {
        let mut bytes = [0u8; 8192];
        let mut at = at as u64 * 8;
        for words in into.chunks_mut(bytes.len() / 8) {
            let bytes = &mut bytes[..words.len() * 8];
            self.read_exact_at(bytes, at)?;
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_ne_bytes(*bytes);
            }
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn write(&self, at: usize, word: u64) -> io::Result<()> {
        self.write_all_at(&word.to_ne_bytes(), at as u64 * 8)
    }
}

/// Why a file is not a ring that this reader can read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The producer has not finished to lay it out, or it is something else.
    #[error("not a ring, or not a whole one yet")]
    NotReady,
    /// Of another version.
    #[error(
        "ring of version {found}, but this agent reads version {}: use the libkvpath_inject.so that came with the agent",
        wire::VERSION
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// Its parts contradict each other or the file's size.
    #[error("a ring whose header contradicts itself")]
    Inconsistent,
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A record as it lies in the ring.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Number of the [`Kind`].
    pub kind: u8,
    /// Its thread.
    pub tid: u32,
    /// Its words, without the header word.
    pub words: &'a [u64],
}

impl RawRecord<'_> {
    /// The text that follows `fixed` words; `None` if there is none, or its length is not that of the record.
    #[must_use]
    pub fn text(&self, fixed: usize) -> Option<String> {
        let (length, words) = self.words.get(fixed..)?.split_first()?;
        let length = usize::try_from(*length).ok().filter(|length| wire::words_of(*length) == words.len())?;
        Some(text_of(words, length))
    }
}

fn text_of(words: &[u64], length: usize) -> String {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.truncate(length);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What one draining found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Whole records.
    pub records: u64,
    /// Places where what lay there was no record; the rest of the lane up to its head was skipped.
    pub damages: u64,
}

/// The reading end.
#[derive(Debug)]
pub struct Reader<M> {
    medium: M,
    shape: Shape,
    header: Vec<u64>,
    tails: Vec<u64>,
    /// The lanes' headers, as of the last look.
    lanes: Vec<u64>,
    chunk: Vec<u64>,
}

impl<M: Medium> Reader<M> {
    /// Looks at a ring. The caller sees to it that there is one reader: [`crate::file::open`].
    ///
    /// # Errors
    /// It is none, or not of this version.
    pub fn new(medium: M) -> Result<Self, ReadError> {
        let size = medium.words()?;
        if size < HEADER_WORDS {
            return Err(ReadError::NotReady);
        }
        let mut words = vec![0; HEADER_WORDS];
        medium.read(0, &mut words)?;
        if words[header::MAGIC] != wire::MAGIC {
            return Err(ReadError::NotReady);
        }
        // The parts were laid out before the magic was.
        fence(Ordering::Acquire);
        medium.read(0, &mut words)?;
        if words[header::VERSION] != u64::from(wire::VERSION) {
            return Err(ReadError::Version { found: words[header::VERSION] });
        }
        let part = |at: usize| usize::try_from(words[at]).map_err(|_| ReadError::Inconsistent);
        let shape = Shape {
            lanes: part(header::LANES)?,
            gpu_words: part(header::GPU_WORDS)?,
            thread_words: part(header::THREAD_WORDS)?,
            names_words: part(header::NAMES_WORDS)?,
        };
        let fits = shape.is_valid() && shape.file_words() == size && part(header::FILE_WORDS)? == size;
        if !fits || words[header::CLOCK] != wire::CLOCK_MONOTONIC {
            return Err(ReadError::Inconsistent);
        }
        let lanes = vec![0; shape.lanes * LANE_WORDS];
        let mut reader = Self { medium, shape, header: words, tails: Vec::new(), lanes, chunk: vec![0; CHUNK_WORDS] };
        reader.look_at_lanes()?;
        reader.tails = reader.lanes.as_chunks::<LANE_WORDS>().0.iter().map(|words| words[lane::TAIL]).collect();
        Ok(reader)
    }

    /// Reads the headers of all lanes: one call for a ring in which nothing happens, which is most of them.
    fn look_at_lanes(&mut self) -> io::Result<()> {
        self.medium.read(self.shape.lane_header(0), &mut self.lanes)
    }

    /// Gives every whole record to `take`, lane by lane, and frees their room.
    ///
    /// # Errors
    /// The system refuses; a producer that shrinks its file is such a case.
    pub fn drain(&mut self, now_ns: u64, mut take: impl FnMut(RawRecord<'_>)) -> io::Result<Drained> {
        self.drain_with_names(now_ns, |record, _| take(record))
    }

    /// As [`Reader::drain`], and `take` can look names up meanwhile.
    ///
    /// # Errors
    /// As there.
    pub fn drain_with_names(
        &mut self,
        now_ns: u64,
        mut take: impl FnMut(RawRecord<'_>, &RingNames<'_, M>),
    ) -> io::Result<Drained> {
        let mut drained = Drained::default();
        self.medium.write(control::READER_NS, now_ns)?;
        self.look_at_lanes()?;
        for at in 0..self.shape.lanes {
            let head = self.lanes[at * LANE_WORDS + lane::HEAD];
            if head == self.tails[at] {
                continue;
            }
            // The head was read before the data that it vouches for.
            fence(Ordering::Acquire);
            self.drain_lane(at, head, &mut drained, &mut take)?;
            // What was read was read before its room is given back.
            fence(Ordering::Release);
            self.medium.write(self.shape.lane_header(at) + lane::TAIL, self.tails[at])?;
        }
        Ok(drained)
    }

    fn drain_lane(
        &mut self,
        at: usize,
        head: u64,
        drained: &mut Drained,
        take: &mut impl FnMut(RawRecord<'_>, &RingNames<'_, M>),
    ) -> io::Result<()> {
        let size = self.shape.lane_words(at);
        let mut tail = self.tails[at];
        if head.checked_sub(tail).is_none_or(|filled| filled > size as u64) {
            drained.damages += 1;
            tail = head;
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        while tail < head {
            let left = usize::try_from(head - tail).unwrap_or(size).min(CHUNK_WORDS);
            let words = &mut chunk[..left];
            if let Err(error) = self.read_lane(at, tail, words) {
                self.chunk = chunk;
                return Err(error);
            }
            let names = RingNames { medium: &self.medium, shape: self.shape };
            let (used, whole) = parse(words, tail, head, drained, &mut |record| take(record, &names));
            tail = if whole { tail + used as u64 } else { head };
        }
        self.chunk = chunk;
        self.tails[at] = tail;
        Ok(())
    }

    fn read_lane(&self, at: usize, tail: u64, words: &mut [u64]) -> io::Result<()> {
        let size = self.shape.lane_words(at);
        let start = usize::try_from(tail & (size as u64 - 1)).unwrap_or(0);
        let first = words.len().min(size - start);
        let (before, after) = words.split_at_mut(first);
        self.medium.read(self.shape.lane_data(at) + start, before)?;
        self.medium.read(self.shape.lane_data(at), after)
    }

    /// A name by its id; `None` if there is none there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn name(&self, id: u32) -> io::Result<Option<String>> {
        RingNames { medium: &self.medium, shape: self.shape }.get(id)
    }

    /// Reads what the producer says of itself anew.
    ///
    /// # Errors
    /// The system refuses.
    pub fn look(&mut self) -> io::Result<()> {
        self.medium.read(0, &mut self.header)
    }

    /// A word of the header as of the last [`Reader::look`]: one of [`header`].
    #[must_use]
    pub fn word(&self, at: usize) -> u64 {
        self.header[at]
    }

    /// How CUPTI is, as of the last look.
    #[must_use]
    pub fn state(&self) -> State {
        State::from_word(self.header[header::STATE]).unwrap_or(State::Unused)
    }

    /// The level in force, as of the last look.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::from_word(self.header[header::LEVEL]).unwrap_or(Level::Off)
    }

    /// What the producer has counted as lost since its start, as of the last look.
    #[must_use]
    pub fn losses(&self) -> Vec<(Loss, Kind, u64)> {
        let counters = &self.header[header::LOSSES..header::LOSSES + LOSS_SLOTS];
        let all = Loss::ALL.iter().flat_map(|loss| Kind::ALL.iter().map(move |kind| (*loss, *kind)));
        all.map(|(loss, kind)| (loss, kind, counters[loss_slot(loss, kind)])).filter(|lost| lost.2 > 0).collect()
    }

    /// The level that was asked for and cannot be, as of the last look.
    #[must_use]
    pub fn refused(&self) -> Option<Level> {
        self.header[header::LEVEL_REFUSED].checked_sub(1).and_then(Level::from_word)
    }

    /// Asks for a level.
    ///
    /// # Errors
    /// The system refuses.
    pub fn ask_for(&self, level: Level) -> io::Result<()> {
        self.medium.write(control::LEVEL, level as u64 + 1)
    }

    /// What it reads from.
    #[must_use]
    pub fn medium(&self) -> &M {
        &self.medium
    }
}

/// The names of a ring, and what else its records are read by.
#[derive(Debug)]
pub struct RingNames<'a, M> {
    medium: &'a M,
    shape: Shape,
}

impl<M: Medium> RingNames<'_, M> {
    /// UUIDs of the devices that the process sees, in the order of its own numbers; none: not known yet. Of a record that was seen
    /// they are there, if its producer knows them.
    ///
    /// # Errors
    /// The system refuses.
    pub fn devices(&self) -> io::Result<Vec<[u8; 16]>> {
        let mut count = [0];
        self.medium.read(header::DEVICE_COUNT, &mut count)?;
        fence(Ordering::Acquire);
        let count = usize::try_from(count[0]).unwrap_or(DEVICES_MAX).min(DEVICES_MAX);
        let mut words = vec![0; 2 * count];
        self.medium.read(header::DEVICES, &mut words)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(bytes.as_chunks::<16>().0.to_vec())
    }

    /// A name by its id; `None` if there is none there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn get(&self, id: u32) -> io::Result<Option<String>> {
        let at = id as usize;
        let names = self.shape.names_words;
        if id == 0 || at >= names {
            return Ok(None);
        }
        let mut first = [0];
        self.medium.read(self.shape.names() + at, &mut first)?;
        let length = usize::try_from(first[0] & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        let count = wire::words_of(length.min(TEXT_MAX));
        if length > TEXT_MAX || at + 1 + count > names {
            return Ok(None);
        }
        fence(Ordering::Acquire);
        let mut words = vec![0; count];
        self.medium.read(self.shape.names() + at + 1, &mut words)?;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.truncate(length);
        Ok((wire::name_word(&bytes) == first[0]).then(|| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Gives the whole records at the start of `words`; the words that they take, and `false` where one is no record.
fn parse(
    words: &[u64],
    position: u64,
    head: u64,
    drained: &mut Drained,
    take: &mut impl FnMut(RawRecord<'_>),
) -> (usize, bool) {
    let mut at = 0;
    while at < words.len() {
        let here = position + at as u64;
        let found = Head::from_word(words[at], here);
        let Some(found) = found.filter(|found| found.words > 0 && here + u64::from(found.words) <= head) else {
            drained.damages += 1;
            return (at, false);
        };
        let end = at + usize::from(found.words);
        if end > words.len() {
            break;
        }
        take(RawRecord { kind: found.kind, tid: found.tid, words: &words[at + 1..end] });
        drained.records += 1;
        at = end;
    }
    (at, true)
}

const _: () = assert!(CHUNK_WORDS > 2 * RECORD_WORDS_MAX, "every chunk holds a whole record");
