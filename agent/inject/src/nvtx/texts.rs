//! Ids of texts that are not registered: the same few are used over and over.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kvpath_ring::{Map, Producer};
use kvpath_schema::wire::ring::hash;

/// Texts that are remembered; a power of two.
const SLOTS: usize = 8192;
/// Slots that are looked at for a text.
const TRIES: usize = 8;

/// The texts that were seen. Texts that are new each time fill it, or half of the ring's name area; those beyond travel
/// in their records.
pub struct Texts {
    slots: Box<[(AtomicU64, AtomicU32)]>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| (AtomicU64::new(0), AtomicU32::new(0))).collect() }
    }
}

impl Texts {
    /// The id of a text; 0 if it has none, or not yet.
    pub fn id(&self, ring: &Producer<Map>, text: &[u8]) -> u32 {
        // 0 is an empty slot. Two texts with the same 64 bits and the same slot are not expected in the life of a process.
        let key = hash(text).max(1);
        let start = usize::try_from(key >> 32).unwrap_or(0);
        for slot in (0..TRIES).map(|step| &self.slots[(start + step) % SLOTS]) {
            let found = slot.0.load(Ordering::Acquire);
            if found == key {
                return slot.1.load(Ordering::Acquire);
            }
            if found != 0 {
                continue;
            }
            if !ring.has_room_for_texts() {
                return 0;
            }
            match slot.0.compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let id = ring.intern(text);
                    slot.1.store(id, Ordering::Release);
                    return id;
                }
                Err(other) if other == key => return slot.1.load(Ordering::Acquire),
                Err(_) => {}
            }
        }
        0
    }
}
