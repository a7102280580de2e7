//! Recordings made by hand, for tests.

use std::ops::{Deref, DerefMut};

use kvpath_schema::table::Columns;
use kvpath_schema::tables::nixl::{
    CallName, NixlAgent, NixlCall, NixlNotif, NixlPreparedRow, NixlRegion, NixlTransfer, PreparedForm,
};
use kvpath_schema::tables::process::Process;

use crate::facts::{Descriptor, Facts};
use crate::model::Recording;
use crate::timeline::{LaneId, LaneKind};

pub(crate) const MS: i64 = 1_000_000;

impl Facts {
    pub(crate) fn process(&mut self, process_id: i64, name: &str) {
        let pid = i32::try_from(process_id).unwrap();
        self.processes.push(Process {
            process_id,
            pid,
            name: name.to_owned(),
            start_ns: None,
            end_ns: None,
            parent_process_id: None,
        });
    }

    pub(crate) fn agent(&mut self, process_id: i64, name: &str) {
        self.agents.push(NixlAgent {
            time_ns: 1,
            process_id,
            agent_ptr: 0x1000,
            name: name.into(),
            library: "nixl".into(),
        });
    }

    pub(crate) fn copy(&mut self, process_id: i64, start_ns: i64, dur_ns: i64, bytes: i64) {
        self.device_copies.extend(process_id, (0, 2), [((start_ns, dur_ns), bytes)]);
    }

    /// A write of `bytes` with notif `{request}-0123abcd:1`, made 2 ms before `posted`, seen done 10 ms after it.
    pub(crate) fn write(&mut self, process_id: i64, agent: &str, peer: &str, posted: i64, bytes: i64, request: &str) {
        let transfer_id = i64::try_from(self.transfers.len()).unwrap();
        self.transfers.push(NixlTransfer {
            transfer_id,
            process_id,
            tid: 1,
            handle: 0xf00,
            epoch: transfer_id,
            agent_ptr: 0x1000,
            agent: Some(agent.into()),
            peer: Some(peer.into()),
            op: "WRITE".into(),
            made_ns: Some(posted - 2 * MS),
            make_dur_ns: Some(MS),
            made_descriptors: Some(64),
            posted_ns: Some(posted),
            post_end_ns: Some(posted + MS),
            last_pending_poll_ns: Some(posted + 9 * MS),
            done_poll_ns: Some(posted + 10 * MS),
            pending_polls: Some(3),
            released_ns: Some(posted + 11 * MS),
            status: "done".into(),
            bytes: Some(bytes),
            descriptors: Some(4),
            local_memory: Some("DRAM".into()),
            remote_memory: Some("DRAM".into()),
            notif: Some(format!("{request}-0123abcd:1")),
            notif_bytes: Some(i64::try_from(request.len()).unwrap() + 11),
            request: Some(request.to_owned()),
            chunk: None,
            sender_rank: None,
            library: "nixl".into(),
            layout: None,
        });
    }

    pub(crate) fn notif(&mut self, process_id: i64, direction: &str, peer: &str, time_ns: i64, message: &str) {
        self.notifs.push(NixlNotif {
            time_ns,
            process_id,
            tid: 1,
            direction: direction.into(),
            via: "unknown".into(),
            peer: Some(peer.into()),
            message: message.to_owned(),
            message_raw: None,
            message_bytes: i64::try_from(message.len()).unwrap(),
            transfer_id: None,
        });
    }

    /// A call of an agent with a peer, that succeeds.
    pub(crate) fn call(&mut self, process_id: i64, name: CallName, peer: &str, start_ns: i64, dur_ns: i64) {
        self.calls.push(NixlCall {
            start_ns,
            end_ns: Some(start_ns + dur_ns),
            process_id,
            tid: 1,
            agent_ptr: 0x1000,
            agent: None,
            call: name.text().into(),
            peer: Some(peer.into()),
            status: Some("NIXL_SUCCESS".into()),
            transfer_id: None,
        });
    }

    pub(crate) fn region(&mut self, process_id: i64, region: i32, addr: u64, bytes: i64) {
        self.regions.push(NixlRegion {
            time_ns: 2,
            dur_ns: Some(1),
            process_id,
            agent_ptr: 0x1000,
            agent: None,
            region,
            addr,
            bytes,
            device_id: 0,
            memory: "DRAM".into(),
            library: "nixl".into(),
        });
    }

    /// A list that a process prepares, of its own memory or of a peer's: address, size of a block, stride and count of each row.
    pub(crate) fn prepare(&mut self, process_id: i64, agent: &str, peer: Option<&str>, rows: &[(u64, i64, i64, i64)]) {
        let list = self.prepared.list.last().map_or(0, |list| list + 1);
        for (number, (addr, bytes, stride, count)) in (0..).zip(rows) {
            self.prepared.push(NixlPreparedRow {
                time_ns: i64::from(list) + 3,
                process_id,
                agent_ptr: 0x1000,
                agent: Some(agent.into()),
                list,
                peer: peer.map(Into::into),
                form: PreparedForm::Strided.text().into(),
                memory: "DRAM".into(),
                rows: i64::try_from(rows.len()).ok(),
                row: number,
                addr: *addr,
                bytes: *bytes,
                device_id: 0,
                stride: *stride,
                count: *count,
            });
        }
    }

    pub(crate) fn descriptor(&mut self, transfer_id: i64, local: u64, bytes: i64) {
        self.descriptors.push(transfer_id, Descriptor { local, remote: None, bytes });
    }
}

/// Tests write into both without a word.
impl Deref for Recording {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl DerefMut for Recording {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}

impl Recording {
    pub(crate) fn kernel(&mut self, process_id: i64, stream_id: i32, name: &str, start_ns: i64, dur_ns: i64) {
        self.kernel_on(process_id, 0, stream_id, name, (start_ns, dur_ns));
    }

    pub(crate) fn kernel_on(&mut self, process: i64, device: i32, stream: i32, name: &str, (start, dur): (i64, i64)) {
        let id = LaneId { process, kind: LaneKind::Stream { context: 1, stream } };
        self.timeline.add_kernel(id, device, name, (start, start + dur, 0));
    }

    /// A forward pass: 3 kernels of preparation and `layers` layers of 6, without gaps; ends `(3 + 6 layers) each` later.
    pub(crate) fn pass(&mut self, process_id: i64, start_ns: i64, layers: i64, each: i64) -> i64 {
        let mut at = start_ns;
        let mut run = |name: &str| {
            self.kernel(process_id, 7, name, at, each);
            at += each;
        };
        for name in ["embed", "positions", "slots"] {
            run(name);
        }
        for _ in 0..layers {
            for name in ["norm", "gemm", "rope", "attention", "gemm", "mlp"] {
                run(name);
            }
        }
        at
    }
}
