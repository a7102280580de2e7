//! Transfers with their peers, requests, copies, notifications, regions and layers.

use std::collections::BTreeSet;

use kvpath_schema::tables::joins::TransferJoin;
use kvpath_schema::tables::nixl::NixlTransfers;
use kvpath_schema::tables::purposes::{Purpose, PurposeMethod};

use super::Inputs;
use super::notifs::NOTIF;
use super::tally::{JoinMethod, Kind, Tally, how};
use crate::facts::Facts;
use crate::facts::agents::AgentNames;
use crate::facts::regions::Regions;
use crate::facts::set::Set;
use crate::method::Method;
use crate::structure::held_layers::{self, RegionLayerMap};

const PEER: Kind = ("transfer_to_peer", "nixl_transfers");
const REQUEST: Kind = ("transfer_to_request", "nixl_transfers");
const COPIES: Kind = ("transfer_to_copies", "nixl_transfers");
const LAYERS: Kind = ("transfer_to_layers", "nixl_transfers");
const DESCRIPTOR: Kind = ("descriptor_to_region", "nixl_descriptors");
const REGION: Kind = ("region_to_layer", "nixl_regions");
/// What lies in registered memory belongs to it.
const ADDRESS: JoinMethod = ("address", 1.0);
/// Another request's blocks may follow those of a chunk ([`crate::serving::continued`]).
const CONTINUED: f64 = 0.7;

/// A row while calls of UCX and RDMA are still to be joined with it.
#[derive(Debug)]
pub struct Joining {
    /// The row.
    pub row: TransferJoin,
    /// Thread that made and posted it.
    pub tid: i32,
    /// Make and post, entry and return of each, ns.
    pub make: Option<(i64, i64)>,
    /// See `make`.
    pub post: Option<(i64, i64)>,
}

/// Those of hosts whose clocks are related; their stages and requests have numbers from `first` on.
pub fn of(inputs: &Inputs, first: (usize, usize), tally: &mut Tally) -> Vec<Joining> {
    let Inputs { facts, stages, regions, known, .. } = inputs;
    let transfers = &inputs.links.transfers;
    regions_to_layers(regions, known, tally);
    let carries_kv = held_layers::carries_kv(facts);
    let own_agents: BTreeSet<&str> = facts.agents.name.iter().map(|name| &**name).collect();
    let copying: BTreeSet<i64> = facts.device_copies.peers().map(|(process, _)| process).collect();
    let after = |first: usize, number: i32| i32::try_from(first).unwrap_or(i32::MAX).saturating_add(number);
    let mut rows = Vec::new();
    for (at, row) in (0u32..).zip(0..facts.transfers.transfer_id.len()) {
        let (table, touch) = (&facts.transfers, &regions.touches[row]);
        let process = table.process_id[row];
        let peer = if touch.sender == Some(process) { touch.receiver } else { touch.sender };
        let peer_how = peer.map(|_| told_by(facts, &own_agents, table.peer[row].as_deref()));
        let request = inputs.of_transfer.get(&row).map(|number| after(first.1, *number));
        let request_how = request.map(|_| match table.request[row].is_some() {
            true if facts.continued.contains(&row) => (ADDRESS.0, CONTINUED),
            true => how(Method::Id),
            false => how(Method::Time),
        });
        let sent = touch.sender.and_then(|sender| known.layers.get(&sender)?.held(touch.sent()?));
        let received = touch.receiver.and_then(|receiver| known.layers.get(&receiver)?.held(touch.received()?));
        let sent = sent.filter(|_| carries_kv[row]);
        let received = received.filter(|_| carries_kv[row]);
        let layers_how = sent.as_ref().map(|held| (held.method, held_layers::confidence(held.method)));
        let copied = transfers.copied_from(at);
        let arrival = transfers.has_arrived(at).then(|| transfers.arrival(at));
        let (recorded, located) = touch.descriptors;
        tally.add_many(Some(process), DESCRIPTOR, Some(ADDRESS), located);
        tally.add_many(Some(process), DESCRIPTOR, None, recorded - located);
        if table.posted_ns[row].is_some() {
            tally.add(process, PEER, peer_how);
            tally.add(process, REQUEST, request_how);
            if carries_kv[row] {
                tally.add(process, LAYERS, layers_how);
                if copying.contains(&process) {
                    tally.add(process, COPIES, copied.map(|_| how(Method::Time)));
                }
            }
            if table.notif[row].is_some() {
                tally.add(process, NOTIF, transfers.arrived_by(at).map(how));
            }
        }
        let (purpose, purpose_method) = purpose(&facts.purposes.transfers, row);
        let stage = touch.sender.and_then(|sender| stages.process_id.iter().position(|process| *process == sender));
        rows.push(Joining {
            row: TransferJoin {
                transfer_id: table.transfer_id[row],
                process_id: process,
                purpose,
                purpose_method,
                stage_id: stage.map(|stage| after(first.0, stages.stage_id[stage])),
                request,
                request_method: request_how.map(|(method, _)| method.into()),
                request_confidence: request_how.map(|(_, confidence)| confidence),
                peer_process_id: peer,
                peer_method: peer_how.map(|(method, _)| method.into()),
                peer_confidence: peer_how.map(|(_, confidence)| confidence),
                regions: touch
                    .sender
                    .zip(touch.sent())
                    .and_then(|(sender, set)| i32::try_from(regions.count(sender, set)).ok()),
                layers: sent.map(|held| held.layers.to_string()),
                layers_method: layers_how.map(|(method, _)| method.into()),
                layers_confidence: layers_how.map(|(_, confidence)| confidence),
                peer_layers: received.map(|held| held.layers.to_string()),
                copy_start_ns: copied,
                notif_arrived_ns: arrival,
                ucx_ops: None,
                rdma_ops: None,
            },
            tid: table.tid[row],
            make: calls(table, row).0,
            post: calls(table, row).1,
        });
    }
    rows.extend(others(facts, &own_agents));
    rows
}

/// Nothing is known of one of which nobody has asked.
fn purpose(known: &[(Purpose, PurposeMethod)], row: usize) -> (Purpose, PurposeMethod) {
    known.get(row).copied().unwrap_or((Purpose::Unknown, PurposeMethod::None))
}

/// How it is known whose a name is.
fn told_by(facts: &Facts, own_agents: &BTreeSet<&str>, name: Option<&str>) -> JoinMethod {
    let name = name.unwrap_or_default();
    how(match (own_agents.contains(name), facts.presumed.of_name.contains_key(name)) {
        (true, _) => Method::Id,
        (false, true) => Method::Time,
        (false, false) => Method::Count,
    })
}

/// Those that hand nothing over.
fn others(facts: &Facts, own_agents: &BTreeSet<&str>) -> Vec<Joining> {
    let table = &facts.others;
    if table.transfer_id.is_empty() {
        return Vec::new();
    }
    let names = AgentNames::of(facts);
    let of_row = |row: usize| {
        let at = table.made_ns[row].or(table.posted_ns[row]).unwrap_or(i64::MAX);
        let peer = table.peer[row].as_deref().and_then(|name| names.at(name, at));
        let (purpose, purpose_method) = purpose(&facts.purposes.others, row);
        let peer_how = peer.map(|_| told_by(facts, own_agents, table.peer[row].as_deref()));
        Joining {
            row: TransferJoin {
                transfer_id: table.transfer_id[row],
                process_id: table.process_id[row],
                purpose,
                purpose_method,
                stage_id: None,
                request: None,
                request_method: None,
                request_confidence: None,
                peer_process_id: peer,
                peer_method: peer_how.map(|(method, _)| method.into()),
                peer_confidence: peer_how.map(|(_, confidence)| confidence),
                regions: None,
                layers: None,
                layers_method: None,
                layers_confidence: None,
                peer_layers: None,
                copy_start_ns: None,
                notif_arrived_ns: None,
                ucx_ops: None,
                rdma_ops: None,
            },
            tid: table.tid[row],
            make: calls(table, row).0,
            post: calls(table, row).1,
        }
    };
    (0..table.transfer_id.len()).map(of_row).collect()
}

type Call = Option<(i64, i64)>;

/// Make and post of a transfer.
fn calls(table: &NixlTransfers, row: usize) -> (Call, Call) {
    let make = table.made_ns[row].zip(table.make_dur_ns[row]).map(|(made, dur)| (made, made.saturating_add(dur)));
    (make, table.posted_ns[row].zip(table.post_end_ns[row]))
}

fn regions_to_layers(regions: &Regions, known: &RegionLayerMap, tally: &mut Tally) {
    for (process, registered) in &regions.registered {
        let Some(kv) = known.kv.get(process) else {
            let all = Set::of(0..u32::try_from(registered.rows.len()).unwrap_or(u32::MAX));
            let rows = i64::try_from(registered.count(&all)).unwrap_or(i64::MAX);
            tally.add_many(Some(*process), REGION, None, rows);
            continue;
        };
        let layers = known.layers.get(process);
        // Of one that layers share, once.
        for position in kv.iter().take(registered.count(kv)) {
            let is_known = layers.and_then(|own| own.layer(position).zip(own.method()));
            tally.add(*process, REGION, is_known.map(|(_, method)| (method, held_layers::confidence(method))));
        }
    }
}
