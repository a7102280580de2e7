//! Lists of KV blocks, on their way to the kernels that write or compare them.

use std::sync::Arc;

use super::THREADS;
use super::ffi::{Buffer, Context, Event, Pinned, Stream};
use crate::device::Filled;

/// Lists that may be under way at once.
const SLOTS: usize = 16;
/// Words of a list's entry: `Block` in kernels.cu.
const ENTRY: usize = 3;
/// Entries that a slot has room for at first.
const ROOM: usize = 1024;
/// Words that a thread handles before a block is shared by more of them.
const WORDS_A_THREAD: usize = 16;
/// Most parts of a block.
const MOST_PARTS: usize = 64;

/// Places for lists. Each is used again only when the kernel that reads its list is done.
pub struct Lists {
    context: Arc<Context>,
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    here: Pinned,
    there: Buffer,
    read: Event,
}

impl Slot {
    fn new(context: &Arc<Context>, entries: usize) -> anyhow::Result<Self> {
        let words = entries.next_power_of_two().max(ROOM) * ENTRY;
        Ok(Self {
            here: Pinned::new(context, words)?,
            there: Buffer::new(context, words * 8)?,
            read: Event::new(context)?,
        })
    }
}

impl Lists {
    /// No list yet.
    pub fn new(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), slots: Vec::new(), next: 0 }
    }

    /// Enqueues the copy of a list to the device and then what `launch` enqueues, given the list's address there and the
    /// grid: a column a block, a row a part of it. Does nothing if the list is empty.
    ///
    /// # Errors
    /// The device fails, or `launch`.
    pub fn send(
        &mut self,
        stream: &Stream,
        blocks: &[Filled],
        launch: impl FnOnce(u64, (u32, u32)) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(largest) = blocks.iter().map(|block| block.bytes / 8).max() else {
            return Ok(());
        };
        let slot = self.slot(blocks.len())?;
        for (entry, block) in slot.here.as_mut().as_chunks_mut::<ENTRY>().0.iter_mut().zip(blocks) {
            *entry = [block.offset as u64, block.bytes as u64 / 8, block.seed];
        }
        stream.upload(&mut slot.here, &slot.there, blocks.len() * ENTRY)?;
        let parts = largest.div_ceil(THREADS as usize * WORDS_A_THREAD).clamp(1, MOST_PARTS);
        launch(slot.there.address, (u32::try_from(blocks.len())?, u32::try_from(parts)?))?;
        slot.read.record(stream)
    }

    /// A free slot with room; waits for one if all are under way.
    fn slot(&mut self, entries: usize) -> anyhow::Result<&mut Slot> {
        let index = self.next;
        self.next = (index + 1) % SLOTS;
        match self.slots.get(index) {
            None => self.slots.push(Slot::new(&self.context, entries)?),
            Some(slot) => {
                slot.read.wait()?;
                if slot.here.words() < entries * ENTRY {
                    self.slots[index] = Slot::new(&self.context, entries)?;
                }
            }
        }
        Ok(&mut self.slots[index])
    }
}
