//! Memory that processes registered with NIXL: which regions a transfer's descriptors touch, at either end.
//!
//! A region is named by its position in its process's order of registration; one that was registered again at the same place
//! keeps its first. Regions that overlap in another way tell nothing: which one an address means is not recorded.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::tables::nixl::XferOp;

use super::agents::AgentNames;
use super::places::{Blocks, Places};
use super::set::Set;
use super::{Descriptor, Facts, prepared, slots};

/// What stands for a process's regions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parts {
    /// They themselves.
    #[default]
    Regions,
    /// Equal parts of the only one ([`slots`]).
    Slots,
    /// First the rows of a prepared list ([`prepared`]), then regions that hold none.
    Rows {
        /// How many rows.
        count: u32,
        /// Whether all lie in one region, and are as the process gave them to NIXL for itself.
        share_one: bool,
    },
}

/// The regions of one process. Parts of them ([`Parts`]) stand there as if each were a region.
#[derive(Debug, Default)]
pub struct Registered {
    /// Rows of `nixl_regions`, in order of registration, or of the parts.
    pub rows: Vec<usize>,
    /// Bytes of each.
    pub sizes: Vec<i64>,
    /// What they are.
    pub parts: Parts,
    places: Places,
    /// The regions themselves, where parts stand for them.
    whole: Option<Places>,
    overlap: bool,
}

impl Registered {
    fn of(facts: &Facts, mut rows: Vec<usize>) -> Self {
        let regions = &facts.regions;
        rows.sort_by_key(|row| (regions.region[*row], regions.time_ns[*row], regions.addr[*row], regions.bytes[*row]));
        let mut places = BTreeSet::new();
        rows.retain(|row| places.insert((regions.addr[*row], regions.bytes[*row])));
        let spans: Vec<Blocks> = rows.iter().map(|row| span(facts, *row)).collect();
        let sizes = rows.iter().map(|row| regions.bytes[*row]).collect();
        let places = Places::of(&spans);
        let overlap = places.is_none();
        Self { rows, sizes, parts: Parts::Regions, places: places.unwrap_or_default(), whole: None, overlap }
    }

    /// The only region for KV: in the memory of a GPU if there is any.
    fn single(&self, facts: &Facts) -> Option<usize> {
        let is_on_gpu = |row: &&usize| &*facts.regions.memory[**row] == "VRAM";
        let has_gpus = self.rows.iter().any(|row| is_on_gpu(&row));
        let mut own = self.rows.iter().filter(|row| !has_gpus || is_on_gpu(row));
        own.next().copied().filter(|_| own.next().is_none() && !self.overlap && self.parts == Parts::Regions)
    }

    /// Puts parts of that size in the place of a region.
    fn divide(&mut self, facts: &Facts, row: usize, stride: u64) {
        let count = facts.regions.bytes[row].unsigned_abs() / stride;
        let part = |part: u64| (row, Blocks::span(facts.regions.addr[row].saturating_add(part * stride), stride));
        let own = |own: usize| -> Vec<(usize, Blocks)> {
            if own == row { (0..count).map(part).collect() } else { vec![(own, span(facts, own))] }
        };
        self.replace(self.rows.iter().flat_map(|row| own(*row)).collect(), Parts::Slots);
    }

    /// Puts rows of a prepared list before all regions that hold none; not if some are in no region.
    fn set_rows(&mut self, facts: &Facts, rows: &prepared::Rows) {
        let region_of = |blocks: &Blocks| {
            let (start, end) = blocks.ends();
            let holds = |row: &&usize| {
                let (addr, region_end) = span(facts, **row).ends();
                addr <= start && end <= region_end
            };
            Some((*self.rows.iter().find(holds)?, *blocks))
        };
        let Some(mut parts) = rows.blocks.iter().map(region_of).collect::<Option<Vec<_>>>() else { return };
        let holding: BTreeSet<usize> = parts.iter().map(|(row, _)| *row).collect();
        let share_one = rows.is_own && rows.is_strided && parts.len() > 1 && holding.len() == 1;
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let others = self.rows.iter().filter(|row| !holding.contains(row));
        parts.extend(others.map(|row| (*row, span(facts, *row))));
        self.replace(parts, Parts::Rows { count, share_one });
    }

    /// Puts parts in the place of all, unless some share memory.
    fn replace(&mut self, parts: Vec<(usize, Blocks)>, what: Parts) {
        let (rows, blocks): (Vec<usize>, Vec<Blocks>) = parts.into_iter().unzip();
        if let Some(places) = Places::of(&blocks).filter(|_| !self.overlap) {
            let sizes = blocks.iter().map(Blocks::size).collect();
            let whole = std::mem::replace(&mut self.places, places);
            (self.rows, self.sizes, self.parts, self.whole) = (rows, sizes, what, Some(whole));
        }
    }

    /// How many regions some positions are of.
    #[must_use]
    pub fn count(&self, positions: &Set) -> usize {
        if self.parts == Parts::Regions {
            return positions.len();
        }
        positions.iter().filter_map(|position| self.rows.get(position as usize)).collect::<BTreeSet<_>>().len()
    }

    /// Hands over the regions that a span of memory touches: a merged descriptor may go on over neighbours. False unless all of it
    /// is in some.
    fn touched(&self, start: u64, bytes: i64, take: impl FnMut(u32)) -> bool {
        !self.overlap && self.places.touched(start, bytes, take)
    }

    /// Whether that is in a region, though in none of its parts.
    fn is_beside_parts(&self, start: u64, bytes: i64) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.touched(start, bytes, |_| ()))
    }
}

/// The memory of a region.
fn span(facts: &Facts, row: usize) -> Blocks {
    Blocks::span(facts.regions.addr[row], facts.regions.bytes[row].unsigned_abs())
}

/// What the descriptors of a transfer touch.
#[derive(Debug, Default)]
pub struct TouchedRegions {
    /// The process whose KV goes, if known.
    pub sender: Option<i64>,
    /// The process that gets it, if known.
    pub receiver: Option<i64>,
    /// Descriptors that were recorded, and those of them that lie in registered regions of the poster.
    pub descriptors: (i64, i64),
    /// Whether all of them were recorded.
    pub is_whole: bool,
    /// Regions of the sender, as far as they were recorded; `None` if one of the descriptors lies in none.
    pub sent: Option<Set>,
    /// The same of the receiver.
    pub received: Option<Set>,
}

impl TouchedRegions {
    /// The regions of the sender that it carries; `None` if not all are known.
    #[must_use]
    pub fn sent(&self) -> Option<&Set> {
        self.sent.as_ref().filter(|set| self.is_whole && !set.is_empty())
    }

    /// The regions of the receiver that it fills; `None` if not all are known.
    #[must_use]
    pub fn received(&self) -> Option<&Set> {
        self.received.as_ref().filter(|set| self.is_whole && !set.is_empty())
    }
}

/// The regions of a run and what transfers touch of them.
#[derive(Debug, Default)]
pub struct Regions {
    /// By process.
    pub registered: BTreeMap<i64, Registered>,
    /// By row of `nixl_transfers`.
    pub touches: Vec<TouchedRegions>,
    /// Regions between which descriptors go, by sender and receiver.
    pub pairs: BTreeMap<(i64, i64), BTreeSet<(u32, u32)>>,
}

impl Regions {
    /// Those of a run.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut rows: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        // The addresses of others are offsets in files and objects.
        for row in (0..facts.regions.addr.len()).filter(|row| matches!(&*facts.regions.memory[*row], "VRAM" | "DRAM")) {
            rows.entry(facts.regions.process_id[row]).or_default().push(row);
        }
        let registered = rows.into_iter().map(|(process, rows)| (process, Registered::of(facts, rows))).collect();
        let mut all = Self { registered, ..Self::default() };
        let names = AgentNames::of(facts);
        for (process, rows) in prepared::of(facts, &names) {
            if let Some(own) = all.registered.get_mut(&process) {
                own.set_rows(facts, &rows);
            }
        }
        all.divide(facts, &names);
        for row in 0..facts.transfers.transfer_id.len() {
            let touch = all.touch(facts, row, &names);
            all.touches.push(touch);
        }
        all
    }

    /// Divides the only region of a process into the parts of its layers, if its hand-offs show them.
    fn divide(&mut self, facts: &Facts, names: &AgentNames) {
        let single = self.registered.iter().filter_map(|(process, own)| Some((*process, own.single(facts)?)));
        let single: BTreeMap<i64, usize> = single.collect();
        let place = |row: usize| (facts.regions.addr[row], facts.regions.bytes[row].unsigned_abs());
        let places = single.iter().map(|(process, row)| (*process, place(*row))).collect();
        for (process, stride) in slots::of(facts, names, &places) {
            if let Some(own) = self.registered.get_mut(&process) {
                own.divide(facts, single[&process], stride);
            }
        }
    }

    /// How many regions of a process some positions are of.
    #[must_use]
    pub fn count(&self, process: i64, positions: &Set) -> usize {
        self.registered.get(&process).map_or(positions.len(), |own| own.count(positions))
    }

    fn touch(&mut self, facts: &Facts, row: usize, names: &AgentNames) -> TouchedRegions {
        let table = &facts.transfers;
        let poster = table.process_id[row];
        let made = table.made_ns[row].or(table.posted_ns[row]).unwrap_or(i64::MAX);
        let peer = table.peer[row].as_deref().and_then(|name| names.at(name, made));
        let is_read = *table.op[row] == XferOp::Read;
        let (sender, receiver) = if is_read { (peer, Some(poster)) } else { (Some(poster), peer) };
        let descriptors = facts.descriptors.of(table.transfer_id[row]);
        let count = i64::try_from(descriptors.len()).unwrap_or(i64::MAX);
        let mut ends = [TransferEnd::new(&self.registered, Some(poster)), TransferEnd::new(&self.registered, peer)];
        let (mut located, mut pairs) = (0, BTreeSet::new());
        for Descriptor { local, remote, bytes } in descriptors {
            let found = ends[0].touch(Some(local), bytes);
            located += i64::from(found.is_some() || ends[0].is_beside_parts(local, bytes));
            let (local, remote) = (found, ends[1].touch(remote, bytes));
            pairs.extend(
                local.zip(remote).map(|(local, remote)| if is_read { (remote, local) } else { (local, remote) }),
            );
        }
        let [local, remote] = ends.map(TransferEnd::set);
        let (of_sender, of_receiver) = if is_read { (remote, local) } else { (local, remote) };
        if let Some(ends) = sender.zip(receiver).filter(|_| !pairs.is_empty()) {
            self.pairs.entry(ends).or_default().extend(pairs);
        }
        let is_whole = count > 0 && table.descriptors[row] == Some(count);
        TouchedRegions {
            sender,
            receiver,
            descriptors: (count, located),
            is_whole,
            sent: of_sender,
            received: of_receiver,
        }
    }
}

/// One end of a transfer while its descriptors are gone through.
struct TransferEnd<'a> {
    registered: Option<&'a Registered>,
    touched: Vec<bool>,
    is_known: bool,
}

impl<'a> TransferEnd<'a> {
    fn new(registered: &'a BTreeMap<i64, Registered>, process: Option<i64>) -> Self {
        let registered = process.and_then(|process| registered.get(&process));
        let touched = vec![false; registered.map_or(0, |own| own.rows.len())];
        Self { registered, touched, is_known: registered.is_some() }
    }

    /// The first region that a descriptor touches; `None` if it lies in none.
    fn touch(&mut self, addr: Option<u64>, bytes: i64) -> Option<u32> {
        let mut first = None;
        let is_within = self.registered.zip(addr).is_some_and(|(own, addr)| {
            own.touched(addr, bytes, |position| {
                first = first.or(Some(position));
                self.touched[position as usize] = true;
            })
        });
        self.is_known &= is_within;
        first.filter(|_| is_within)
    }

    fn is_beside_parts(&self, addr: u64, bytes: i64) -> bool {
        self.registered.is_some_and(|own| own.is_beside_parts(addr, bytes))
    }

    fn set(self) -> Option<Set> {
        let touched = (0u32..).zip(self.touched).filter(|(_, is_touched)| *is_touched).map(|(position, _)| position);
        self.is_known.then(|| Set::of(touched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::MS;

    fn some_facts() -> Facts {
        let mut facts = Facts::default();
        facts.agent(1, "p");
        facts.agent(9, "d");
        // Neighbours, the first registered again.
        for (region, addr) in [(0, 0x3000), (1, 0x2000), (2, 0x3000)] {
            facts.region(1, region, addr, 0x1000);
        }
        for region in 0u8..2 {
            facts.region(9, i32::from(region), 0x8000 + 0x2000 * u64::from(region), 0x1000);
        }
        facts
    }

    fn descriptor(facts: &mut Facts, local: u64, remote: Option<u64>, bytes: i64) {
        let last = facts.transfers.transfer_id.len() - 1;
        let transfer = i64::try_from(last).unwrap();
        facts.descriptors.push(transfer, Descriptor { local, remote, bytes });
        facts.transfers.descriptors[last] = i64::try_from(facts.descriptors.of(transfer).len()).ok();
    }

    #[test]
    fn both_ends_of_a_push_and_of_a_pull_are_known() {
        let mut facts = some_facts();
        facts.write(1, "p", "d", 10 * MS, 1, "r");
        descriptor(&mut facts, 0x3800, Some(0xa000), 0x800);
        facts.write(9, "d", "p", 20 * MS, 1, "r");
        descriptor(&mut facts, 0x8000, Some(0x2000), 0x100);
        facts.transfers.op[1] = "READ".into();
        let all = Regions::of(&facts);
        let touch = |row: usize| {
            let touch: &TouchedRegions = &all.touches[row];
            (touch.sender, touch.receiver, touch.sent().unwrap().to_string(), touch.received().unwrap().to_string())
        };
        assert_eq!(touch(0), (Some(1), Some(9), "0".into(), "1".into()));
        assert_eq!(touch(1), (Some(1), Some(9), "1".into(), "0".into()));
        assert_eq!(all.pairs[&(1, 9)], [(0, 1), (1, 0)].into());
    }

    #[test]
    fn a_merged_descriptor_touches_neighbours_and_one_outside_tells_nothing() {
        let mut facts = some_facts();
        facts.write(1, "p", "d", 10 * MS, 1, "r");
        descriptor(&mut facts, 0x2000, None, 0x2000);
        assert_eq!(Regions::of(&facts).touches[0].sent().map(Set::to_string), Some("0-1".into()));
        assert_eq!(Regions::of(&facts).touches[0].received(), None, "no remote address");
        descriptor(&mut facts, 0x3800, None, 0x1000);
        let touch = &Regions::of(&facts).touches[0];
        assert_eq!((touch.sent(), touch.descriptors), (None, (2, 1)));
    }

    #[test]
    fn cut_lists_and_overlapping_regions_tell_nothing() {
        let mut facts = some_facts();
        facts.write(1, "p", "d", 10 * MS, 1, "r");
        descriptor(&mut facts, 0x2000, None, 0x100);
        facts.transfers.descriptors[0] = Some(7);
        assert_eq!(Regions::of(&facts).touches[0].sent(), None);
        facts.transfers.descriptors[0] = Some(1);
        facts.region(1, 3, 0x2800, 0x1000);
        let all = Regions::of(&facts);
        assert_eq!((all.touches[0].sent(), all.touches[0].descriptors), (None, (1, 0)));
    }
}
