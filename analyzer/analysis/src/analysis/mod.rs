//! From raw tables to answers. Pure: no file is read and nothing is printed here.
//!
//! [`lanes`] (what ran, forward passes) and [`posts`] (what was handed over) give [`stages`]; these give [`requests`];
//! [`regions`] says which layers lie in the memory that hand-offs touch; and from those come [`chunks`], [`bubbles`],
//! [`handoffs`], [`summary`] and [`coverage`].

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Bubbles, Chunks, Clocks, Coverages, Handoffs, Layers, Requests, Stages};

pub mod bubbles;
pub mod ceilings;
pub mod chunks;
pub mod coverage;
pub mod handoffs;
pub mod ids;
pub mod intervals;
pub mod lanes;
pub mod made;
pub mod mine;
pub mod posts;
pub mod ranges;
pub mod raw;
pub mod regions;
pub mod requests;
pub mod serving;
#[cfg(test)]
mod serving_tests;
mod several;
pub mod stages;
pub mod summary;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
pub mod titles;

pub use raw::Raw;

use crate::spill::Memory;

/// What the user may set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Ceiling of a hand-off's rate, bytes a second; else the best seen in the run.
    pub ceiling_bytes_per_s: Option<f64>,
    /// Memory of what ran.
    pub memory: Memory,
}

/// Every derived table of a run.
#[derive(Debug, Default)]
pub struct Analysis {
    /// Stages.
    pub stages: Stages,
    /// Requests.
    pub requests: Requests,
    /// Chunks.
    pub chunks: Chunks,
    /// Bubbles.
    pub bubbles: Bubbles,
    /// Layers.
    pub layers: Layers,
    /// Hand-offs.
    pub handoffs: Handoffs,
    /// Coverage.
    pub coverage: Coverages,
    /// Request of each row of `nixl_transfers` that carries KV.
    pub of_transfer: BTreeMap<usize, i32>,
    /// Forward passes of each process by time, prefill's and decode's: from the first kernel to the last, ns.
    pub passes: BTreeMap<i64, Vec<intervals::Span>>,
    /// Clocks, without what launches say of GPU times ([`crate::clocks::gpu`]).
    pub clocks: Clocks,
}

impl Analysis {
    /// Computes every derived table. Hosts whose clocks could not be related are analysed each by themselves.
    #[must_use]
    pub fn of(raw: &Raw, settings: &Settings) -> Self {
        let mut all = Self::of_related(raw, settings);
        for apart in &raw.apart {
            all.append(Self::of_related(apart, settings));
        }
        all.clocks = raw.clocks.table();
        all
    }

    /// Adds tables of hosts that have nothing in common with these; their stages and requests come after these.
    fn append(&mut self, mut other: Self) {
        let after = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let (stages, requests) = (after(self.stages.len()), after(self.requests.len()));
        let shift = |column: &mut Vec<i32>, by: i32| column.iter_mut().for_each(|id| *id = id.saturating_add(by));
        shift(&mut other.stages.stage_id, stages);
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
        self.chunks.append(other.chunks);
        self.bubbles.append(other.bubbles);
        self.layers.append(other.layers);
        self.handoffs.append(other.handoffs);
        self.coverage.append(other.coverage);
        // Their transfers are rows of other tables: no path is walked there.
        self.passes.append(&mut other.passes);
    }

    fn of_related(raw: &Raw, settings: &Settings) -> Self {
        let lanes = lanes::of(raw);
        let posts = posts::of(raw, &lanes);
        let mut work = stages::of(raw, &lanes, &posts);
        let registered = regions::Regions::of(raw);
        let mined = regions::layers::mined(work.iter().map(|stage| (stage.row.process_id, stage.row.layers)));
        let held = regions::layers::of(raw, &registered, &mined);
        stages::check(&mut work, &held);
        let request_work = requests::of(raw, &work);
        let (chunks, layers) = chunks::of(&raw.timeline, &work, &request_work);
        let bubbles = bubbles::of(&raw.timeline, &work, &request_work);
        let handoffs = handoffs::of(raw, &work, &request_work, (&registered, &held), settings);
        let requests = summary::requests(raw, &work, &request_work, &handoffs);
        let coverage = coverage::of(raw, &work, &request_work, &handoffs);
        let mut stages = stages::table(&work);
        summary::layer_medians(&mut stages, &layers);
        let of_transfer = requests::of_transfers(&work, &request_work);
        let passes = |lane: &lanes::Lane| lane.passes.iter().map(|pass| pass.span).collect();
        let passes = lanes.iter().map(|(process, lane)| (*process, passes(lane))).collect();
        let clocks = Clocks::default();
        Self { stages, requests, chunks, bubbles, layers, handoffs, coverage, of_transfer, passes, clocks }
    }

    /// The end of the pass of a process that runs at `time`, or begins next, ns.
    #[must_use]
    pub fn pass_end(&self, process: i64, time: i64) -> Option<i64> {
        let passes = self.passes.get(&process)?;
        let at = passes.partition_point(|pass| pass.1 <= time);
        passes.get(at).map(|pass| pass.1)
    }
}
