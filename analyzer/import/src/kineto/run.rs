//! From surveyed traces to the segments of a run.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZero;
use std::path::Path;

use kvpath_schema::segment::RunWriter;
use kvpath_schema::store::Store;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::{CaptureInfo, CaptureInfos, Drop, Drops};
use kvpath_schema::tables::gpu::{Gpu, Gpus};
use kvpath_schema::tables::process::{Processes, Threads};

use super::actors::{Actors, Pids};
use super::counts::Counts;
use super::document::DocumentEnd;
use super::error::ImportError;
use super::facts::Facts;
use super::gather::{Gathering, Trace};
use super::rows::{Placing, TracePart};
use super::sink::Sink;
use super::survey::Survey;
use super::{Imported, SESSION_CLOCK, SOURCE, WALL_CLOCK};
use crate::launched::Launched;

/// The wall clock at the run's zero, ns since 1970: the midnight (UTC) before the earliest first event; none where one
/// trace alone does not say.
fn zero(surveys: &[Survey]) -> Result<Option<i64>, ImportError> {
    const DAY: i64 = 86_400_000_000_000;
    let unknown = surveys.iter().find(|survey| survey.zero_ns.is_none());
    match unknown {
        Some(survey) if surveys.len() > 1 => Err(ImportError::NoClock(survey.path.clone())),
        Some(_) => Ok(None),
        None => {
            Ok(Some(surveys.iter().filter_map(Survey::first_wall_ns).min().map_or(0, |ns| ns.div_euclid(DAY) * DAY)))
        }
    }
}

/// Writes them below `root`, with so many threads; none where a zero or a host is not the one that was assumed.
pub(super) fn write(surveys: &[Survey], root: &Path, threads: NonZero<usize>) -> Result<Option<Imported>, ImportError> {
    let zero_ns = zero(surveys)?;
    let mut hosts: BTreeMap<String, Vec<&Survey>> = BTreeMap::new();
    for survey in surveys {
        hosts.entry(node(survey, surveys.len())).or_default().push(survey);
    }
    // In the order in which they are written.
    let traces: Vec<Trace> = hosts.values().flatten().map(|survey| trace(survey, zero_ns)).collect();
    let mut imported = Imported::default();
    std::thread::scope(|scope| {
        let mut gathering = Gathering::new(scope, threads.get(), &traces);
        let (mut pids, mut number) = (Pids::default(), 0);
        for (host, surveys) in &hosts {
            let mut of_host = Host::new(root, host, zero_ns);
            if surveys.len() > 1 && surveys.iter().any(|survey| survey.host.is_none()) {
                let taken = format!("{} traces name no host; they are taken as of one, on one clock", surveys.len());
                imported.notes.push(taken.clone());
                of_host.say("host", taken);
            }
            for survey in surveys {
                let mut joined = Joined::default();
                let take = |part, sink: &mut Sink| joined.take(part, &pids, sink);
                let end = gathering.parts(number, &mut of_host.sink, take)?;
                let facts = &joined.facts;
                let is_other = facts.base_ns != survey.assumed_ns || facts.host.is_some() && facts.host != survey.host;
                if survey.assumed_ns.is_some() && is_other {
                    return Ok(None);
                }
                of_host.trace(survey, traces[number].placing.pid, joined, end, &mut pids, &mut imported)?;
                number += 1;
            }
            of_host.finish(&mut gathering, &mut imported)?;
        }
        Ok(Some(imported))
    })
}

fn trace(survey: &Survey, zero_ns: Option<i64>) -> Trace<'_> {
    let shift_ns = survey.zero_ns.unwrap_or(0).saturating_sub(zero_ns.unwrap_or(0));
    // A pid that can be none is as none.
    let pid = i32::try_from(survey.pid).ok().filter(|pid| *pid >= 0).unwrap_or(0);
    Trace { path: &survey.path, placing: Placing { shift_ns, pid } }
}

/// The partition `node=`: the host where the trace names it; else, as one trace is one process, the file's name.
fn node(survey: &Survey, traces: usize) -> String {
    let name = survey.host.clone().unwrap_or_else(|| if traces == 1 { stem(&survey.path) } else { SOURCE.to_owned() });
    // As the writer of segments does, so that two hosts that it would write to one folder are one here.
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// The name of a trace's file without the endings that profilers give it.
#[must_use]
pub fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.trim_end_matches(".gz").trim_end_matches(".json").trim_end_matches(".pt.trace");
    if name.is_empty() { SOURCE.to_owned() } else { name.to_owned() }
}

/// What the parts of a trace say, put together.
#[derive(Default)]
struct Joined {
    actors: Actors,
    counts: Counts,
    launches: Launched,
    facts: Facts,
    devices: BTreeMap<i32, Gpu>,
    /// Correlation ids of the calls that recorded events, as far as rows say so already.
    recorded: HashSet<i64, foldhash::fast::RandomState>,
}

impl Joined {
    /// Adds the part that follows; its rows go on to `sink`.
    fn take(&mut self, part: TracePart, pids: &Pids, sink: &mut Sink) {
        let TracePart { mut tables, actors, counts, launches, members, devices } = part;
        let ids: BTreeMap<i64, i64> = actors.pids().map(|pid| (i64::from(pid), pids.next(pid))).collect();
        let renumbered = self.actors.join(actors);
        if !renumbered.is_empty() {
            tables.renumber(&renumbered);
        }
        if ids.iter().any(|(pid, id)| pid != id) {
            tables.identify(&ids);
        }
        tables.keep_new_recordings(&mut self.recorded);
        self.counts.join(counts);
        self.launches.join(launches);
        for (name, value) in members {
            self.facts.take(&name, &value);
        }
        for (id, device) in devices {
            self.devices.entry(id).or_insert(device);
        }
        sink.append(tables);
    }
}

/// What is written of one host.
struct Host {
    sink: Sink,
    processes: Processes,
    threads: Threads,
    gpus: BTreeMap<i32, Gpu>,
    info: CaptureInfos,
    drops: Drops,
}

impl Host {
    fn new(root: &Path, host: &str, zero_ns: Option<i64>) -> Self {
        let writer = concat!("kvpath ", env!("CARGO_PKG_VERSION"), " import kineto");
        let clock = if zero_ns.is_some() { WALL_CLOCK } else { SESSION_CLOCK };
        let (root, host) = (root.to_owned(), host.to_owned());
        let mut of_host = Self {
            sink: Sink::new(move || {
                RunWriter::to(Store::unsynced(&root), &host, writer, zero_ns).on_clock(clock).imported()
            }),
            processes: Processes::default(),
            threads: Threads::default(),
            gpus: BTreeMap::new(),
            info: CaptureInfos::default(),
            drops: Drops::default(),
        };
        of_host.say("clock", clock.to_owned());
        of_host
    }

    fn say(&mut self, key: &str, value: String) {
        self.info.push(CaptureInfo { source: SOURCE.into(), key: key.to_owned(), value });
    }

    /// Tells of a trace whose rows are written.
    fn trace(
        &mut self,
        survey: &Survey,
        main: i32,
        joined: Joined,
        end: DocumentEnd,
        pids: &mut Pids,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let Joined { actors, counts, launches, facts, devices, .. } = joined;
        if counts.kept == 0 && counts.impossible.is_empty() {
            let path = survey.path.clone();
            return Err(match end {
                DocumentEnd::Cut { whole } if counts.events == 0 => ImportError::CutBeforeEvents { path, at: whole },
                _ => {
                    let found: Vec<String> = counts.left_out_by_category().into_keys().collect();
                    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
                    ImportError::Foreign { path, events: counts.events, found }
                }
            });
        }
        let ids = pids.of_trace(actors.pids());
        let process = ids[&main];
        actors.rows(&ids, (main, &facts.title()), &mut self.processes, &mut self.threads);
        for gpu in facts.gpus.into_iter().chain(devices.into_values()) {
            self.gpus.entry(gpu.device_id).or_insert(gpu);
        }
        imported.events += counts.events;
        let file = survey.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.say(&format!("process {process}"), file.clone());
        for (category, count) in counts.left_out_by_category() {
            self.say(&format!("process {process} left out {category}"), count.to_string());
            *imported.left_out.entry(category).or_default() += count;
        }
        let unlaunched = launches.kernels_without_call();
        self.say(&format!("process {process} kernels without launch"), unlaunched.to_string());
        imported.kernels_without_launch += unlaunched;
        let unrecorded = counts.waits_without_record;
        self.say(&format!("process {process} waits without recording"), unrecorded.to_string());
        imported.waits_without_recording += unrecorded;
        if end == DocumentEnd::CutBehind {
            imported.notes.push(format!("{file}: cut short behind its events, which are whole"));
        }
        let mut lost = Vec::new();
        let (kernels, graphs) = (launches.kernels_without_work(), launches.graphs_without_work());
        if kernels > 0 {
            lost.push((Some("kernels"), format!("launches in {file} of kernels that are not recorded"), kernels));
        }
        if graphs > 0 {
            let why = format!(
                "graphs that {file} says were launched, and of which no kernel is recorded; more than one each"
            );
            lost.push((Some("kernels"), why, graphs));
        }
        for (table, count) in counts.impossible {
            lost.push((Some(table), format!("events of {file} without times, sizes or process that can be"), count));
        }
        if let DocumentEnd::Cut { whole } = end {
            let why = format!("{file} is cut short after {whole} bytes of JSON; what came behind is missing");
            lost.push((None, why, 1));
        }
        for (table, reason, count) in lost {
            imported.notes.push(format!("lost: {count} {}: {reason}", table.unwrap_or("or more events")));
            self.drops.push(Drop {
                time_ns: 0,
                source: SOURCE.into(),
                table_name: table.map(Into::into),
                reason: reason.into(),
                count: i64::try_from(count).unwrap_or(i64::MAX),
                process_id: Some(process),
            });
        }
        Ok(())
    }

    /// Writes what is left.
    fn finish(self, gathering: &mut Gathering, imported: &mut Imported) -> Result<(), ImportError> {
        let Self { mut sink, processes, threads, gpus: by_id, info, drops } = self;
        let mut gpus = Gpus::default();
        for gpu in by_id.into_values() {
            gpus.push(gpu);
        }
        let small = [sink.whole(processes), sink.whole(threads), sink.whole(gpus), sink.whole(info), sink.whole(drops)];
        gathering.finish(&mut sink, small.into_iter().flatten().collect())?;
        for (table, written) in sink.totals() {
            let total = imported.tables.entry(table).or_default();
            total.rows += written.rows;
            total.bytes += written.bytes;
        }
        Ok(())
    }
}
