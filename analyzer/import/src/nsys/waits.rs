//! What the GPU's work waited for, and graphs that were recorded as a whole.

use std::collections::HashMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{CudaEvent, CudaEvents, GpuSync, GpuSyncs, GraphLaunch, GraphLaunches};

use super::error::ImportError;
use super::file::Opened;
use super::read::{GRAPHS, ON_GPU, RECORDED, SYNCS, on_gpu, pid, times};
use super::rows::{each, int, small};

/// `ENUM_CUPTI_SYNC_TYPE`, by number.
const KINDS: [&str; 5] = ["unknown", "event", "stream_wait_event", "stream", "context"];

/// What calls wait for. The number in `syncType` is not that of the enumeration that the export says it is: 2025.5 has 2, "stream wait",
/// for `cudaStreamSynchronize`.
const BY_CALL: [(&str, usize); 5] = [
    ("EventSynchronize", 1),
    ("StreamWaitEvent", 2),
    ("StreamSynchronize", 3),
    ("DeviceSynchronize", 4),
    ("CtxSynchronize", 4),
];

/// The kind of wait of each call, by process and correlation id.
pub(super) type Waiting = HashMap<(i64, i64), usize>;

/// What a call waits for, if it does.
pub(super) fn kind_of(call: &str) -> Option<usize> {
    BY_CALL.iter().find(|(part, _)| call.contains(part)).map(|(_, kind)| *kind)
}

/// Of stream and event where none takes part.
const NONE: i64 = 0xffff_ffff;

/// The tables, and how many rows of each had no times that can be.
#[derive(Debug, Default)]
pub(super) struct WaitTables {
    pub(super) syncs: GpuSyncs,
    pub(super) events: CudaEvents,
    pub(super) graphs: GraphLaunches,
    pub(super) left_out: Vec<&'static str>,
}

impl WaitTables {
    pub(super) fn read(opened: &Opened, calls: &Waiting) -> Result<Self, ImportError> {
        let mut found = Self::default();
        let kinds: Vec<Name> = KINDS.into_iter().map(Name::from).collect();
        let id = |value: Option<i64>| value.filter(|id| *id != NONE);
        let columns = [
            "start!",
            "end!",
            "globalPid",
            "contextId",
            "streamId",
            "correlationId",
            "deprecatedSyncType",
            "eventId",
            "eventSyncId",
        ];
        each(opened, SYNCS, &columns, |row| {
            let Some((start_ns, dur_ns)) = times(row, 0, 1)? else {
                found.left_out.push(SYNCS);
                return Ok(());
            };
            let (process_id, correlation_id) = (pid(int(row, 2)?.unwrap_or(0)), int(row, 5)?.unwrap_or(0));
            let said = int(row, 6)?.and_then(|kind| usize::try_from(kind).ok());
            let kind = calls.get(&(process_id, correlation_id)).copied().or(said).unwrap_or(0);
            found.syncs.push(GpuSync {
                start_ns,
                dur_ns,
                process_id,
                kind: kinds.get(kind).unwrap_or(&kinds[0]).clone(),
                context_id: small(int(row, 3)?).unwrap_or(0),
                stream_id: small(id(int(row, 4)?)),
                event_id: small(id(int(row, 7)?)),
                event_sync_id: id(int(row, 8)?),
                correlation_id,
            });
            Ok(())
        })?;
        let columns = ["globalPid", "contextId", "streamId", "correlationId", "eventId!", "eventSyncId"];
        each(opened, RECORDED, &columns, |row| {
            let (Some(stream_id), Some(event_id)) = (small(int(row, 2)?), small(int(row, 4)?)) else { return Ok(()) };
            found.events.push(CudaEvent {
                process_id: pid(int(row, 0)?.unwrap_or(0)),
                context_id: small(int(row, 1)?).unwrap_or(0),
                stream_id,
                event_id,
                event_sync_id: id(int(row, 5)?),
                correlation_id: int(row, 3)?.unwrap_or(0),
            });
            Ok(())
        })?;
        each(opened, GRAPHS, &[&ON_GPU[..], &["graphExecId", "graphId"]].concat(), |row| {
            let Some(work) = on_gpu(row)? else {
                found.left_out.push(GRAPHS);
                return Ok(());
            };
            found.graphs.push(GraphLaunch {
                start_ns: work.start_ns,
                dur_ns: work.dur_ns,
                process_id: work.process_id,
                device_id: work.device_id,
                context_id: work.context_id,
                stream_id: work.stream_id,
                graph_id: int(row, 7)?.or(int(row, 8)?).unwrap_or(0),
                correlation_id: work.correlation_id,
            });
            Ok(())
        })?;
        Ok(found)
    }
}
