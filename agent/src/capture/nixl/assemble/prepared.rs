//! Lists that agents prepare: their rows come first, then what is known of the whole.

use std::collections::HashMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlPreparedRow, PreparedForm};
use kvpath_schema::wire::nixl::PREPARED_ROWS;

use super::super::decode::{Blocks, List};
use super::super::names;
use super::Assembler;

/// A call of `prepXferDlist`: process, thread and entry.
type Call = (i64, i32, i64);

/// Lists of which not all has come, and numbers of those that have.
#[derive(Debug, Default)]
pub struct Lists {
    /// A list whose end was lost stays, with its rows, until its process ends.
    open: HashMap<Call, Vec<Blocks>>,
    next: HashMap<i64, i32>,
}

impl Lists {
    /// Takes a row.
    pub fn take(&mut self, call: Call, blocks: Blocks) {
        self.open.entry(call).or_default().push(blocks);
    }

    /// Forgets a process.
    pub fn process_ended(&mut self, process_id: i64) {
        self.open.retain(|(process, ..), _| *process != process_id);
        self.next.remove(&process_id);
    }

    fn number(&mut self, process_id: i64) -> i32 {
        let next = self.next.entry(process_id).or_default();
        *next += 1;
        *next - 1
    }
}

impl Assembler {
    /// Writes the rows of a list that is whole.
    pub(super) fn prepared(&mut self, call: Call, list: &List) {
        let (process_id, _, time_ns) = call;
        let rows = self.prepared.open.remove(&call).unwrap_or_default();
        let Some(peer) = &list.peer.text else {
            self.lose("nixl_prepared", "peer could not be read", process_id, rows.len() as u64);
            return;
        };
        let is_counted = list.covered == list.asked || list.is_strided;
        let over = if list.is_strided { list.rows - list.covered.min(list.rows) } else { list.asked - list.covered };
        if over > 0 {
            let what = if list.is_strided { "rows" } else { "blocks" };
            let reason = format!("{what} of a list beyond {PREPARED_ROWS} rows, or too scattered");
            self.lose("nixl_prepared", reason, process_id, over);
        }
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (number, memory) = (self.prepared.number(process_id), names::memory(list.memory));
        let form = if list.is_strided { PreparedForm::Strided } else { PreparedForm::Blocks };
        let agent = self.agents.get(&(process_id, list.agent_ptr)).cloned();
        let peer = Some(peer.as_str()).filter(|peer| !peer.is_empty()).map(Name::from);
        for Blocks { position, range, stride, count } in rows {
            self.rows.prepared.push(NixlPreparedRow {
                time_ns,
                process_id,
                agent_ptr: list.agent_ptr,
                agent: agent.clone(),
                list: number,
                peer: peer.clone(),
                form: form.text().into(),
                memory: memory.clone(),
                rows: is_counted.then(|| signed(list.rows)),
                row: i32::try_from(position).unwrap_or(i32::MAX),
                addr: range.addr,
                bytes: signed(range.bytes),
                device_id: signed(range.device),
                stride: signed(stride),
                count: signed(count),
            });
        }
    }
}
