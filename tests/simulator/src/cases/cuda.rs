//! Cases 5 to 7: what CUDA makes a kernel wait for.

use super::script::{CALLS, Script};
use super::{CaseSetup, CaseTruth};
use crate::engine::OpKind;
use crate::model::RunError;
use crate::names::{FILL, LAYER, SAMPLE};

const US: i64 = 1_000;

/// A of 1000 us and B of 100 us run side by side, C of 200 us waits for both: first for A and then B, then the other way
/// round. The path is launch of A, A, C, whichever wait was asked for last.
pub(super) fn two_waits(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let mut script = Script::new(place);
    let (process, thread) = script.stage("prefill", "VLLM::Worker_PP0");
    let rig = &mut script.rig;
    let [a, b, c] = [(13, "a"), (14, "b"), (15, "c")].map(|(id, name)| rig.stream(process, id, 0, name));
    for a_first in [true, false] {
        let request = script.begin();
        script.take_up(thread, &request, 0);
        let label = request.at(0, OpKind::Kernel);
        let rig = &mut script.rig;
        rig.launch(&CALLS, thread, a, (LAYER[1].0, 1000 * US), label);
        let of_a = rig.record_event(&CALLS, thread, a, label);
        rig.launch(&CALLS, thread, b, (LAYER[8].0, 100 * US), label);
        let of_b = rig.record_event(&CALLS, thread, b, label);
        for event in if a_first { [of_a, of_b] } else { [of_b, of_a] } {
            rig.wait_event(&CALLS, thread, c, event, label);
        }
        let sink = rig.launch(&CALLS, thread, c, (SAMPLE, 200 * US), label);
        script.end(request, sink, Vec::new(), &[]);
    }
    script.finish()
}

/// 500 us on a blocking stream, 300 us on the legacy default stream, which wait for each other; 2000 us on a stream that
/// does not block, beside them; then 100 us on the blocking stream.
pub(super) fn default_stream(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let mut script = Script::new(place);
    let (process, thread) = script.stage("prefill", "VLLM::Worker_PP0");
    let rig = &mut script.rig;
    let [default, blocking, free] =
        [(7, "default"), (13, "blocking"), (14, "non-blocking")].map(|(id, name)| rig.stream(process, id, 0, name));
    rig.barrier(default, blocking);
    let request = script.begin();
    script.take_up(thread, &request, 0);
    let label = request.at(0, OpKind::Kernel);
    let mut launch = |stream, name, us| script.rig.launch(&CALLS, thread, stream, (name, us * US), label);
    launch(blocking, LAYER[1].0, 500);
    launch(free, LAYER[8].0, 2000);
    launch(default, FILL, 300);
    let sink = launch(blocking, SAMPLE, 100);
    script.end(request, sink, Vec::new(), &[]);
    script.finish()
}

/// A (100 us), then B and C side by side (300 and 500 us, then 500 and 300), then D (50 us), in one graph.
pub(super) fn graph(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let mut script = Script::new(place);
    let (process, thread) = script.stage("prefill", "VLLM::Worker_PP0");
    let rig = &mut script.rig;
    let [main, side] = [(13, "main"), (14, "side")].map(|(id, name)| rig.stream(process, id, 0, name));
    for (b_us, c_us) in [(300, 500), (500, 300)] {
        let request = script.begin();
        script.take_up(thread, &request, 0);
        let nodes: [(u16, i64, &[usize]); 4] = [
            (LAYER[0].0, 100 * US, &[]),
            (LAYER[1].0, b_us * US, &[0]),
            (LAYER[8].0, c_us * US, &[0]),
            (SAMPLE, 50 * US, &[1, 2]),
        ];
        let streams = [main, main, side, main];
        let kernels = script.rig.launch_graph(&CALLS, thread, &streams, &nodes, request.at(0, OpKind::Kernel));
        script.end(request, kernels[3], Vec::new(), &[]);
    }
    script.finish()
}
