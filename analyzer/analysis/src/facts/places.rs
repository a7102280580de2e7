//! Places in memory, found by address: regions, parts of them, blocks at constant distances.

/// Blocks at a constant distance from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// First byte of the first.
    pub addr: u64,
    /// Size of each, bytes.
    pub bytes: u64,
    /// From the start of one to that of the next.
    pub stride: u64,
    /// How many.
    pub count: u64,
}

impl Blocks {
    /// One span of memory.
    #[must_use]
    pub const fn span(addr: u64, bytes: u64) -> Self {
        Self { addr, bytes, stride: bytes, count: 1 }
    }

    fn end(&self) -> u64 {
        let last = self.stride.saturating_mul(self.count.saturating_sub(1));
        self.addr.saturating_add(last).saturating_add(self.bytes)
    }

    /// All bytes of them.
    #[must_use]
    pub fn size(&self) -> i64 {
        i64::try_from(self.bytes.saturating_mul(self.count)).unwrap_or(i64::MAX)
    }

    /// The first byte and that behind the last.
    #[must_use]
    pub fn ends(&self) -> (u64, u64) {
        (self.addr, self.end())
    }

    fn is_gapless(&self) -> bool {
        self.count == 1 || self.stride == self.bytes
    }
}

/// Memory in which blocks of some places take turns.
#[derive(Debug)]
struct Band {
    start: u64,
    end: u64,
    /// The same place comes again at that distance.
    period: u64,
    /// Within a period, rising: from, to, number of the place.
    parts: Vec<(u64, u64, u32)>,
}

/// Places by address. No two share a byte.
#[derive(Debug, Default)]
pub struct Places(Vec<Band>);

impl Places {
    /// Places of these blocks, by their positions; `None` if some share memory.
    #[must_use]
    pub fn of(blocks: &[Blocks]) -> Option<Self> {
        let mut rising: Vec<(u32, &Blocks)> =
            (0..).zip(blocks).filter(|(_, own)| own.bytes > 0 && own.count > 0).collect();
        rising.sort_by_key(|(_, own)| own.addr);
        let mut bands: Vec<(Band, u64)> = Vec::new();
        for (position, own) in rising {
            let (addr, end) = own.ends();
            let last = bands.last_mut().filter(|(band, _)| addr < band.end);
            if let Some((band, count)) = last {
                let from = addr - band.start;
                let is_beside = band.parts.last().is_some_and(|part| part.1 <= from);
                let is_alike = own.stride == band.period && own.count == *count && *count > 1;
                if !is_beside || !is_alike || from.saturating_add(own.bytes) > band.period {
                    return None;
                }
                band.parts.push((from, from + own.bytes, position));
                band.end = band.end.max(end);
                continue;
            }
            let (period, bytes) = if own.is_gapless() { (end - addr, end - addr) } else { (own.stride, own.bytes) };
            if bytes > period {
                return None;
            }
            let count = if own.is_gapless() { 1 } else { own.count };
            bands.push((Band { start: addr, end, period, parts: vec![(0, bytes, position)] }, count));
        }
        Some(Self(bands.into_iter().map(|(band, _)| band).collect()))
    }

    /// Hands over the places that a span of memory touches, some perhaps twice, and whether all of it lies in some.
    pub fn touched(&self, start: u64, bytes: i64, mut take: impl FnMut(u32)) -> bool {
        let end = start.saturating_add(bytes.unsigned_abs()).max(start.saturating_add(1));
        let mut at = start;
        for band in &self.0[self.0.partition_point(|band| band.end <= start)..] {
            if at >= end {
                break;
            }
            if band.start > at || !band.touched(at, end.min(band.end), &mut take) {
                return false;
            }
            at = band.end;
        }
        at >= end
    }
}

impl Band {
    fn touched(&self, from: u64, to: u64, take: &mut impl FnMut(u32)) -> bool {
        // What comes after a whole period is the same again.
        let to = to.min(from.saturating_add(self.period));
        let mut at = from;
        while at < to {
            let offset = (at - self.start) % self.period;
            let part = self.parts.partition_point(|part| part.1 <= offset);
            let Some((_, end, position)) = self.parts.get(part).filter(|part| part.0 <= offset) else { return false };
            take(*position);
            at += end - offset;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn touched(blocks: &[Blocks], start: u64, bytes: i64) -> Option<Vec<u32>> {
        let mut found = Vec::new();
        let is_within = Places::of(blocks).expect("apart").touched(start, bytes, |position| found.push(position));
        is_within.then_some(found)
    }

    #[test]
    fn spans_go_on_over_neighbours_and_not_over_gaps() {
        let blocks = [Blocks::span(0x3000, 0x1000), Blocks::span(0x2000, 0x1000), Blocks::span(0x5000, 0x1000)];
        assert_eq!(touched(&blocks, 0x2800, 0x1000), Some(vec![1, 0]));
        assert_eq!(touched(&blocks, 0x3fff, 1), Some(vec![0]));
        assert_eq!(touched(&blocks, 0x3800, 0x1000), None);
        assert_eq!(touched(&blocks, 0x3800, 0x2000), None);
        assert_eq!((touched(&blocks, 0x1000, 1), touched(&blocks, 0x6000, 1)), (None, None));
        assert_eq!(touched(&blocks, 0x5000, 0), Some(vec![2]));
    }

    #[test]
    fn blocks_of_layers_take_turns() {
        // Three layers' pages of 0x100 in rows of 0x400; the last quarter is nobody's.
        let page = |layer: u64| Blocks { addr: 0x1000 + layer * 0x100, bytes: 0x100, stride: 0x400, count: 4 };
        let blocks = [page(0), page(1), page(2)];
        assert_eq!(touched(&blocks, 0x1900, 0x100), Some(vec![1]));
        assert_eq!(touched(&blocks, 0x1900, 0x200), Some(vec![1, 2]));
        assert_eq!((touched(&blocks, 0x1b00, 0x100), touched(&blocks, 0x1900, 0x400)), (None, None));
        // Without the gap, any number of rows is of all.
        let whole: Vec<Blocks> = (0..4).map(page).collect();
        assert_eq!(touched(&whole, 0x1500, 0xa00), Some(vec![1, 2, 3, 0]));
        assert_eq!(touched(&whole, 0x1500, 0xc00), None, "beyond the last");
    }

    #[test]
    fn what_shares_memory_has_no_places() {
        let page = |addr, stride, count| Blocks { addr, bytes: 0x100, stride, count };
        assert!(Places::of(&[page(0x1000, 0x100, 4), page(0x1200, 0x100, 4)]).is_none());
        assert!(Places::of(&[page(0x1000, 0x400, 4), page(0x1100, 0x200, 4)]).is_none(), "not at one distance");
        assert!(Places::of(&[page(0x1000, 0x400, 4), page(0x1080, 0x400, 4)]).is_none());
        assert!(Places::of(&[page(0x1000, 0x80, 4)]).is_none(), "blocks overlap");
        assert!(Places::of(&[page(0x1000, 0, 2)]).is_none());
    }

    proptest! {
        #[test]
        fn any_blocks_and_any_span_end(
            blocks in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..6),
            near in prop::collection::vec((0u64..64, 0u64..32, 0u64..32, 0u64..4), 0..6),
            start in 0u64..128,
            bytes in 0i64..64,
        ) {
            let make = |(addr, bytes, stride, count)| Blocks { addr, bytes, stride, count };
            for blocks in [blocks, near] {
                let blocks: Vec<Blocks> = blocks.into_iter().map(make).collect();
                let Some(places) = Places::of(&blocks) else { continue };
                let mut found = std::collections::BTreeSet::new();
                let is_within = places.touched(start, bytes, |position| _ = found.insert(position));
                let holds = |at: u64| (0u32..).zip(&blocks).find(|(_, own)| {
                    (0..own.count.min(256)).any(|n| {
                        let from = own.addr.saturating_add(own.stride.saturating_mul(n));
                        (from..from.saturating_add(own.bytes)).contains(&at)
                    })
                });
                if blocks.iter().all(|own| own.count < 256) {
                    let each: Vec<_> = (start..start + bytes.unsigned_abs().max(1)).map(holds).collect();
                    prop_assert_eq!(is_within, each.iter().all(Option::is_some));
                    if is_within {
                        prop_assert_eq!(found, each.iter().flatten().map(|(position, _)| *position).collect());
                    }
                }
            }
        }
    }
}
