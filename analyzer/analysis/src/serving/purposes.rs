//! What each transfer is for. Engines move more than hand-offs with the same library: offload to files and host memory (KVBM,
//! `LMCache`, vLLM's offloading), embeddings (Dynamo), what prefill reads back from decode (vLLM's `bidirectional_kv_xfer`). Were these taken
//! for hand-offs, a decode worker that writes a file would be a prefill stage.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlTransfers, XferOp};
use kvpath_schema::tables::purposes::{Purpose, PurposeMethod};

use super::notifications::of_transfer;
use super::{dynamo, sglang};
use crate::facts::Facts;
use crate::facts::agents::AgentNames;

/// A purpose, and how it is known.
type Known = (Purpose, PurposeMethod);

/// Says of all transfers what they are for, and sets those apart that hand nothing over.
pub fn set_apart(facts: &mut Facts) {
    let known = of(facts);
    if known.iter().all(|(purpose, _)| purpose.is_handed_over()) {
        facts.purposes.transfers = known;
        return;
    }
    let all = std::mem::take(&mut facts.transfers);
    for (row, own) in known.into_iter().enumerate() {
        let (table, purposes) = if own.0.is_handed_over() {
            (&mut facts.transfers, &mut facts.purposes.transfers)
        } else {
            (&mut facts.others, &mut facts.purposes.others)
        };
        table.push(all.row(row));
        purposes.push(own);
    }
}

/// Of each row of `nixl_transfers`.
fn of(facts: &Facts) -> Vec<Known> {
    let table = &facts.transfers;
    let names = AgentNames::of(facts);
    let ends: Vec<Ends> = (0..table.len()).map(|row| Ends::of(table, row, &names)).collect();
    let read_back = read_back(table, &ends);
    let smallest = smallest_on_gpu(facts);
    (0..table.len())
        .map(|row| {
            if is_stored(table, row) {
                return (Purpose::Storage, PurposeMethod::Memory);
            }
            if ends[row].is_own_agent {
                return (Purpose::Storage, PurposeMethod::OwnAgent);
            }
            if let Some(text) = table.notif[row].as_deref() {
                let by_engine = sglang::purpose(text).or_else(|| dynamo::purpose(text));
                return match by_engine {
                    Some(purpose) => (purpose, PurposeMethod::Text),
                    None if read_back[row] => (Purpose::ReadBack, PurposeMethod::Request),
                    None if of_transfer(text, table.notif_bytes[row]).is_some() => {
                        (Purpose::HandOff, PurposeMethod::Text)
                    }
                    None => (Purpose::Unknown, PurposeMethod::None),
                };
            }
            let is_beside_kv = smallest.get(&table.process_id[row]).is_some_and(|least| {
                *table.op[row] == XferOp::Write
                    && !facts.is_on_gpu(row)
                    && table.bytes[row].is_some_and(|own| own < *least)
            });
            match (is_beside_kv, ends[row].peer.is_some_and(|peer| peer != ends[row].poster)) {
                (true, _) => (Purpose::Metadata, PurposeMethod::Memory),
                (false, true) => (Purpose::HandOff, PurposeMethod::Ends),
                (false, false) => (Purpose::Unknown, PurposeMethod::None),
            }
        })
        .collect()
}

/// Whether an end of it is no memory.
fn is_stored(table: &NixlTransfers, row: usize) -> bool {
    let ends = [&table.local_memory[row], &table.remote_memory[row]];
    ends.into_iter().flatten().any(|memory| matches!(&**memory, "FILE" | "OBJ" | "BLK"))
}

/// The processes at both ends.
struct Ends {
    poster: i64,
    peer: Option<i64>,
    is_own_agent: bool,
}

impl Ends {
    fn of(table: &NixlTransfers, row: usize, names: &AgentNames) -> Self {
        let poster = table.process_id[row];
        let at = table.made_ns[row].or(table.posted_ns[row]).unwrap_or(i64::MAX);
        let name = table.peer[row].as_deref();
        let peer = name.and_then(|name| names.at(name, at));
        // An agent that was made before recording began has no name; whose the peer's is, messages may tell.
        let is_own_agent = match table.agent[row].as_deref() {
            Some(own) => name == Some(own),
            None => peer == Some(poster),
        };
        Self { poster, peer, is_own_agent }
    }
}

/// Which rows carry KV of a request to where it had come from.
fn read_back(table: &NixlTransfers, ends: &[Ends]) -> Vec<bool> {
    let mut found = vec![false; table.len()];
    let mut rows: Vec<usize> = (0..table.len()).filter(|row| table.posted_ns[*row].is_some()).collect();
    rows.sort_by_key(|row| (table.posted_ns[*row], *row));
    let mut seen: HashMap<&str, Vec<(i64, i64)>> = HashMap::new();
    for row in rows {
        let (Some(request), Some(peer)) = (table.request[row].as_deref(), ends[row].peer) else { continue };
        let is_read = *table.op[row] == XferOp::Read;
        let (from, to) = if is_read { (peer, ends[row].poster) } else { (ends[row].poster, peer) };
        let earlier = seen.entry(request).or_default();
        if earlier.contains(&(to, from)) && !earlier.contains(&(from, to)) {
            found[row] = true;
        } else if !earlier.contains(&(from, to)) {
            earlier.push((from, to));
        }
    }
    found
}

/// The size of the smallest transfer of each process that has its end on a GPU.
fn smallest_on_gpu(facts: &Facts) -> BTreeMap<i64, i64> {
    let mut found: BTreeMap<i64, i64> = BTreeMap::new();
    for row in (0..facts.transfers.len()).filter(|row| facts.transfers.local_memory[*row].as_deref() == Some("VRAM")) {
        if let Some(bytes) = facts.transfers.bytes[row] {
            let least = found.entry(facts.transfers.process_id[row]).or_insert(bytes);
            *least = bytes.min(*least);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage (1) pushes to decode (9).
    fn pushed() -> Facts {
        let mut facts = Facts::default();
        for (process, name) in [(1, "p"), (9, "d")] {
            facts.agent(process, name);
        }
        facts.write(1, "p", "d", 100, 4096, "r");
        facts
    }

    fn known(facts: &Facts) -> Vec<(&'static str, &'static str)> {
        of(facts).into_iter().map(|(purpose, how)| (purpose.text(), how.text())).collect()
    }

    #[test]
    fn files_objects_and_ones_own_agent_are_storage() {
        let mut facts = pushed();
        for memory in ["FILE", "OBJ", "BLK"] {
            facts.write(9, "d", "d", 200, 4096, "s");
            *facts.transfers.remote_memory.last_mut().unwrap() = Some(memory.into());
        }
        facts.write(9, "d", "d", 300, 4096, "s");
        let expected = [
            ("hand_off", "text"),
            ("storage", "memory"),
            ("storage", "memory"),
            ("storage", "memory"),
            ("storage", "own_agent"),
        ];
        assert_eq!(known(&facts), expected);
        set_apart(&mut facts);
        assert_eq!(
            (facts.transfers.transfer_id.as_slice(), facts.others.transfer_id.as_slice()),
            ([0].as_slice(), [1, 2, 3, 4].as_slice())
        );
        assert_eq!((facts.purposes.transfers.len(), facts.purposes.others.len()), (1, 4));
    }

    /// Two agents in one process are two ends, as in a program that tries NIXL.
    #[test]
    fn another_agent_of_the_same_process_is_a_peer() {
        let mut facts = pushed();
        facts.agent(9, "e");
        facts.write(9, "d", "e", 300, 4096, "s");
        assert_eq!(known(&facts)[1], ("hand_off", "text"));
    }

    #[test]
    fn what_goes_back_where_it_came_from_is_read_back() {
        let mut facts = pushed();
        // Decode reads what a stage holds, and later the stage reads what decode holds of it.
        for (process, agent, peer, posted, request) in
            [(9, "d", "p", 200, "s"), (1, "p", "d", 300, "s"), (9, "d", "p", 400, "t"), (9, "d", "p", 500, "s")]
        {
            facts.write(process, agent, peer, posted, 4096, request);
            *facts.transfers.op.last_mut().unwrap() = "READ".into();
        }
        let hand_off = ("hand_off", "text");
        assert_eq!(known(&facts), [hand_off, hand_off, ("read_back", "request"), hand_off, hand_off]);
    }

    #[test]
    fn texts_tell_metadata_state_and_embeddings() {
        let mut facts = Facts::default();
        let texts = [
            "7_kv_0_1_0",
            "7_aux",
            "7_aux_nokv_1_2",
            "7_state_0",
            "0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11",
            "no rule knows this",
        ];
        for text in texts {
            facts.write(1, "p", "d", 100, 4096, "r");
            *facts.transfers.notif.last_mut().unwrap() = Some(text.to_owned());
            *facts.transfers.notif_bytes.last_mut().unwrap() = i64::try_from(text.len()).ok();
        }
        let purposes: Vec<&str> = known(&facts).into_iter().map(|(purpose, _)| purpose).collect();
        assert_eq!(purposes, ["hand_off", "metadata", "metadata", "state", "embeddings", "unknown"]);
    }

    #[test]
    fn without_a_text_ends_and_memory_tell() {
        let mut facts = pushed();
        let mut write = |bytes, memory: &str, peer| {
            facts.write(1, "p", peer, 100, bytes, "r");
            let row = facts.transfers.len() - 1;
            facts.transfers.notif[row] = None;
            facts.transfers.local_memory[row] = Some(memory.into());
        };
        write(1 << 20, "VRAM", "d");
        write(64, "DRAM", "d");
        // As large as KV: it is kept in host memory.
        write(1 << 20, "DRAM", "d");
        write(1 << 20, "VRAM", "nobody knows");
        let expected = [("hand_off", "ends"), ("metadata", "memory"), ("hand_off", "ends"), ("unknown", "none")];
        assert_eq!(known(&facts)[1..], expected);
    }
}
