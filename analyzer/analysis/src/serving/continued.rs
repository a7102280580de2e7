//! Chunks of a prompt whose transfers carry no text (Mooncake; SGLang from 0.5.22 on). The receiver has blocks for the whole prompt before the first
//! chunk is computed, so each chunk goes to where the one before it ended, in every region. Only the last one names its request. Where a
//! prompt's blocks are not neighbours, its earlier chunks stay without one.
//!
//! Blocks of another request may begin where a chunk ends: where that is its request's last, after which nothing is looked for; or where a
//! prompt's blocks are not neighbours, or it was given up. So this is less sure than an id.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::cell::Name;
use kvpath_schema::tables::nixl::XferOp;

use crate::facts::Facts;

/// Where a transfer begins and ends in memory of the receiver: of each run of neighbouring pieces, rising.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extent {
    starts: Vec<u64>,
    ends: Vec<u64>,
}

/// Gives the transfers of earlier chunks the request of the one that they end with.
pub fn name_earlier_chunks(facts: &mut Facts) {
    let mut of_pair: BTreeMap<(i64, Option<Name>), Vec<usize>> = BTreeMap::new();
    for row in candidates(facts) {
        let peer = facts.transfers.peer[row].clone();
        of_pair.entry((facts.transfers.process_id[row], peer)).or_default().push(row);
    }
    for mut rows in of_pair.into_values() {
        rows.sort_by_key(|row| (facts.transfers.posted_ns[*row], facts.transfers.transfer_id[*row]));
        // Of a pair with texts all are named.
        if rows.iter().any(|row| facts.transfers.request[*row].is_none()) {
            name(facts, &rows);
        }
    }
}

/// Writes of KV without a text.
fn candidates(facts: &Facts) -> Vec<usize> {
    let table = &facts.transfers;
    let is_one = |row: &usize| {
        *table.op[*row] == XferOp::Write
            && table.notif[*row].is_none()
            && table.posted_ns[*row].is_some()
            && facts.is_on_gpu(*row)
    };
    (0..table.transfer_id.len()).filter(is_one).collect()
}

fn name(facts: &mut Facts, rows: &[usize]) {
    // The chunks up to now of prompts that are not over, by where the next one goes.
    let mut open: HashMap<Vec<u64>, Vec<usize>> = HashMap::new();
    for row in rows {
        let Some(extent) = extent(facts, *row) else { continue };
        let mut chunks = open.remove(&extent.starts).unwrap_or_default();
        if let Some(request) = facts.transfers.request[*row].clone() {
            for earlier in chunks {
                facts.transfers.request[earlier] = Some(request.clone());
                facts.continued.insert(earlier);
            }
        } else {
            chunks.push(*row);
            open.insert(extent.ends, chunks);
        }
    }
}

/// Of a transfer all of whose pieces are recorded, with addresses at the receiver.
fn extent(facts: &Facts, row: usize) -> Option<Extent> {
    let pieces = facts.descriptors.of(facts.transfers.transfer_id[row]);
    let asked = facts.transfers.descriptors[row].and_then(|asked| usize::try_from(asked).ok());
    if asked.is_some_and(|asked| asked != pieces.len()) {
        return None;
    }
    let mut runs: Vec<(u64, u64)> = pieces
        .map(|piece| {
            let start = piece.remote?;
            Some((start, start.checked_add(u64::try_from(piece.bytes).ok()?)?))
        })
        .collect::<Option<_>>()?;
    runs.sort_unstable();
    let mut extent = Extent::default();
    for (start, end) in runs {
        match extent.ends.last_mut() {
            Some(last) if *last == start => *last = end,
            _ => {
                extent.starts.push(start);
                extent.ends.push(end);
            }
        }
    }
    (!extent.starts.is_empty()).then_some(extent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Descriptor;

    /// Chunks with the block that each begins at, how many it has, and its request; the request of each after it.
    fn named(chunks: &[(u64, u64, Option<&str>)]) -> Vec<Option<String>> {
        let mut facts = Facts::default();
        for ((at, number), (block, blocks, request)) in (0i64..).zip(0usize..).zip(chunks) {
            facts.write(1, "p:1", "d:1", at, 1, "r");
            let table = &mut facts.transfers;
            (table.notif[number], table.request[number]) = (None, request.map(str::to_owned));
            table.local_memory[number] = Some("VRAM".into());
            table.descriptors[number] = Some(2);
            for region in [0x10_0000, 0x20_0000] {
                let remote = Some(region + block * 0x100);
                let bytes = i64::try_from(blocks * 0x100).unwrap();
                facts.descriptors.push(at, Descriptor { local: 0x1000, remote, bytes });
            }
        }
        name_earlier_chunks(&mut facts);
        facts.transfers.request
    }

    fn some(names: &[Option<&str>]) -> Vec<Option<String>> {
        names.iter().map(|name| name.map(str::to_owned)).collect()
    }

    #[test]
    fn chunks_that_go_on_where_one_ended_are_of_one_request() {
        let chunks = [(0, 4, None), (4, 4, None), (8, 2, Some("a"))];
        assert_eq!(named(&chunks), some(&[Some("a"); 3]));
    }

    /// As SGLang sent them on H200s: `b` begins where `a` ends, and another request comes between its chunks.
    #[test]
    fn a_request_begins_where_the_last_one_ended() {
        let chunks =
            [(0, 8, None), (8, 7, Some("a")), (15, 2, None), (40, 6, Some("c")), (17, 8, None), (25, 1, Some("b"))];
        assert_eq!(named(&chunks), some(&[Some("a"), Some("a"), Some("b"), Some("c"), Some("b"), Some("b")]));
    }

    #[test]
    fn blocks_that_are_no_neighbours_tell_nothing() {
        assert_eq!(named(&[(0, 4, None), (5, 4, Some("a"))]), some(&[None, Some("a")]));
        assert_eq!(named(&[(0, 4, None)]), some(&[None]));
    }
}
