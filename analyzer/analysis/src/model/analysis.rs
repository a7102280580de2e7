//! The tables that say what a run consists of, from [`crate::structure`] and the answers that need no walk.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::contacts::FirstContacts;
use kvpath_schema::tables::derived::{Bubbles, Chunks, Clocks, Coverages, Handoffs, Layers, Requests, Stages, Steps};
use kvpath_schema::tables::heartbeats::Heartbeats;
use kvpath_schema::tables::purposes::OtherTransfers;

use kvpath_schema::tables::stuck::Stuck;

use super::Recording;
use crate::facts::regions::Regions;
use crate::findings::{Findings, Tables};
use crate::intervals::Span;
use crate::serving::{titles, told};
use crate::settings::Settings;
use crate::steps::StepWork;
use crate::structure::carriers::Carriers;
use crate::structure::{chunks, held_layers, lanes, posts, requests, stages};
use crate::{bubbles, contacts, coverage, handoffs, heartbeats, others, steps};

/// Derived tables of a run, but for paths and joins.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// Stages.
    pub stages: Stages,
    /// Requests.
    pub requests: Requests,
    /// Steps, of a run without requests.
    pub steps: Steps,
    /// Of each row of `steps` the processes that took part.
    pub step_processes: Vec<Vec<i64>>,
    /// Chunks.
    pub chunks: Chunks,
    /// Bubbles.
    pub bubbles: Bubbles,
    /// Layers.
    pub layers: Layers,
    /// Hand-offs.
    pub handoffs: Handoffs,
    /// First contacts.
    pub contacts: FirstContacts,
    /// Heartbeats.
    pub heartbeats: Heartbeats,
    /// Transfers that hand nothing over.
    pub others: OtherTransfers,
    /// Coverage.
    pub coverage: Coverages,
    /// Request of each row of `nixl_transfers` that carries KV.
    pub of_transfer: BTreeMap<usize, i32>,
    /// Forward passes of each process by time, prefill's and decode's: from the first kernel to the last, ns.
    pub passes: BTreeMap<i64, Vec<Span>>,
    /// Data ranks that titles of engines name which run nothing on a GPU themselves.
    pub data_ranks: usize,
    /// Clocks, without what launches say of GPU times ([`crate::gpu_clock`]).
    pub clocks: Clocks,
}

impl Analysis {
    /// Computes them. Hosts whose clocks could not be related are analysed each by themselves.
    #[must_use]
    pub fn of(recording: &Recording, settings: &Settings) -> Self {
        let mut all = Self::of_related(recording, settings);
        for apart in &recording.apart {
            all.append(Self::of_related(apart, settings));
        }
        all.clocks = recording.clocks.table();
        all
    }

    /// Of the hosts alone whose clocks could be related.
    #[must_use]
    pub fn of_related(recording: &Recording, settings: &Settings) -> Self {
        let Recording { facts, timeline, ranges, staging, .. } = recording;
        let lanes = lanes::of(facts, timeline, ranges);
        let posts = posts::of(facts, &lanes);
        let mut work = stages::of(facts, &lanes, &posts);
        let registered = Regions::of(facts);
        let mined = held_layers::mined(work.iter().map(|stage| (stage.row.process_id, stage.row.layers)));
        let held = held_layers::of(facts, &registered, &mined);
        stages::check(&mut work, &held);
        let told = told::of(&facts.spans);
        let request_work = requests::of(facts, &work, &told);
        let (mut chunks, mut layers) = chunks::of(timeline, &work, &request_work);
        let mut bubbles = bubbles::of(timeline, &work, &request_work);
        let (mut step_table, mut step_processes) = (Steps::default(), Vec::new());
        if request_work.is_empty() {
            let found = steps::of(facts, timeline, &work);
            let first = i32::try_from(told.len()).unwrap_or(i32::MAX);
            (chunks, layers) = chunks::of(timeline, &work, &steps::rows::as_requests(&found, work.len()));
            (step_table, bubbles) = steps::rows::of(timeline, &work, &found, first);
            shift(&mut chunks.request, first);
            shift(&mut layers.request, first);
            let of_step = |step: &StepWork| step.parts.iter().map(|part| work[part.stage].row.process_id).collect();
            step_processes = found.iter().map(of_step).collect();
        }
        let carriers = Carriers::of(facts, timeline, &stages::prefill_devices(&work));
        let handoffs =
            handoffs::of((facts, timeline, staging), &work, &request_work, (&registered, &held), &carriers, settings);
        let requests = crate::requests::of(timeline, &work, &request_work, &handoffs);
        let coverage = coverage::of(facts, timeline, (&work, &request_work), &handoffs);
        let mut stages = stages::table(&work);
        stages::layer_medians(&mut stages, &layers);
        let of_transfer = requests::of_transfers(&work, &request_work);
        let contacts = contacts::of(facts, &requests, &of_transfer);
        let heartbeats = heartbeats::of(facts, &requests);
        let passes = |lane: &lanes::Lane| lane.passes.iter().map(|pass| pass.span).collect();
        let passes = lanes.iter().map(|(process, lane)| (*process, passes(lane))).collect();
        let clocks = Clocks::default();
        let is_stage = |process: i64| stages.process_id.contains(&process);
        let engines = facts.processes.process_id.iter().zip(&facts.processes.name).filter(|(id, _)| !is_stage(**id));
        let data_ranks = engines.filter_map(|(_, name)| titles::read(name).dp).collect::<BTreeSet<i32>>().len();
        let steps = step_table;
        Self {
            stages,
            requests,
            steps,
            step_processes,
            chunks,
            bubbles,
            layers,
            handoffs,
            contacts,
            heartbeats,
            others: others::of(facts),
            coverage,
            of_transfer,
            passes,
            data_ranks,
            clocks,
        }
    }

    /// The requests, each with its id; in a run without, the steps with their names.
    pub fn units(&self) -> impl Iterator<Item = (i32, Option<&str>)> + Clone {
        let requests = self.requests.request.iter().zip(&self.requests.request_id);
        let steps = self.steps.request.iter().zip(&self.steps.name);
        requests.chain(steps).map(|(number, id)| (*number, id.as_deref()))
    }

    /// What the tables, and what is stuck, justify saying.
    #[must_use]
    pub fn findings(&self, stuck: &Stuck) -> Findings {
        Findings::of(&Tables {
            stages: &self.stages,
            requests: &self.requests,
            chunks: &self.chunks,
            bubbles: &self.bubbles,
            handoffs: &self.handoffs,
            contacts: &self.contacts,
            heartbeats: &self.heartbeats,
            coverage: &self.coverage,
            stuck,
        })
    }

    /// Adds tables of hosts that have nothing in common with these; their stages and requests come after these.
    fn append(&mut self, mut other: Self) {
        let after = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let next = |numbers: &[i32]| numbers.iter().max().map_or(0, |last| last.saturating_add(1));
        let (stages, requests) =
            (after(self.stages.len()), next(&self.requests.request).max(next(&self.steps.request)));
        shift(&mut other.stages.stage_id, stages);
        shift(&mut other.stages.stage, stages);
        shift(&mut other.requests.request, requests);
        for (request, stage) in [
            (&mut other.chunks.request, &mut other.chunks.stage_id),
            (&mut other.bubbles.request, &mut other.bubbles.stage_id),
            (&mut other.layers.request, &mut other.layers.stage_id),
            (&mut other.handoffs.request, &mut other.handoffs.stage_id),
        ] {
            shift(request, requests);
            shift(stage, stages);
        }
        self.stages.append(other.stages);
        self.requests.append(other.requests);
        shift(&mut other.steps.request, requests);
        self.steps.append(other.steps);
        self.step_processes.append(&mut other.step_processes);
        self.chunks.append(other.chunks);
        self.bubbles.append(other.bubbles);
        self.layers.append(other.layers);
        self.handoffs.append(other.handoffs);
        for request in other.contacts.request.iter_mut().chain(&mut other.heartbeats.request).flatten() {
            *request = request.saturating_add(requests);
        }
        self.contacts.append(other.contacts);
        self.heartbeats.append(other.heartbeats);
        self.others.append(other.others);
        self.coverage.append(other.coverage);
        // Their transfers are rows of other tables: no path is walked there.
        self.passes.append(&mut other.passes);
        self.data_ranks = self.data_ranks.max(other.data_ranks);
    }
}

fn shift(numbers: &mut [i32], by: i32) {
    for number in numbers {
        *number = number.saturating_add(by);
    }
}
