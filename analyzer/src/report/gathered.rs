//! Paths as a report needs them: gathered one after another, their segments summed up and dropped.

use std::collections::{BTreeMap, HashMap, HashSet};

use kvpath_analysis::path::category::Category;
use kvpath_analysis::path::table::is_of_step;
use kvpath_analysis::structure::ranks;
use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Role, Stages};
use kvpath_schema::tables::path::{CriticalPath, Path, PathSegment, Paths};

use super::name::{demangled, fitted};
use super::units::or_dash;

/// What the time on paths can be summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummedBy {
    /// Pipeline stage or decode worker.
    Stage,
    /// Prefill chunk.
    Chunk,
    /// Layer within the stage; `3-4` for fused kernels that may be of both.
    Layer,
    /// What the time is spent on.
    Category,
    /// What it waited for.
    Gate,
    /// Kernel or call.
    Name,
}

impl SummedBy {
    /// What it is, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Stage => "Pipeline stage or decode worker",
            Self::Chunk => "Prefill chunk",
            Self::Layer => "Layer within the stage; `3-4` for fused kernels that may be of both",
            Self::Category => "What the time is spent on",
            Self::Gate => "What it waited for",
            Self::Name => "Kernel or call",
        }
    }

    /// Name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Chunk => "chunk",
            Self::Layer => "layer",
            Self::Category => "category",
            Self::Gate => "gate",
            Self::Name => "name",
        }
    }

    /// Heading of its column.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Category => "on",
            Self::Gate => "after",
            _ => self.name(),
        }
    }

    fn of(self, row: &PathSegment) -> Value {
        match self {
            Self::Stage if row.stage_id.is_none() && row.process_id.is_some() => Value::Elsewhere,
            Self::Stage => Value::Number(row.stage_id),
            Self::Chunk => Value::Number(row.chunk),
            Self::Layer => Value::Layers(row.layer_from.zip(row.layer)),
            Self::Category => Value::Text(Some(row.category.clone())),
            Self::Gate => Value::Text(row.gate.clone()),
            Self::Name => Value::Text(row.name.clone()),
        }
    }

    /// As it is ordered and printed.
    fn cell(self, value: &Value, stages: &Stages) -> (i64, String) {
        match (self, value) {
            (Self::Stage, Value::Number(stage)) => self::stage(stages, *stage, None),
            (_, Value::Elsewhere) => elsewhere(),
            (Self::Category, Value::Text(Some(name))) => {
                let at = Category::ALL.iter().position(|category| category.name() == &**name).unwrap_or(usize::MAX);
                (i64::try_from(at).unwrap_or(i64::MAX), name.to_string())
            }
            (_, Value::Layers(None)) => (i64::MAX, "-".to_owned()),
            (_, Value::Layers(Some((from, last)))) => {
                // Behind the first of them.
                let at = 2 * i64::from(*from) + i64::from(from != last);
                (at, if from == last { last.to_string() } else { format!("{from}-{last}") })
            }
            (_, Value::Number(number)) => (number.map_or(i64::MAX, i64::from), or_dash(*number, |n| n.to_string())),
            (_, Value::Text(text)) => (0, text.as_deref().unwrap_or("-").to_owned()),
        }
    }
}

/// Characters of a name that are printed.
const WIDEST: usize = 60;

/// The cells of a group as they are printed.
pub(super) fn printed(cells: &Cells) -> impl Iterator<Item = String> {
    cells.iter().map(|(_, text)| fitted(&demangled(text), WIDEST))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    Number(Option<i32>),
    /// First and last.
    Layers(Option<(i32, i32)>),
    Text(Option<Name>),
    /// A process that is no stage.
    Elsewhere,
}

/// A process that is no stage: an engine's core, a server in front of it. How it is named, and where it stands among the stages.
fn elsewhere() -> (i64, String) {
    (i64::MAX - 1, "other process".to_owned())
}

/// The name of a stage, or of what belongs to none, and where it stands among the others.
pub(super) fn stage(stages: &Stages, stage: Option<i32>, process: Option<i64>) -> (i64, String) {
    let Some(id) = stage else {
        return if process.is_some() { elsewhere() } else { (i64::MAX, "-".to_owned()) };
    };
    let row = stages.stage_id.iter().position(|known| *known == id);
    let name = row.map(|row| match (stages.role[row], stages.pp_rank[row], ranks::name(stages, id)) {
        (Role::Prefill, Some(pp), None) => format!("prefill {pp}"),
        (Role::Prefill, Some(pp), Some(rank)) => format!("prefill {pp}, {rank}"),
        (role, _, Some(rank)) => format!("{role} ({}), {rank}", stages.stage[row]),
        (role, ..) => format!("{role} ({id})"),
    });
    (i64::from(id), name.unwrap_or_else(|| id.to_string()))
}

/// A group of segments: the key's cells, as they are printed and ordered.
pub(super) type Cells = Vec<(i64, String)>;

/// The time on the paths of many requests, summed.
#[derive(Debug)]
pub struct PathTotals {
    /// One a request.
    pub paths: Paths,
    /// The segments of the first of them, if they are to be printed.
    pub segments: Option<CriticalPath>,
    /// What their time is summed by.
    pub keys: Vec<SummedBy>,
    groups: HashMap<Vec<Value>, usize>,
    /// Of each group the time in each request, ns.
    sums: Vec<Vec<(i32, i64)>>,
}

impl PathTotals {
    /// None yet.
    #[must_use]
    pub fn by(keys: &[SummedBy]) -> Self {
        let keys = keys.to_vec();
        Self { paths: Paths::default(), segments: None, keys, groups: HashMap::new(), sums: Vec::new() }
    }

    /// Keeps the segments of the first path.
    #[must_use]
    pub fn with_segments(mut self) -> Self {
        self.segments = Some(CriticalPath::default());
        self
    }

    /// Adds a path.
    pub fn add(&mut self, path: Path, rows: Vec<PathSegment>) {
        let request = path.request;
        let is_first = self.paths.is_empty();
        self.paths.push(path);
        let mut values = Vec::new();
        for row in &rows {
            values.clear();
            values.extend(self.keys.iter().map(|key| key.of(row)));
            let group = if let Some(group) = self.groups.get(&values) {
                *group
            } else {
                self.sums.push(Vec::new());
                self.groups.insert(values.clone(), self.sums.len() - 1);
                self.sums.len() - 1
            };
            match self.sums[group].last_mut() {
                Some((last, ns)) if *last == request => *ns += row.dur_ns,
                _ => self.sums[group].push((request, row.dur_ns)),
            }
        }
        if let Some(segments) = self.segments.as_mut().filter(|_| is_first) {
            for row in rows {
                segments.push(row);
            }
        }
    }

    /// Whether they are of steps, and of no request.
    #[must_use]
    pub fn are_of_steps(&self) -> bool {
        !self.paths.is_empty() && self.paths.source.iter().all(|source| is_of_step(source))
    }

    /// What one of them is of.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.are_of_steps() { "step" } else { "request" }
    }

    /// Keeps the requests with the longest time to first token, the longest first.
    pub fn keep_slowest(&mut self, count: usize) {
        let mut rows: Vec<usize> = (0..self.paths.len()).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(self.paths.ttft_ns[*row]), self.paths.request[*row]));
        rows.truncate(count);
        let mut kept = Paths::default();
        for row in rows {
            kept.push(self.paths.row(row));
        }
        self.paths = kept;
        let left: HashSet<i32> = self.paths.request.iter().copied().collect();
        for sums in &mut self.sums {
            sums.retain(|(request, _)| left.contains(request));
        }
    }

    /// Time of each group in each request that is on a path, by group and request, ns.
    pub(super) fn sums(&self, stages: &Stages) -> BTreeMap<Cells, BTreeMap<i32, i64>> {
        let mut all: BTreeMap<Cells, BTreeMap<i32, i64>> = BTreeMap::new();
        for (values, group) in &self.groups {
            let cells = self.keys.iter().zip(values).map(|(key, value)| key.cell(value, stages)).collect();
            // Stages may be printed alike.
            let of_request = all.entry(cells).or_default();
            for (request, ns) in &self.sums[*group] {
                *of_request.entry(*request).or_default() += ns;
            }
        }
        all.retain(|_, of_request| !of_request.is_empty());
        all
    }

    /// Requests about the median of the time to first token and those at its 99th percentile or above, by number.
    pub(super) fn cohorts(&self) -> (Vec<i32>, Vec<i32>) {
        let paths = &self.paths;
        let mut rows: Vec<usize> = (0..paths.len()).collect();
        rows.sort_by_key(|row| (paths.ttft_ns[*row], paths.request[*row]));
        let count = rows.len();
        // The middle fifth, and the slowest hundredth: at least one each.
        let (from, until) = (count * 2 / 5, (count * 3).div_ceil(5).max(count * 2 / 5 + 1));
        let middle = rows[from..until.min(count)].iter().map(|row| paths.request[*row]).collect();
        let slow = rows[(count * 99 / 100).min(count - 1)..].iter().map(|row| paths.request[*row]).collect();
        (middle, slow)
    }
}
