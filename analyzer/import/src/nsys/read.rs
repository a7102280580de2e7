//! From the database's tables to ours.

use std::collections::{BTreeMap, HashSet};

use kvpath_analysis::load::limits::{SPAN, TIME};
use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::gpu::{
    ApiCall, ApiCalls, Gpu, Gpus, Kernel, Kernels, Memcpy, Memcpys, Memset, Memsets, copy_kind,
};
use kvpath_schema::tables::nvtx::{NvtxRange, NvtxRanges};
use kvpath_schema::tables::process::{Process, Processes, Thread, Threads};

use super::api::{self, Calls};
use super::diagnostics::{self, Said};
use super::error::ImportError;
use super::file::Opened;
use super::place::Began;
use super::rows::{self, Strings, each, int, small, text};
use super::waits::{self, WaitTables};
use crate::launched::Launched;
use rusqlite::Row;

const KERNEL: &str = "CUPTI_ACTIVITY_KIND_KERNEL";
const MEMCPY: &str = "CUPTI_ACTIVITY_KIND_MEMCPY";
const MEMSET: &str = "CUPTI_ACTIVITY_KIND_MEMSET";
const RUNTIME: &str = "CUPTI_ACTIVITY_KIND_RUNTIME";
const NVTX: &str = "NVTX_EVENTS";
pub(super) const SYNCS: &str = "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION";
pub(super) const RECORDED: &str = "CUPTI_ACTIVITY_KIND_CUDA_EVENT";
pub(super) const GRAPHS: &str = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE";
pub(super) const DIAGNOSTICS: &str = "DIAGNOSTIC_EVENT";
/// A file with none of these holds nothing for us.
const EVENTS: &[&str] = &[KERNEL, MEMCPY, MEMSET, RUNTIME, NVTX, GRAPHS];
const FACTS: &[&str] = &[
    "StringIds",
    "PROCESSES",
    "ThreadNames",
    "TARGET_INFO_GPU",
    "TARGET_INFO_SESSION_START_TIME",
    "TARGET_INFO_SYSTEM_ENV",
    "ANALYSIS_DETAILS",
    "META_DATA_EXPORT",
    SYNCS,
    RECORDED,
    DIAGNOSTICS,
];

/// Everything that is imported.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) processes: Processes,
    pub(super) threads: Threads,
    pub(super) gpus: Gpus,
    pub(super) kernels: Kernels,
    pub(super) memcpys: Memcpys,
    pub(super) memsets: Memsets,
    pub(super) api_calls: ApiCalls,
    pub(super) nvtx: NvtxRanges,
    pub(super) waits: WaitTables,
    /// Warnings and errors of the profiler.
    pub(super) said: Vec<Said>,
    /// Calls and GPU work, by process.
    pub(super) launched: BTreeMap<i64, Launched>,
    pub(super) began: Began,
    /// Where it was put among others, for people.
    pub(super) placed: Option<String>,
    /// Rows whose times or sizes are none, by table.
    pub(super) rows_left_out: BTreeMap<&'static str, u64>,
    pub(super) calls_left_out: u64,
    pub(super) processes_left_out: u64,
    pub(super) tables_not_read: Vec<String>,
}

/// A `globalPid` or `globalTid` holds the process id in bits 24 to 47 and the thread id in bits 0 to 23
/// (Nsight Systems User Guide, "Common SQLite Examples").
pub(super) fn pid(global: i64) -> i64 {
    (global >> 24) & 0xff_ffff
}

fn tid(global: i64) -> i32 {
    i32::try_from(global & 0xff_ffff).unwrap_or_default()
}

/// `ENUM_NSYS_EVENT_TYPE`: what of `NVTX_EVENTS` is a range or marker.
fn nvtx_kind(event_type: i64) -> Option<&'static str> {
    match event_type {
        34 => Some("marker"),
        59 | 60 => Some("range"),
        _ => None,
    }
}
/// `ENUM_NSYS_EVENT_TYPE`: a domain's creation, whose text names the domain.
const NVTX_DOMAIN_CREATE: i64 = 75;

/// Start and duration of the row, ns; `None` where the file holds no times, or times that cannot be.
pub(super) fn times(row: &Row, start: usize, end: usize) -> rusqlite::Result<Option<(i64, i64)>> {
    let (Some(start), Some(end)) = (int(row, start)?, int(row, end)?) else { return Ok(None) };
    let plausible = (-TIME..=TIME).contains(&start) && start <= end && end.abs_diff(start) <= SPAN.unsigned_abs();
    Ok(plausible.then(|| (start, end - start)))
}

/// The columns that all tables of work on a GPU have in common; [`on_gpu`] reads them.
pub(super) const ON_GPU: [&str; 7] =
    ["start!", "end!", "globalPid", "deviceId", "contextId", "streamId", "correlationId"];

/// Where work ran on a GPU, and when.
pub(super) struct OnGpu {
    pub(super) start_ns: i64,
    pub(super) dur_ns: i64,
    pub(super) process_id: i64,
    pub(super) device_id: i32,
    pub(super) context_id: i32,
    pub(super) stream_id: i32,
    pub(super) correlation_id: i64,
}

/// Of a row that begins with the columns [`ON_GPU`]; `None` if its times cannot be.
pub(super) fn on_gpu(row: &Row) -> rusqlite::Result<Option<OnGpu>> {
    let Some((start_ns, dur_ns)) = times(row, 0, 1)? else { return Ok(None) };
    Ok(Some(OnGpu {
        start_ns,
        dur_ns,
        process_id: pid(int(row, 2)?.unwrap_or(0)),
        device_id: small(int(row, 3)?).unwrap_or(-1),
        context_id: small(int(row, 4)?).unwrap_or(-1),
        stream_id: small(int(row, 5)?).unwrap_or(-1),
        correlation_id: int(row, 6)?.unwrap_or(0),
    }))
}

/// The size at `at`, bytes; 0 where the column is missing, `None` where it cannot be one.
fn size(row: &Row, at: usize) -> rusqlite::Result<Option<i64>> {
    let bytes = int(row, at)?.unwrap_or(0);
    Ok((0..=SPAN).contains(&bytes).then_some(bytes))
}

impl Trace {
    pub(super) fn read(opened: &Opened, calls: Calls) -> Result<Self, ImportError> {
        let there = rows::tables(opened)?;
        if !EVENTS.iter().any(|table| there.iter().any(|t| t == table)) {
            return Err(ImportError::NoTables {
                path: opened.path.clone(),
                looked_for: EVENTS.join(", "),
                found: if there.is_empty() { "none".to_owned() } else { there.join(", ") },
            });
        }
        let strings = rows::strings(opened)?;
        let mut trace = Self {
            tables_not_read: there
                .into_iter()
                .filter(|t| !EVENTS.contains(&t.as_str()) && !FACTS.contains(&t.as_str()) && !t.starts_with("ENUM_"))
                .collect(),
            ..Self::default()
        };
        trace.kernels(opened, &strings)?;
        trace.copies(opened)?;
        trace.memsets(opened)?;
        trace.api(opened, &strings, calls)?;
        trace.nvtx(opened, &strings)?;
        trace.waits(opened)?;
        trace.processes(opened)?;
        trace.threads(opened, &strings)?;
        trace.gpus(opened)?;
        trace.began = began(opened)?;
        trace.said = diagnostics::read(opened)?;
        Ok(trace)
    }

    fn waits(&mut self, opened: &Opened) -> Result<(), ImportError> {
        let calls = &self.api_calls;
        let key = |row: usize| (calls.process_id[row], calls.correlation_id[row]);
        let waiting = (0..calls.len()).filter_map(|row| Some((key(row), waits::kind_of(&calls.name[row])?)));
        self.waits = WaitTables::read(opened, &waiting.collect())?;
        for table in &self.waits.left_out {
            *self.rows_left_out.entry(table).or_default() += 1;
        }
        for (process, correlation) in self.waits.graphs.process_id.iter().zip(&self.waits.graphs.correlation_id) {
            self.launched.entry(*process).or_default().work(*correlation);
        }
        Ok(())
    }

    /// Moves all times.
    pub(super) fn shift(&mut self, ns: i64) {
        let Self { kernels, memcpys, memsets, api_calls, nvtx, waits, .. } = self;
        let all = [
            &mut kernels.start_ns,
            &mut memcpys.start_ns,
            &mut memsets.start_ns,
            &mut api_calls.start_ns,
            &mut nvtx.start_ns,
            &mut waits.syncs.start_ns,
            &mut waits.graphs.start_ns,
        ];
        for time in all.into_iter().flatten().chain(self.said.iter_mut().map(|said| &mut said.time_ns)) {
            *time = time.saturating_add(ns);
        }
    }

    /// Gives processes other ids.
    pub(super) fn identify(&mut self, id: impl Fn(i64) -> i64) {
        let Self { processes, threads, kernels, memcpys, memsets, api_calls, nvtx, waits, .. } = self;
        let all = [
            &mut processes.process_id,
            &mut threads.process_id,
            &mut kernels.process_id,
            &mut memcpys.process_id,
            &mut memsets.process_id,
            &mut api_calls.process_id,
            &mut nvtx.process_id,
            &mut waits.syncs.process_id,
            &mut waits.events.process_id,
            &mut waits.graphs.process_id,
        ];
        for process in all.into_iter().flatten().chain(self.said.iter_mut().map(|said| &mut said.process)) {
            *process = id(*process);
        }
        self.launched = std::mem::take(&mut self.launched).into_iter().map(|(own, of)| (id(own), of)).collect();
    }

    fn kernels(&mut self, opened: &Opened, strings: &Strings) -> Result<(), ImportError> {
        let unnamed = Name::from("");
        let own =
            ["demangledName", "shortName", "graphNodeId", "gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"];
        each(opened, KERNEL, &[&ON_GPU[..], &own].concat(), |row| {
            let Some(work) = on_gpu(row)? else {
                *self.rows_left_out.entry(KERNEL).or_default() += 1;
                return Ok(());
            };
            let named = |at| -> rusqlite::Result<_> { Ok(int(row, at)?.and_then(|id| strings.get(&id))) };
            let name = named(7)?.or(named(8)?).unwrap_or(&unnamed);
            self.launched.entry(work.process_id).or_default().kernel(work.correlation_id);
            self.kernels.push(Kernel {
                start_ns: work.start_ns,
                dur_ns: work.dur_ns,
                process_id: work.process_id,
                device_id: work.device_id,
                context_id: work.context_id,
                stream_id: work.stream_id,
                correlation_id: work.correlation_id,
                name: name.clone(),
                graph_node_id: int(row, 9)?,
                grid_x: small(int(row, 10)?),
                grid_y: small(int(row, 11)?),
                grid_z: small(int(row, 12)?),
                block_x: small(int(row, 13)?),
                block_y: small(int(row, 14)?),
                block_z: small(int(row, 15)?),
            });
            Ok(())
        })?;
        Ok(())
    }

    fn copies(&mut self, opened: &Opened) -> Result<(), ImportError> {
        let own = ["bytes!", "copyKind", "srcDeviceId", "dstDeviceId", "graphNodeId"];
        // `ENUM_CUDA_MEMCPY_OPER` has CUPTI's numbers.
        let kinds: Vec<Name> = (0..=11).map(|kind| copy_kind(kind).into()).collect();
        each(opened, MEMCPY, &[&ON_GPU[..], &own].concat(), |row| {
            let (Some(work), Some(bytes)) = (on_gpu(row)?, size(row, 7)?) else {
                *self.rows_left_out.entry(MEMCPY).or_default() += 1;
                return Ok(());
            };
            let kind = int(row, 8)?.and_then(|k| usize::try_from(k).ok()).unwrap_or(0).min(kinds.len() - 1);
            self.memcpys.push(Memcpy {
                start_ns: work.start_ns,
                dur_ns: work.dur_ns,
                process_id: work.process_id,
                device_id: work.device_id,
                context_id: work.context_id,
                stream_id: work.stream_id,
                correlation_id: work.correlation_id,
                bytes,
                kind: kinds[kind].clone(),
                src_device_id: small(int(row, 9)?),
                dst_device_id: small(int(row, 10)?),
                graph_node_id: int(row, 11)?,
            });
            Ok(())
        })?;
        Ok(())
    }

    fn memsets(&mut self, opened: &Opened) -> Result<(), ImportError> {
        each(opened, MEMSET, &[&ON_GPU[..], &["bytes"]].concat(), |row| {
            let (Some(work), Some(bytes)) = (on_gpu(row)?, size(row, 7)?) else {
                *self.rows_left_out.entry(MEMSET).or_default() += 1;
                return Ok(());
            };
            self.memsets.push(Memset {
                start_ns: work.start_ns,
                dur_ns: work.dur_ns,
                process_id: work.process_id,
                device_id: work.device_id,
                context_id: work.context_id,
                stream_id: work.stream_id,
                correlation_id: work.correlation_id,
                bytes,
            });
            Ok(())
        })?;
        Ok(())
    }

    fn api(&mut self, opened: &Opened, strings: &Strings, calls: Calls) -> Result<(), ImportError> {
        // Judged once a name, not once a call: there are a million calls and a hundred names.
        let names: std::collections::HashMap<i64, Option<Name>> = strings
            .iter()
            .map(|(id, name)| {
                let name = api::without_version(name);
                (*id, (calls == Calls::All || api::is_chosen(name)).then(|| Name::from(name)))
            })
            .collect();
        each(opened, RUNTIME, &["start!", "end!", "globalTid", "correlationId", "nameId!"], |row| {
            let Some((start_ns, dur_ns)) = times(row, 0, 1)? else {
                *self.rows_left_out.entry(RUNTIME).or_default() += 1;
                return Ok(());
            };
            let Some(Some(name)) = int(row, 4)?.and_then(|id| names.get(&id)) else {
                self.calls_left_out += 1;
                return Ok(());
            };
            let (thread, correlation_id) = (int(row, 2)?.unwrap_or(0), int(row, 3)?.unwrap_or(0));
            self.launched.entry(pid(thread)).or_default().call(name.as_bytes(), correlation_id);
            self.api_calls.push(ApiCall {
                start_ns,
                dur_ns,
                process_id: pid(thread),
                tid: tid(thread),
                correlation_id,
                name: name.clone(),
            });
            Ok(())
        })?;
        Ok(())
    }

    fn nvtx(&mut self, opened: &Opened, strings: &Strings) -> Result<(), ImportError> {
        let columns = ["start!", "end", "eventType", "text", "textId", "globalTid", "domainId"];
        let mut domains = std::collections::HashMap::new();
        let mut ranges = Vec::new();
        each(opened, NVTX, &columns, |row| {
            // A range without an end is one whose end was not recorded.
            let range = match int(row, 1)? {
                Some(_) => times(row, 0, 1)?.map(|(start, dur)| (start, Some(dur))),
                None => int(row, 0)?.filter(|start| (-TIME..=TIME).contains(start)).map(|start| (start, None)),
            };
            let Some((start_ns, dur_ns)) = range else {
                *self.rows_left_out.entry(NVTX).or_default() += 1;
                return Ok(());
            };
            let thread = int(row, 5)?.unwrap_or(0);
            let label: Name = match text(row, 3)? {
                Some(text) => text.into(),
                None => int(row, 4)?.and_then(|id| strings.get(&id)).cloned().unwrap_or_default(),
            };
            let event_type = int(row, 2)?.unwrap_or(0);
            let domain = int(row, 6)?.map(|domain| (pid(thread), domain));
            if event_type == NVTX_DOMAIN_CREATE {
                domains.extend(domain.map(|domain| (domain, label)));
            } else if let Some(kind) = nvtx_kind(event_type) {
                let range = NvtxRange {
                    start_ns,
                    dur_ns: dur_ns.filter(|_| kind == "range"),
                    process_id: pid(thread),
                    tid: tid(thread),
                    kind: kind.into(),
                    domain: None,
                    text: label,
                    payload: None,
                };
                ranges.push((domain, range));
            }
            Ok(())
        })?;
        for (domain, range) in ranges {
            let domain = domain.and_then(|key| domains.get(&key)).cloned();
            self.nvtx.push(NvtxRange { domain, ..range });
        }
        Ok(())
    }

    /// Processes that have a record; an export may list every process of the host.
    fn processes(&mut self, opened: &Opened) -> Result<(), ImportError> {
        let mut seen: HashSet<i64> = HashSet::new();
        seen.extend(&self.kernels.process_id);
        seen.extend(&self.memcpys.process_id);
        seen.extend(&self.memsets.process_id);
        seen.extend(&self.api_calls.process_id);
        seen.extend(&self.nvtx.process_id);
        seen.extend(&self.waits.graphs.process_id);
        let mut named = BTreeMap::new();
        each(opened, "PROCESSES", &["globalPid!", "name"], |row| {
            let id = pid(int(row, 0)?.unwrap_or(0));
            if seen.contains(&id) {
                named.insert(id, text(row, 1)?.unwrap_or_default());
            } else {
                self.processes_left_out += 1;
            }
            Ok(())
        })?;
        for id in seen {
            named.entry(id).or_default();
        }
        for (id, name) in named {
            self.processes.push(Process {
                process_id: id,
                pid: i32::try_from(id).unwrap_or_default(),
                name,
                start_ns: None,
                end_ns: None,
                parent_process_id: None,
            });
        }
        Ok(())
    }

    /// Threads that made a recorded call, with their names where the file has them.
    fn threads(&mut self, opened: &Opened, strings: &Strings) -> Result<(), ImportError> {
        let calls = self.api_calls.process_id.iter().zip(&self.api_calls.tid);
        let ranges = self.nvtx.process_id.iter().zip(&self.nvtx.tid);
        let mut named: BTreeMap<(i64, i32), Option<Name>> =
            calls.chain(ranges).map(|(process, tid)| ((*process, *tid), None)).collect();
        each(opened, "ThreadNames", &["globalTid!", "nameId!"], |row| {
            let (Some(thread), Some(name)) = (int(row, 0)?, int(row, 1)?) else {
                return Ok(());
            };
            if let Some(slot) = named.get_mut(&(pid(thread), tid(thread))) {
                *slot = strings.get(&name).cloned();
            }
            Ok(())
        })?;
        for ((process_id, tid), name) in named {
            self.threads.push(Thread { process_id, tid, name });
        }
        Ok(())
    }

    /// The GPUs that the file describes; else those that its records name.
    fn gpus(&mut self, opened: &Opened) -> Result<(), ImportError> {
        let described = each(opened, "TARGET_INFO_GPU", &["id", "cuDevice", "name", "uuid", "totalMemory"], |row| {
            let Some(device_id) = small(int(row, 1)?.or(int(row, 0)?)) else {
                return Ok(());
            };
            self.gpus.push(Gpu { device_id, name: text(row, 2)?, uuid: text(row, 3)?, memory_bytes: int(row, 4)? });
            Ok(())
        })?;
        if !described {
            let devices: std::collections::BTreeSet<i32> =
                self.kernels.device_id.iter().chain(&self.memcpys.device_id).copied().collect();
            for device_id in devices {
                self.gpus.push(Gpu { device_id, name: None, uuid: None, memory_bytes: None });
            }
        }
        Ok(())
    }
}

/// When the report's times begin.
fn began(opened: &Opened) -> Result<Began, ImportError> {
    let mut began = Began::default();
    each(opened, "TARGET_INFO_SESSION_START_TIME", &["utcEpochNs"], |row| {
        began.wall_ns = int(row, 0)?;
        Ok(())
    })?;
    each(opened, "ANALYSIS_DETAILS", &["startTime"], |row| {
        began.own_ns = int(row, 0)?.filter(|start| *start > 0);
        Ok(())
    })?;
    each(opened, "TARGET_INFO_SYSTEM_ENV", &["name!", "value!"], |row| {
        if text(row, 0)?.as_deref() == Some("Hostname") {
            began.host = text(row, 1)?.filter(|name| !name.is_empty());
        }
        Ok(())
    })?;
    // What `nsys export` was asked to do with times.
    each(opened, "META_DATA_EXPORT", &["name!", "value"], |row| {
        let (name, value) = (text(row, 0)?.unwrap_or_default(), text(row, 1)?.unwrap_or_default());
        match name.as_str() {
            "EXPORT_PARAM_TIME_NORMALIZE" if value == "true" => (began.wall_ns, began.own_ns) = (Some(0), None),
            "EXPORT_PARAM_TIME_SHIFT" => {
                let shift: i64 = value.parse().unwrap_or(0);
                let moved = |zero: Option<i64>| zero.and_then(|zero| zero.checked_sub(shift));
                (began.wall_ns, began.own_ns) = (moved(began.wall_ns), moved(began.own_ns));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(began)
}
