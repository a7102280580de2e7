//! Case 8: a send and a receive that come at different times, on either side of what fits into the FIFO.

use super::script::{CALLS, Script};
use super::{CaseSetup, CaseTruth};
use crate::engine::{Node, OpKind};
use crate::model::RunError;
use crate::names::{LAYER, SAMPLE, SEND_RECEIVE};
use crate::rig::{LaneKind, Message};

const US: i64 = 1_000;

/// Stage 0 computes and sends, stage 1 computes and receives; the message travels for 50 us. The sender is 400 us late,
/// then the receiver is; each with a message that fits and with one that does not. Where the sender is late, the first
/// token is made by stage 1 after its receive, where the receiver is, by stage 0 after its send: a send that fits does
/// not wait for its receiver, one that does not waits until it is carried over.
pub(super) fn late(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let mut script = Script::new(place);
    let (upper, sends_from) = script.stage("prefill", "VLLM::Worker_PP0");
    let (lower, receives_from) = script.stage("prefill", "VLLM::Worker_PP1");
    let rig = &mut script.rig;
    let (compute0, sends) = (rig.stream(upper, 17, 0, "compute 0"), rig.stream(upper, 37, 0, "sends"));
    let (compute1, receives) = (rig.stream(lower, 17, 1, "compute 1"), rig.stream(lower, 33, 1, "receives"));
    let link = rig.wire(LaneKind::Link, Some(0), "stage 0 to 1");
    for (sender_us, receiver_us) in [(600, 200), (200, 600)] {
        for fits_fifo in [true, false] {
            let request = script.begin();
            script.take_up(sends_from, &request, 0);
            script.take_up(receives_from, &request, 1);
            let rig = &mut script.rig;
            // Compute, then an event that the communication waits for.
            let [send, receive] = [
                (sends_from, compute0, sends, sender_us, 0, OpKind::SendKernel),
                (receives_from, compute1, receives, receiver_us, 1, OpKind::ReceiveKernel),
            ]
            .map(|(thread, compute, comm, us, stage, what)| {
                let label = request.at(stage, OpKind::Kernel);
                rig.launch(&CALLS, thread, compute, (LAYER[1].0, us * US), label);
                let event = rig.record_event(&CALLS, thread, compute, label);
                rig.wait_event(&CALLS, thread, comm, event, label);
                rig.launch_open(&CALLS, thread, comm, (SEND_RECEIVE, 0), label.doing(what))
            });
            let message = Message { work_ns: 50 * US, latency_ns: 0, fits_fifo };
            rig.connect(send, receive, link, message, request.at(1, OpKind::Message));
            let [after_send, after_receive] =
                [(sends_from, sends, compute0, 0), (receives_from, receives, compute1, 1)].map(
                    |(thread, comm, compute, stage)| {
                        let label = request.at(stage, OpKind::Kernel);
                        let event = rig.record_event(&CALLS, thread, comm, label);
                        rig.wait_event(&CALLS, thread, compute, event, label);
                        rig.launch(&CALLS, thread, compute, (SAMPLE, 100 * US), label)
                    },
                );
            let (send_starts, receive_starts) = (script.time(Node::start(send)), script.time(Node::start(receive)));
            let (send_ends, receive_ends) = (script.time(Node::end(send)), script.time(Node::end(receive)));
            let figures = [
                ("late_sender_ns", (send_starts - receive_starts).clamp(0, receive_ends - receive_starts)),
                ("late_receiver_ns", (receive_starts - send_starts).clamp(0, send_ends - send_starts)),
                ("fits_fifo", i64::from(fits_fifo)),
            ];
            let sink = if sender_us > receiver_us { after_receive } else { after_send };
            script.end(request, sink, Vec::new(), &figures);
        }
    }
    script.finish()
}
