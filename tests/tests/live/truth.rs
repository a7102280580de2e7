//! The workload's truth file; `tests/workload/src/truth.rs` says what is in it.

use std::path::Path;

/// One action.
#[derive(Debug, Clone)]
pub struct Action {
    pub pid: i64,
    pub tid: i32,
    pub agent: String,
    pub what: String,
    pub start_ns: i64,
    pub end_ns: i64,
    pub request: String,
    pub peer: String,
    pub result: String,
    pub bytes: Option<i64>,
    pub descriptors: Option<i64>,
    pub detail: String,
}

impl Action {
    /// Whether a time lies within it.
    pub fn holds(&self, time_ns: i64) -> bool {
        (self.start_ns..=self.end_ns).contains(&time_ns)
    }
}

/// All actions of a run.
#[derive(Debug)]
pub struct Truth(Vec<Action>);

impl Truth {
    /// Reads the file.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the truth");
        Self(text.lines().skip(1).map(action).collect())
    }

    /// The actions of a kind, in order of time.
    pub fn all<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a Action> {
        self.0.iter().filter(move |action| action.what == what)
    }

    /// The action of a kind that belongs to another of the same process, request and peer.
    pub fn beside(&self, what: &str, other: &Action) -> Option<&Action> {
        let key = |action: &Action| (action.pid, action.request.clone(), action.peer.clone());
        self.0.iter().find(|action| action.what == what && key(action) == key(other))
    }
}

fn action(line: &str) -> Action {
    let field: Vec<&str> = line.split('\t').collect();
    assert_eq!(field.len(), 12, "{line:?}");
    Action {
        pid: field[0].parse().expect("pid"),
        tid: field[1].parse().expect("tid"),
        agent: field[2].to_owned(),
        what: field[3].to_owned(),
        start_ns: field[4].parse().expect("start_ns"),
        end_ns: field[5].parse().expect("end_ns"),
        request: field[6].to_owned(),
        peer: field[7].to_owned(),
        result: field[8].to_owned(),
        bytes: field[9].parse().ok(),
        descriptors: field[10].parse().ok(),
        detail: field[11].to_owned(),
    }
}
