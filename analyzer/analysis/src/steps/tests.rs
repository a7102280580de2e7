use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Bubbles, Steps};
use kvpath_schema::tables::process::Process;

use super::*;
use crate::structure::ranges::Ranges;
use crate::structure::{lanes, posts, stages};
use crate::timeline::{LaneId, LaneKind};

const MS: i64 = 1_000_000;

/// What two processes, 1 and 2, did.
#[derive(Default)]
struct Recorded {
    facts: Facts,
    timeline: Timeline,
    key: i64,
}

impl Recorded {
    fn of(titles: &[&str]) -> Self {
        let mut own = Self::default();
        for (process_id, name) in (1i64..).zip(titles) {
            own.facts.processes.push(Process {
                process_id,
                pid: 1,
                name: (*name).to_owned(),
                start_ns: None,
                end_ns: None,
                parent_process_id: None,
            });
        }
        own
    }

    fn kernel(&mut self, process: i64, stream: i32, name: &str, (start, end): Span) {
        self.key += 1;
        let id = LaneId { process, kind: LaneKind::Stream { context: 1, stream } };
        self.timeline.add_kernel(id, 0, name, (start, end, self.key));
        self.timeline.add_call(process, 7, "cudaLaunchKernel", (start - 1_000, start - 900, self.key));
    }

    fn range(&mut self, process: i64, text: &str, (start, end): Span) {
        self.facts.nvtx.push(start, Some(end - start), (process, 7), text);
    }

    fn tables(&self) -> (Steps, Bubbles) {
        let lanes = lanes::of(&self.facts, &self.timeline, &Ranges::default());
        let posts = BTreeMap::<i64, Vec<posts::Post>>::new();
        let work = stages::of(&self.facts, &lanes, &posts);
        rows::of(&self.timeline, &work, &of(&self.facts, &self.timeline, &work), 0)
    }

    /// Three iterations of 10 ms of a process, each with a kernel of 4 ms and a collective that ends at 9 ms, `late` later.
    fn iterations(&mut self, process: i64, late: i64) {
        for step in 0..3 {
            let at = step * 10 * MS;
            self.range(process, &format!("iteration {}", step + 5), (at, at + 10 * MS));
            self.range(process, "forward", (at, at + 3 * MS));
            self.kernel(process, 7, "gemm", (at + 2 * MS, at + 4 * MS));
            self.kernel(process, 7, "gemm", (at + 4 * MS, at + 6 * MS));
            self.kernel(process, 8, "ncclDevKernel_AllReduce_Sum", (at + 7 * MS, at + 9 * MS + late));
        }
    }
}

#[test]
fn ranges_that_repeat_are_steps_and_parts_of_them_are_not() {
    let mut run = Recorded::of(&["train.py"]);
    run.iterations(1, 0);
    let (steps, bubbles) = run.tables();
    assert_eq!(steps.name, ["iteration 5", "iteration 6", "iteration 7"].map(|name| Some(name.to_owned())));
    assert_eq!((steps.unit[0], steps.method[0]), (StepUnit::Range, StepMethod::Alone));
    assert!((steps.confidence[0] - 1.0).abs() < 1e-9);
    assert_eq!((steps.dur_ns[1], steps.processes[1], steps.incomplete[1]), (10 * MS, 1, false));
    assert_eq!((bubbles.compute_ns[1], bubbles.idle_ns[1]), (4 * MS, Some(6 * MS)));
    assert_eq!(bubbles.collective_wait_ns[1], Some(2 * MS));
}

#[test]
fn ranks_whose_collectives_end_together_do_one_step() {
    let mut run = Recorded::of(&["train.py", "train.py"]);
    run.iterations(1, 0);
    run.iterations(2, 20_000);
    let (steps, bubbles) = run.tables();
    assert_eq!((steps.len(), bubbles.len()), (3, 6));
    assert!(steps.processes.iter().all(|processes| *processes == 2));
    assert_eq!(steps.method[0], StepMethod::Collectives);
    // Replicas do not wait for each other.
    let mut run = Recorded::of(&["serve.py", "serve.py"]);
    run.iterations(1, 0);
    run.iterations(2, MS / 2);
    let (steps, _) = run.tables();
    assert_eq!((steps.len(), steps.method[0]), (6, StepMethod::Alone));
}

#[test]
fn where_gpu_work_is_not_on_record_nothing_is_idle() {
    let mut run = Recorded::of(&["train.py"]);
    run.iterations(1, 0);
    // A kernel that was captured in the first iteration, and a graph that was launched in the second and ran unrecorded.
    for (name, at, key) in
        [("cudaStreamBeginCapture", 1, 996), ("cudaLaunchKernel", 2, 997), ("cudaStreamEndCapture", 3, 998)]
    {
        run.timeline.add_call(1, 9, name, (at * MS, at * MS + 10, key));
    }
    run.timeline.add_call(1, 7, "cudaGraphLaunch", (11 * MS, 11 * MS + 10, 999));
    let (steps, bubbles) = run.tables();
    assert_eq!(steps.incomplete, [false, true, false]);
    assert_eq!((bubbles.window_ns[1], bubbles.idle_ns[1], bubbles.incomplete[1]), (None, None, true));
    assert!(bubbles.idle_ns[0].is_some() && bubbles.idle_ns[2].is_some());
}

#[test]
fn ranges_of_a_profiler_go_before_others() {
    let mut run = Recorded::of(&["train.py"]);
    run.iterations(1, 0);
    run.range(1, "ProfilerStep#3", (0, 15 * MS));
    run.range(1, "ProfilerStep#4", (15 * MS, 30 * MS));
    let (steps, _) = run.tables();
    assert_eq!(steps.unit, [StepUnit::ProfilerStep; 2]);
    assert_eq!(steps.name[1].as_deref(), Some("ProfilerStep#4"));
}
