//! Ranges that are steps: those that `PyTorch`'s profiler puts around them, else those that repeat on one thread and in which most
//! of the process's GPU work is launched.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use kvpath_schema::tables::derived::StepUnit;

use super::Series;
use crate::facts::Facts;
use crate::intervals::Span;
use crate::serving::layer_names::layer;
use crate::structure::stages::StageWork;
use crate::timeline::{Class, LaneKind, Timeline};

/// How `PyTorch`'s profiler names a step.
const PROFILER_STEP: &str = "ProfilerStep#";
/// Ranges that repeat less often show no rule.
const MIN_RANGES: usize = 3;
/// Share of the process's kernels that must have been launched in ranges: a forward pass of a training step has a third, so the
/// parts of a step are none.
const MOST_WORK: f64 = 0.8;

/// Ranges of one thread whose texts differ in numbers only.
#[derive(Debug, Default)]
struct Alike<'a> {
    spans: Vec<(Span, &'a str)>,
}

/// The steps of a stage's process that ranges show.
pub(super) fn of(facts: &Facts, timeline: &Timeline, stage: usize, work: &StageWork) -> Option<Series> {
    work.lane?;
    let process = work.row.process_id;
    let range = |row: usize| {
        let mark = facts.nvtx.mark(row);
        let dur = mark.dur.filter(|_| mark.thread.0 == process)?;
        Some((mark.thread.1, ((mark.start, mark.start.saturating_add(dur)), mark.text)))
    };
    let named = facts.nvtx.of_texts(|text| text.starts_with(PROFILER_STEP).then_some(()));
    let mut profiled = Alike { spans: named.filter_map(|(row, ())| range(row)).map(|(_, range)| range).collect() };
    if !profiled.spans.is_empty() {
        profiled.spans.sort_unstable();
        profiled.spans.dedup_by_key(|(_, text)| *text);
        let is_order = profiled.is_one_after_another();
        return is_order.then(|| series(stage, StepUnit::ProfilerStep, 1.0, &profiled));
    }
    // A number a stem: texts are few, ranges many.
    let stems: RefCell<HashMap<String, usize>> = RefCell::default();
    let number = |text: &str| {
        let mut stems = stems.borrow_mut();
        let next = stems.len();
        *stems.entry(stem(text)).or_insert(next)
    };
    let may_be_step = |text: &str| layer(text).is_none() && !is_operator(text);
    let mut alike: BTreeMap<(i32, usize), Alike> = BTreeMap::new();
    for (row, stem) in facts.nvtx.of_texts(|text| may_be_step(text).then(|| number(text))) {
        if let Some((thread, range)) = range(row) {
            alike.entry((thread, stem)).or_default().spans.push(range);
        }
    }
    alike.retain(|_, ranges| ranges.spans.len() >= MIN_RANGES);
    for ranges in alike.values_mut() {
        ranges.spans.sort_unstable();
    }
    alike.retain(|_, ranges| ranges.is_one_after_another() && !ranges.counts_places());
    if alike.is_empty() {
        return None;
    }
    let launches = launches(timeline, process);
    let mut found: Vec<(f64, Alike)> = alike
        .into_values()
        .map(|ranges| (ranges.share_of(&launches), ranges))
        .filter(|(share, _)| *share >= MOST_WORK)
        .collect();
    // What lies within another one that repeats is a part of it.
    found.sort_by(|(_, a), (_, b)| b.length().cmp(&a.length()).then_with(|| a.spans.len().cmp(&b.spans.len())));
    let (share, ranges) = found.into_iter().next()?;
    Some(series(stage, StepUnit::Range, share, &ranges))
}

fn series(stage: usize, unit: StepUnit, confidence: f64, ranges: &Alike) -> Series {
    let steps = ranges.spans.iter().map(|(span, text)| (*span, Some((*text).to_owned()))).collect();
    Series { stage, unit, confidence, steps }
}

/// Whether a text is an operator's name, as `PyTorch`'s profiler records them: `aten::mm`.
fn is_operator(text: &str) -> bool {
    text.contains("::") && !text.contains(|c: char| c.is_whitespace() || c.is_uppercase())
}

/// A text without the numbers in it.
fn stem(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

/// The first number in a text.
fn number(text: &str) -> Option<u64> {
    let from = text.find(|c: char| c.is_ascii_digit())?;
    let digits = &text[from..];
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().ok()
}

/// When the process launched each of its kernels, rising; of those whose launch is not on record, when they ran.
fn launches(timeline: &Timeline, process: i64) -> Vec<i64> {
    let Some(lanes) = timeline.processes.get(&process) else { return Vec::new() };
    let mut found = Vec::new();
    for at in &lanes.streams {
        let stream = timeline.lane(*at);
        for op in (0..stream.len()).filter(|op| timeline.names.class(stream.name[*op]) == Class::Compute) {
            let call = timeline
                .call(process, stream.key[op])
                .filter(|(lane, _)| matches!(timeline.id(*lane).kind, LaneKind::Thread(_)));
            found.push(call.map_or(stream.start[op], |(thread, call)| timeline.lane(thread).start[call]));
        }
    }
    found.sort_unstable();
    found
}

impl Alike<'_> {
    fn is_one_after_another(&self) -> bool {
        self.spans.windows(2).all(|pair| pair[0].0.1 <= pair[1].0.0)
    }

    /// Whether their numbers count up and start again, as those of layers do: they name places in a step, not steps.
    fn counts_places(&self) -> bool {
        let numbers: Vec<u64> = self.spans.iter().filter_map(|(_, text)| number(text)).collect();
        let rising = numbers.windows(2).filter(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
        let again = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
        again > 0 && rising * 2 >= numbers.len()
    }

    fn length(&self) -> i64 {
        self.spans.iter().map(|((start, end), _)| end - start).sum()
    }

    /// Share of the launches that lie in them.
    fn share_of(&self, launches: &[i64]) -> f64 {
        let within =
            |(start, end): Span| launches.partition_point(|at| *at < end) - launches.partition_point(|at| *at < start);
        let inside: usize = self.spans.iter().map(|(span, _)| within(*span)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = inside as f64 / launches.len().max(1) as f64;
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike<'a>(texts: &[&'a str]) -> Alike<'a> {
        Alike { spans: (0i64..).zip(texts).map(|(at, text)| ((at * 10, at * 10 + 5), *text)).collect() }
    }

    #[test]
    fn numbers_that_start_again_name_places_and_others_do_not() {
        assert!(alike(&["block 0", "block 1", "block 2", "block 0", "block 1", "block 2"]).counts_places());
        assert!(!alike(&["iteration 7", "iteration 8", "iteration 9"]).counts_places());
        assert!(!alike(&["execute 512", "execute 8", "execute 8", "execute 512"]).counts_places());
        assert!(!alike(&["iteration", "iteration"]).counts_places());
    }

    #[test]
    fn operators_are_no_steps() {
        assert!(is_operator("aten::mm") && is_operator("vllm::unified_attention"));
        assert!(!is_operator("Engine::step") && !is_operator("engine::step 7") && !is_operator("iteration 3"));
    }

    #[test]
    fn texts_that_differ_in_numbers_are_alike() {
        assert_eq!(stem("execute_context_12(2000)_generation_0(0)"), "execute_context_#(#)_generation_#(#)");
        assert_eq!((number("a 12 b 3"), number("a")), (Some(12), None));
    }

    #[test]
    fn overlapping_ranges_do_not_follow_each_other() {
        let mut ranges = alike(&["a", "a", "a"]);
        assert!(ranges.is_one_after_another());
        ranges.spans[1].0.1 = 25;
        assert!(!ranges.is_one_after_another());
    }
}
