//! Cases 11 and 14: what the records lack or shift, and the truth keeps.

use super::handoff::served;
use super::{CaseSetup, CaseTruth, of_model};
use crate::distort::Clock;
use crate::model::{BEGIN_NS, Handoff, Hosts, Model, RunError};

/// Two stages and decode on hosts of their own; 20 requests, 250 ms apart, in either direction a message each. The NIC is
/// free again before stage 1 posts, so the path crosses all three hosts.
pub(super) fn offsets(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let served = served();
    let handoff = Handoff { bytes_per_s: 100_000_000_000, ..served.handoff };
    let model = Model { hosts: Hosts::Each, requests: 20, handoff, ..served };
    let clocks = [(5_000_000, 30_000), (-5_000_000, -30_000), (0, 10_000)];
    of_model(place, &model, |distort| {
        for (clock, (offset_ns, drift_ppb)) in distort.clocks.iter_mut().zip(clocks) {
            *clock = Clock { offset_ns, drift_ppb, zero_ns: BEGIN_NS, ..clock.clone() };
        }
    })
}

pub(super) fn loss(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    of_model(place, &served(), |distort| distort.loss_ppm = 10_000)
}
