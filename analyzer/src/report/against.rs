//! Where the time to first token of one run differs from that of another, for people and as JSON.
//!
//! Both are means over as many requests of each run, the first by number; only over those that the client told of, if it told of
//! any in both. A mean is rounded down to a whole ns, and the parts of
//! it so that they sum to it (each is less than 1 ns off): the differences of the parts sum to the difference of the means.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kvpath_analysis::number::float;
use kvpath_schema::table::Columns as _;
use serde_json::{Value, json};

use super::gathered::{Cells, SummedBy, printed};
use super::path::Body;
use super::table::Table;
use super::units::{share, time};
use crate::json::Output;

/// Differences below this share of the larger mean are summed up in text.
const SMALL: i64 = 1_000;

/// A group of segments in both runs, mean time on the path, ns.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GroupDifference {
    cells: Cells,
    own: i64,
    other: i64,
}

/// The paths of two runs, compared.
#[derive(Debug)]
pub struct RunComparison<'a> {
    own: &'a Body<'a>,
    other: &'a Body<'a>,
    requests: usize,
    /// Whether a client told when each of them came and had its first token.
    is_told: bool,
    /// By the size of the difference.
    parts: Vec<GroupDifference>,
}

impl<'a> RunComparison<'a> {
    /// Compares `own` with `other`, by the keys of `own`.
    #[must_use]
    pub fn of(own: &'a Body<'a>, other: &'a Body<'a>) -> Self {
        let (told, other_told) = (told(own), told(other));
        let all = |body: &Body| body.found.paths.request.clone();
        let has_told = !told.is_empty() && !other_told.is_empty();
        let (numbers, other_numbers) = if has_told { (told, other_told) } else { (all(own), all(other)) };
        let requests = numbers.len().min(other_numbers.len());
        let mut own_means = means(own, &numbers[..requests]);
        let mut other_means = means(other, &other_numbers[..requests]);
        let cells: Vec<Cells> = own_means.keys().chain(other_means.keys()).cloned().collect();
        let mut parts: Vec<GroupDifference> = Vec::new();
        for cells in cells {
            let (own, other) = (own_means.remove(&cells), other_means.remove(&cells));
            if own.is_some() || other.is_some() {
                parts.push(GroupDifference { cells, own: own.unwrap_or(0), other: other.unwrap_or(0) });
            }
        }
        parts.sort_by(|a, b| b.size().cmp(&a.size()).then_with(|| a.cells.cmp(&b.cells)));
        Self { own, other, requests, is_told: has_told, parts }
    }

    fn ttft(&self) -> (i64, i64) {
        self.parts.iter().fold((0, 0), |(own, other), part| (own + part.own, other + part.other))
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let (own, other) = self.ttft();
        let (name, against) = (&self.own.run.name, &self.other.run.name);
        let mut out =
            format!("{name} against {against}: the first {} {}s of each\n", self.requests, self.own.found.unit());
        let _ = writeln!(
            out,
            "mean {} {} against {}: {}\n\nDIFFERENCE ON THE PATH",
            if self.is_told { "time to first token" } else { "time on the path" },
            time(own),
            time(other),
            signed(own - other)
        );
        let keys = self.own.found.keys.iter().map(|key| key.heading());
        let headings: Vec<&str> = keys.chain(["here", "there", "difference", "of all"]).collect();
        let mut table = Table::new(self.own.found.keys.len(), &headings);
        let all = own - other;
        let of_all =
            |ns: i64| if all == 0 { "-".to_owned() } else { share(float(ns) * float(all.signum()), float(all.abs())) };
        let least = own.max(other) / SMALL;
        let (large, small): (Vec<&GroupDifference>, Vec<&GroupDifference>) =
            self.parts.iter().partition(|part| part.size() > least.unsigned_abs());
        let mut row = |mut cells: Vec<String>, own: i64, other: i64| {
            cells.extend([time(own), time(other), signed(own - other), of_all(own - other)]);
            table.row(cells);
        };
        for part in large {
            row(printed(&part.cells).collect(), part.own, part.other);
        }
        if !small.is_empty() {
            let rest = format!("{} others", small.len());
            let blank = self.own.found.keys.iter().skip(1).map(|_| String::new());
            let sum = |of: fn(&GroupDifference) -> i64| small.iter().map(|part| of(part)).sum();
            row(std::iter::once(rest).chain(blank).collect(), sum(|part| part.own), sum(|part| part.other));
        }
        out.push_str(&table.render());
        out
    }

    /// One object.
    ///
    /// # Errors
    /// None that is known: all is numbers and text.
    pub fn json(&self) -> serde_json::Result<String> {
        let (own, other) = self.ttft();
        let parts: Vec<Value> = self.parts.iter().map(|part| part.json(&self.own.found.keys)).collect();
        let object = json!({
            "run": self.own.run.name, "against": self.other.run.name, "requests": self.requests,
            "ttft_ns": own, "against_ttft_ns": other, "difference_ns": own - other, "on_path": parts,
        });
        serde_json::to_string(&Output::PathAgainst.stamped(object))
    }
}

impl GroupDifference {
    fn size(&self) -> u64 {
        self.own.abs_diff(self.other)
    }

    fn json(&self, keys: &[SummedBy]) -> Value {
        let mut object = serde_json::Map::new();
        for (key, (_, text)) in keys.iter().zip(&self.cells) {
            object.insert(key.name().to_owned(), Value::from(text.as_str()));
        }
        for (name, ns) in [("ns", self.own), ("against_ns", self.other), ("difference_ns", self.own - self.other)] {
            object.insert(name.to_owned(), ns.into());
        }
        Value::Object(object)
    }
}

/// Numbers of the requests whose arrival the client told.
fn told(body: &Body) -> Vec<i32> {
    let paths = &body.found.paths;
    (0..paths.len()).filter(|row| &*paths.source[*row] == "client").map(|row| paths.request[row]).collect()
}

/// Mean time of each group over those requests, ns.
fn means(body: &Body, numbers: &[i32]) -> BTreeMap<Cells, i64> {
    let count = i128::try_from(numbers.len().max(1)).unwrap_or(1);
    let mut sum = 0i128;
    let mut before = 0i64;
    let sums = body.found.sums(body.stages).into_iter().map(|(cells, of)| {
        sum += numbers.iter().filter_map(|request| of.get(request)).map(|ns| i128::from(*ns)).sum::<i128>();
        let until = i64::try_from(sum / count).unwrap_or(i64::MAX);
        let own = until - std::mem::replace(&mut before, until);
        (cells, own)
    });
    sums.filter(|(_, ns)| *ns != 0).collect()
}

fn signed(ns: i64) -> String {
    if ns > 0 { format!("+{}", time(ns)) } else { time(ns) }
}

#[cfg(test)]
mod tests {
    use kvpath_analysis::load::Run;
    use kvpath_schema::tables::derived::Stages;
    use kvpath_schema::tables::path::{Path, PathSegment};
    use proptest::prelude::*;

    use super::super::gathered::PathTotals;
    use super::*;

    fn found(requests: &[Vec<(usize, i64)>]) -> PathTotals {
        const CATEGORIES: [&str; 3] = ["compute", "wire", "host"];
        let mut found = PathTotals::by(&[SummedBy::Category]);
        for (request, segments) in (0i32..).zip(requests) {
            let ttft_ns = segments.iter().map(|(_, ns)| ns).sum();
            let path = Path {
                request,
                end_ns: ttft_ns,
                ttft_ns,
                source: "client".into(),
                sink: "decode_pass".into(),
                coverage: 1.0,
                ..Path::default()
            };
            let mut rows = Vec::new();
            for (position, (category, dur_ns)) in (0i32..).zip(segments) {
                rows.push(PathSegment {
                    request,
                    position,
                    dur_ns: *dur_ns,
                    category: CATEGORIES[*category].into(),
                    kind: "work".into(),
                    confidence: 1.0,
                    is_explained: true,
                    ..PathSegment::default()
                });
            }
            found.add(path, rows);
        }
        found
    }

    fn with<T>(own: &[Vec<(usize, i64)>], other: &[Vec<(usize, i64)>], look: impl FnOnce(&RunComparison) -> T) -> T {
        let run = |name: &str| Run { name: name.to_owned(), ..Run::default() };
        let (own_run, other_run, stages) = (run("slow"), run("clean"), Stages::default());
        let (own, other) = (found(own), found(other));
        let body = |run, found| Body { run, stages: &stages, found };
        let (own, other) = (body(&own_run, &own), body(&other_run, &other));
        look(&RunComparison::of(&own, &other))
    }

    #[test]
    fn the_largest_difference_comes_first_and_what_only_one_has_counts() {
        let own = vec![vec![(0, 1_000_000), (1, 500_000)], vec![(0, 1_000_002), (1, 700_001)]];
        let other = vec![vec![(0, 900_000), (2, 50)], vec![(0, 900_000)], vec![(0, 1)]];
        with(&own, &other, |against| {
            let parts: Vec<(&str, i64)> =
                against.parts.iter().map(|part| (&*part.cells[0].1, part.own - part.other)).collect();
            assert_eq!(parts, [("wire", 600_000), ("compute", 100_001), ("host", -25)]);
            assert_eq!(
                against.text(),
                "slow against clean: the first 2 requests of each\n\
                 mean time to first token 1.60 ms against 900 us: +700 us\n\n\
                 DIFFERENCE ON THE PATH\n  \
                 on           here   there  difference   of all\n  \
                 wire       600 us    0 ns     +600 us   85.7 %\n  \
                 compute   1.00 ms  900 us     +100 us   14.3 %\n  \
                 1 others     0 ns   25 ns      -25 ns  -0.00 %\n"
            );
        });
    }

    proptest! {
        #[test]
        fn the_parts_sum_to_the_difference_of_the_means(
            own in prop::collection::vec(prop::collection::vec((0usize..3, 0i64..1_000_000_007), 1..6), 1..8),
            other in prop::collection::vec(prop::collection::vec((0usize..3, 0i64..1_000_000_007), 1..6), 1..8),
        ) {
            let count = own.len().min(other.len());
            let mean = |requests: &[Vec<(usize, i64)>]| {
                let sum: i64 = requests[..count].iter().flatten().map(|(_, ns)| ns).sum();
                sum / i64::try_from(count).unwrap()
            };
            with(&own, &other, |against| {
                let sum: i64 = against.parts.iter().map(|part| part.own - part.other).sum();
                assert_eq!((sum, against.ttft()), (mean(&own) - mean(&other), (mean(&own), mean(&other))));
            });
        }
    }
}
