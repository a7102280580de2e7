//! Calls beside transfers: what began them, and how they ended.

use std::collections::HashMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{CallName, NixlCall};
use kvpath_schema::wire::nixl::Kind;

use super::super::names;
use super::Assembler;

/// A call: process, thread and entry.
pub(super) type Call = (i64, i32, i64);

/// Calls that have not returned.
#[derive(Debug, Default)]
pub struct Begun(HashMap<Call, NixlCall>);

impl Begun {
    /// Whose they are.
    pub fn processes(&self) -> impl Iterator<Item = i64> {
        self.0.keys().map(|call| call.0)
    }

    /// Says which transfer it is about.
    pub(super) fn is_of_transfer(&mut self, call: Call, transfer_id: Option<i64>) {
        if let Some(row) = self.0.get_mut(&call) {
            row.transfer_id = transfer_id;
        }
    }
}

/// The function that a probe of that kind sits on; none for those whose calls are rows of other tables.
pub(super) fn name(kind: Kind) -> Option<CallName> {
    match kind {
        Kind::LoadMd => Some(CallName::LoadRemoteMd),
        Kind::Connect => Some(CallName::MakeConnection),
        Kind::FetchMd => Some(CallName::FetchRemoteMd),
        Kind::SendMd => Some(CallName::SendLocalMd),
        Kind::InvalidateMd => Some(CallName::InvalidateRemoteMd),
        Kind::Deregister => Some(CallName::DeregisterMem),
        Kind::Prepare | Kind::PrepareStrided => Some(CallName::PrepXferDlist),
        Kind::MakeSpan | Kind::MakeVector => Some(CallName::MakeXferReq),
        Kind::Create => Some(CallName::CreateXferReq),
        _ => None,
    }
}

impl Assembler {
    /// A call was entered; or, where it has been already, its peer has become known.
    pub(super) fn call_begins(&mut self, call: Call, name: CallName, agent_ptr: u64, peer: Option<&str>) {
        let (process_id, tid, start_ns) = call;
        let agent = self.agents.get(&(process_id, agent_ptr)).cloned();
        let row = self.calls.0.entry(call).or_insert_with(|| NixlCall {
            start_ns,
            end_ns: None,
            process_id,
            tid,
            agent_ptr,
            agent,
            call: name.text().into(),
            peer: None,
            status: None,
            transfer_id: None,
        });
        row.peer = peer.filter(|peer| !peer.is_empty()).map(Name::from).or_else(|| row.peer.take());
    }

    /// A call returned. Where its entry was lost, this is its row all the same.
    pub(super) fn call_ends(&mut self, call: Call, name: CallName, agent_ptr: u64, (end_ns, status): (i64, i32)) {
        self.call_begins(call, name, agent_ptr, None);
        if let Some(mut row) = self.calls.0.remove(&call) {
            row.end_ns = Some(end_ns);
            row.status = Some(names::status(status));
            self.rows.calls.push(row);
        }
    }

    /// Writes the calls of a process whose return will not be seen.
    pub(super) fn calls_left(&mut self, process_id: i64) {
        let mut left: Vec<NixlCall> =
            self.calls.0.extract_if(|call, _| call.0 == process_id).map(|(_, row)| row).collect();
        left.sort_by_key(|row| (row.start_ns, row.tid));
        for row in left {
            self.rows.calls.push(row);
        }
    }
}
