//! Requests of transfers over Mooncake, which carry no texts. The last write of a request is the row with SGLang's room, which the
//! recorder reads. SGLang's worker makes it on the thread and to the peer of the request's last KV, right after that
//! (`transfer_worker` in disaggregation/mooncake/conn.py of 0.5.17 to 0.5.23). Chunks before the last may have others' between
//! them, so nothing is said of these.

use kvpath_schema::tables::nixl::{Library, NixlTransfers, XferOp};

/// Gives the room of a request to the write before the one that carries it.
pub fn name_last_writes(transfers: &mut NixlTransfers) {
    let mut rows: Vec<usize> =
        (0..transfers.transfer_id.len()).filter(|row| *transfers.library[*row] == Library::Mooncake).collect();
    rows.sort_by_key(|row| {
        (transfers.process_id[*row], transfers.tid[*row], transfers.posted_ns[*row], transfers.transfer_id[*row])
    });
    let thread = |transfers: &NixlTransfers, row: usize| (transfers.process_id[row], transfers.tid[row]);
    for pair in rows.windows(2) {
        let (before, carrier) = (pair[0], pair[1]);
        let is_right_before = thread(transfers, before) == thread(transfers, carrier)
            && transfers.peer[before] == transfers.peer[carrier]
            && *transfers.op[before] == XferOp::Write
            && transfers.request[before].is_none();
        // One that was named here carries no room itself.
        let has_room = transfers.request[carrier].is_some() && transfers.notif[carrier].is_none();
        if is_right_before && has_room {
            let room = transfers.request[carrier].clone();
            transfers.request[before] = room;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;

    /// Writes of thread and peer, with the room that each carries.
    fn named(writes: &[(i32, &str, Option<&str>)]) -> Vec<Option<String>> {
        let mut facts = Facts::default();
        for (at, (tid, peer, room)) in writes.iter().enumerate() {
            facts.write(1, "p:1", peer, i64::try_from(at).unwrap(), 1, "r");
            let table = &mut facts.transfers;
            table.library[at] = "mooncake".into();
            table.tid[at] = *tid;
            table.notif[at] = None;
            table.request[at] = room.map(str::to_owned);
        }
        name_last_writes(&mut facts.transfers);
        facts.transfers.request
    }

    #[test]
    fn the_write_before_the_room_is_of_its_request() {
        let rooms = named(&[(1, "d", None), (1, "d", None), (1, "d", Some("7")), (1, "d", None), (1, "d", Some("8"))]);
        assert_eq!(rooms, [None, Some("7"), Some("7"), Some("8"), Some("8")].map(|room| room.map(str::to_owned)));
    }

    #[test]
    fn what_another_thread_or_peer_wrote_is_not() {
        let rooms = named(&[(1, "d", None), (2, "e", None), (2, "d", Some("7")), (1, "d", Some("8"))]);
        assert_eq!(rooms, [Some("8"), None, Some("7"), Some("8")].map(|room| room.map(str::to_owned)));
    }
}
