//! The critical path of every request: back from its first token over the gates that opened last.
//!
//! [`requests`] says what belongs to a request and where its path ends; [`walk`] goes back over [`crate::graph`]; [`category`]
//! and [`places`] say what each step is and whose; [`table`] makes rows of it. [`edges`] lists what else each node waited for,
//! [`slack`] what could have taken longer.

pub mod category;
pub mod edges;
pub mod places;
pub mod record;
pub mod requests;
pub mod slack;
pub mod table;
pub mod walk;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{CriticalPath, Paths};
use kvpath_schema::tables::spans::Spans;

use crate::analysis::{Analysis, Raw};
use crate::error::LoadError;
use crate::graph::pairs::Pairs;
use crate::graph::{Graph, Request, Transfers};
use crate::load::Run;
use crate::load::limits::{SPAN, TIME, within};
use crate::timeline::{Timeline, build};
use places::Places;
use requests::Told;

/// The paths of a run.
#[derive(Debug, Default)]
pub struct Found {
    /// One a request.
    pub paths: Paths,
    /// Their segments.
    pub segments: CriticalPath,
}

/// A run, ready to be walked.
#[derive(Debug)]
pub struct Walker {
    timeline: Timeline,
    transfers: Transfers,
    pairs: Pairs,
    places: Places,
    requests: Vec<Request>,
}

impl Walker {
    /// Loads what ran, and joins it.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn of(run: &Run, raw: &Raw, analysis: &Analysis) -> Result<Self, LoadError> {
        let timeline = build::of(run, raw)?;
        let stages = &analysis.stages;
        let prefill = (0..stages.stage_id.len()).filter(|row| &*stages.role[*row] == "prefill");
        let devices: Vec<(i64, Option<i32>)> =
            prefill.map(|row| (stages.process_id[row], stages.device_id[row])).collect();
        let transfers = Transfers::of(raw, &timeline, &devices);
        let pairs = Pairs::of(&timeline, &pipelines(analysis));
        let places = Places::of(stages, &analysis.chunks, &analysis.layers);
        let requests = requests::of(analysis, &transfers, &told(&spans(run, raw)?));
        Ok(Self { timeline, transfers, pairs, places, requests })
    }

    /// The requests that it knows.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The paths of the requests that `wanted` picks, in their order.
    #[must_use]
    pub fn paths(&self, raw: &Raw, analysis: &Analysis, wanted: impl Fn(&Request) -> bool) -> Found {
        let picked: Vec<&Request> = self.requests.iter().filter(|request| wanted(request)).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(picked.len()).max(1);
        let each = picked.len().div_ceil(threads).max(1);
        // In shares that follow each other, so that the order of the rows does not depend on the threads.
        let shares: Vec<Found> = std::thread::scope(|scope| {
            let work = |share: &[&Request]| self.share(raw, analysis, share);
            let running: Vec<_> = picked.chunks(each).map(|share| scope.spawn(move || work(share))).collect();
            running.into_iter().map(|thread| thread.join().expect("a walk does not panic")).collect()
        });
        let mut found = Found::default();
        for share in shares {
            for row in 0..share.paths.len() {
                found.paths.push(share.paths.row(row));
            }
            for row in 0..share.segments.len() {
                found.segments.push(share.segments.row(row));
            }
        }
        found
    }

    fn graph(&self) -> Graph<'_> {
        Graph { timeline: &self.timeline, transfers: &self.transfers, pairs: &self.pairs }
    }

    fn share(&self, raw: &Raw, analysis: &Analysis, requests: &[&Request]) -> Found {
        let graph = self.graph();
        let context = table::Context { graph: &graph, places: &self.places, transfers: &raw.transfers };
        let mut found = Found::default();
        for request in requests {
            let decode_pass = |process, start| analysis.pass_end(process, start);
            let Some(sink) = requests::sink(&self.timeline, &self.transfers, request, decode_pass) else { continue };
            let walked = walk::walk(&graph, request, sink.node, request.source_ns);
            table::push(&context, request, &sink, &walked, (&mut found.paths, &mut found.segments));
        }
        found
    }
}

/// The processes of each pipeline, stage by stage: one a TP rank. A run without hand-offs shows no roles.
fn pipelines(analysis: &Analysis) -> Vec<Vec<i64>> {
    let stages = &analysis.stages;
    let rows =
        (0..stages.stage_id.len()).filter(|row| &*stages.role[*row] != "decode" && stages.pp_rank[*row].is_some());
    let mut by_rank: std::collections::BTreeMap<Option<i32>, Vec<(Option<i32>, i64)>> = Default::default();
    for row in rows {
        by_rank.entry(stages.tp_rank[row]).or_default().push((stages.pp_rank[row], stages.process_id[row]));
    }
    let sorted = by_rank.into_values().map(|mut ranks| {
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, process)| process).collect()
    });
    sorted.collect()
}

/// What programs say of requests, on the clock of the reference.
fn spans(run: &Run, raw: &Raw) -> Result<Spans, LoadError> {
    let mut all = Spans::default();
    for host in &raw.clocks.hosts {
        let mut own: Spans = run.of_host(&host.name).table()?;
        let starts = own.start_ns.iter().copied();
        within("spans", "start_ns", starts, -TIME..=TIME)?;
        within("spans", "dur_ns", own.dur_ns.iter().copied().flatten(), 0..=SPAN)?;
        for (start, dur) in own.start_ns.iter_mut().zip(&mut own.dur_ns) {
            let end = dur.map(|dur| host.time(start.saturating_add(dur)));
            *start = host.time(*start);
            *dur = end.map(|end| end.saturating_sub(*start));
        }
        all.append(own);
    }
    Ok(all)
}

/// What clients say of requests.
fn told(spans: &Spans) -> Vec<Told> {
    let rows = (0..spans.len()).filter(|row| &*spans.service[*row] == "client" && &*spans.name[*row] == "request");
    let mut told: Vec<Told> = rows
        .filter_map(|row| {
            Some(Told {
                id: spans.request[row].clone()?,
                arrival_ns: spans.start_ns[row],
                first_token_ns: spans.start_ns[row].checked_add(spans.dur_ns[row]?)?,
            })
        })
        .collect();
    told.sort_by(|a, b| (a.arrival_ns, &a.id).cmp(&(b.arrival_ns, &b.id)));
    told
}
