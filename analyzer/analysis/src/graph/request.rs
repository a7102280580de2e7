//! What a walk knows of the request whose path it looks for.

use super::transfers::Carried;
use crate::timeline::LaneAt;

/// A forward pass of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassOf {
    /// Process that ran it.
    pub process: i64,
    /// `stages.stage_id`.
    pub stage: i32,
    /// `chunks.chunk`.
    pub chunk: i32,
    /// From its first kernel to its last, ns.
    pub span: (i64, i64),
}

/// Its prefill passes: every transfer on the path asks for some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passes {
    /// By process, stage and chunk.
    all: Vec<PassOf>,
    /// Positions in `all`, by end.
    by_end: Vec<usize>,
}

impl Passes {
    /// Those, in any order.
    #[must_use]
    pub fn of(mut all: Vec<PassOf>) -> Self {
        all.sort_unstable_by_key(|pass| (pass.process, pass.stage, pass.chunk, pass.span));
        let mut by_end: Vec<usize> = (0..all.len()).collect();
        by_end.sort_unstable_by_key(|at| (all[*at].span.1, all[*at].span.0, all[*at].stage, *at));
        Self { all, by_end }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PassOf> + Clone {
        self.all.iter()
    }

    /// Those that a process ran, by chunk.
    #[must_use]
    pub fn of_process(&self, process: Option<i64>) -> &[PassOf] {
        let Some(process) = process else { return &[] };
        let from = self.all.partition_point(|pass| pass.process < process);
        let until = self.all.partition_point(|pass| pass.process <= process);
        &self.all[from..until]
    }

    /// The one that ended last at or before a time, on any stage.
    #[must_use]
    pub fn ended_by(&self, time: i64) -> Option<&PassOf> {
        let until = self.by_end.partition_point(|at| self.all[*at].span.1 <= time);
        until.checked_sub(1).map(|at| &self.all[self.by_end[at]])
    }
}

impl Request {
    /// Whether that process pulls its KV, or some of it.
    #[must_use]
    pub fn is_pulled_by(&self, process: i64) -> bool {
        self.pullers.contains(&process)
    }
}

/// What a path is walked of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unit {
    /// A request.
    #[default]
    Request,
    /// A step that a range shows: its path ends with the last work in it.
    Range,
    /// A step that is a forward pass, on all stages.
    Pass,
}

/// A request, or a step.
#[expect(clippy::struct_excessive_bools, reason = "each says something else that is known of it")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `requests.request`.
    pub number: i32,
    /// Id by the serving engine.
    pub id: Option<String>,
    /// When it arrived, else its first record, ns: where its path begins.
    pub source_ns: i64,
    /// Whether `source_ns` is when it arrived.
    pub has_arrival: bool,
    /// When its first token was out, by the client's account, ns.
    pub first_token_ns: Option<i64>,
    /// When the client gave it up, or had an error, ns.
    pub failed_ns: Option<i64>,
    /// It was given up, or failed: nothing that decode does is for it.
    pub has_failed: bool,
    /// Whether it is a request at all.
    pub unit: Unit,
    /// The processes of a step.
    pub members: Vec<i64>,
    /// `requests.incomplete`; `None` where that table does not hold it.
    pub is_incomplete: Option<bool>,
    /// Its prefill passes.
    pub passes: Passes,
    /// The transfers that carry its KV.
    pub transfers: Carried,
    /// Decode had been handed over other requests before: what it did until it had this one's KV may have been for those.
    pub decode_is_shared: bool,
    /// Processes that pull its KV.
    pub pullers: Vec<i64>,
    /// Where agents met for it.
    pub contacts: Vec<u32>,
    /// Threads that only push its KV: they launch none of its passes.
    pub senders: Vec<LaneAt>,
    /// Decode's registrations for it: positions in [`super::Transfers::registrations`].
    pub registrations: Vec<u32>,
    /// Whether decode got it only when prefill was done with it, as some routers do.
    pub waits_for_prefill: bool,
    /// Start of the first decode kernel that may read its KV, ns.
    pub decode_start_ns: Option<i64>,
    /// The process that decodes.
    pub decode: Option<i64>,
}
