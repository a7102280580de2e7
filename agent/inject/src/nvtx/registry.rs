//! Domains and registered strings. A handle is a number that counts from 1, so a wrong one is found out.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use kvpath_schema::wire::ring::{Kind, Loss};

use crate::session::Session;

/// Domains, the default one included.
pub const DOMAINS: usize = 64;
const STRINGS: usize = 8192;

/// A text of the program with its id in the ring of the session that asked last.
struct Entry {
    text: Box<[u8]>,
    /// The lower half of the session's address, then the id.
    id: AtomicU64,
}

impl Entry {
    fn new(text: &[u8]) -> Self {
        Self { text: text.into(), id: AtomicU64::new(0) }
    }

    fn id(&self, session: &Session) -> u32 {
        let ours = (std::ptr::from_ref(session).addr() as u64) << 32;
        let known = self.id.load(Ordering::Relaxed);
        if known >> 32 == ours >> 32 && known != 0 {
            return u32::try_from(known & u64::from(u32::MAX)).unwrap_or(0);
        }
        let id = session.ring.intern(&self.text);
        self.id.store(ours | u64::from(id), Ordering::Relaxed);
        id
    }
}

/// Entries that are only ever added.
struct Registry<const N: usize> {
    entries: [OnceLock<Entry>; N],
    used: AtomicUsize,
}

impl<const N: usize> Registry<N> {
    const fn new() -> Self {
        Self { entries: [const { OnceLock::new() }; N], used: AtomicUsize::new(0) }
    }

    /// Adds a text; its handle, or `None` if there is no room.
    fn add(&self, text: &[u8]) -> Option<usize> {
        let room = |used: usize| (used < N).then_some(used + 1);
        let at = self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).ok()?;
        let _ = self.entries[at].set(Entry::new(text));
        Some(at + 1)
    }

    fn get(&self, handle: usize) -> Option<&Entry> {
        self.entries.get(handle.checked_sub(1)?)?.get()
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        let used = self.used.load(Ordering::Acquire).min(N);
        (1..=used).find(|handle| self.get(*handle).is_some_and(|entry| *entry.text == *text))
    }
}

static DOMAIN_NAMES: Registry<{ DOMAINS - 1 }> = Registry::new();
static STRING_TEXTS: Registry<STRINGS> = Registry::new();

/// The handle of the domain of that name; 0, the default domain, if there is no room.
pub fn domain(session: &Session, name: &[u8]) -> usize {
    DOMAIN_NAMES.find(name).or_else(|| DOMAIN_NAMES.add(name)).unwrap_or_else(|| {
        session.ring.lose(Loss::DomainsFull, Kind::Other, 1);
        0
    })
}

/// The id of a domain's name; 0 for the default one.
pub fn domain_name(session: &Session, handle: usize) -> u32 {
    DOMAIN_NAMES.get(handle).map_or(0, |entry| entry.id(session))
}

/// The handle of a string; 0 if there is no room.
pub fn string(session: &Session, text: &[u8]) -> usize {
    STRING_TEXTS.add(text).unwrap_or_else(|| {
        session.ring.lose(Loss::NamesFull, Kind::Other, 1);
        0
    })
}

/// The id of a registered string; 0 if there is none.
pub fn string_text(session: &Session, handle: usize) -> u32 {
    STRING_TEXTS.get(handle).map_or(0, |entry| entry.id(session))
}

/// The next id of a range that may end on another thread.
pub fn next_range() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
