//! The path of one request, step by step.

use std::fmt::Write as _;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::CriticalPath;

use super::gathered::stage;
use super::path::Body;
use super::table::Table;
use super::units::{or_dash, plural, time};

/// Steps below this part of the whole path are summed up.
pub(super) const SMALL: i64 = 1_000;

/// Copies and calls below this are no step of their own, ns.
const SHORT_NS: i64 = 20_000;

/// Neighbouring segments of one stage, chunk and category.
struct Step {
    begin: usize,
    end: usize,
    /// The longest of them, which says what the step is.
    main: usize,
    dur_ns: i64,
}

fn all(segments: &CriticalPath) -> Vec<Step> {
    let key = |row: usize| (segments.stage_id[row], segments.chunk[row], &segments.category[row]);
    let minor = |row: usize| match &*segments.category[row] {
        "kernel_gap" | "launch" => true,
        "copy" | "sync" | "host" | "p2p" | "unexplained" => segments.dur_ns[row] < SHORT_NS,
        _ => false,
    };
    let mut steps = Vec::new();
    let mut at = 0;
    while at < segments.len() {
        let (begin, mut end, mut main) = (at, at + 1, at);
        // Dispatch between kernels and short copies belong to what goes on around them.
        while end < segments.len() {
            let same_place =
                (segments.stage_id[end], segments.chunk[end]) == (segments.stage_id[main], segments.chunk[main]);
            if !(key(end) == key(main) || same_place && (minor(end) || minor(main))) {
                break;
            }
            if segments.dur_ns[end] > segments.dur_ns[main] {
                main = end;
            }
            end += 1;
        }
        steps.push(Step { begin, end, main, dur_ns: segments.dur_ns[begin..end].iter().sum() });
        at = end;
    }
    steps
}

/// The path in order, and in a line below it how many steps were too short to be shown.
pub(super) fn table(out: &mut String, body: &Body, segments: &CriticalPath) {
    let source = body.found.paths.source_ns.first().copied().unwrap_or(0);
    let steps = all(segments);
    let least = steps.iter().map(|step| step.dur_ns).sum::<i64>() / SMALL;
    let (shown, small): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.dur_ns >= least);
    let mut table = Table::new(3, &["stage", "chunk", "on", "at", "for", "layers"]);
    for Step { begin, end, main, dur_ns } in shown {
        let layers: Vec<i32> = segments.layer[*begin..*end].iter().flatten().copied().collect();
        let layers = layers.iter().min().zip(layers.iter().max());
        table.row(vec![
            stage(body.stages, segments.stage_id[*main], segments.process_id[*main]).1,
            or_dash(segments.chunk[*main], |chunk| chunk.to_string()),
            segments.category[*main].to_string(),
            format!("+{}", time(segments.start_ns[*begin] - source)),
            time(*dur_ns),
            or_dash(layers, |(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") }),
        ]);
    }
    out.push_str(&table.render());
    if !small.is_empty() {
        let steps = plural(i64::try_from(small.len()).unwrap_or(i64::MAX), "step");
        let sum = small.iter().map(|step| step.dur_ns).sum();
        let _ = writeln!(out, "  {steps} below {}, together {}", time(least), time(sum));
    }
}
