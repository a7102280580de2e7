//! Whether a library has the functions of a release, and these have what the probes take for granted of them.

use super::builds::{Probe, ProbeKind, probes};
use super::examine::ProbeState;
use crate::elf::Elf;

/// The probes of a library of that ABI, if all of it holds: each function is there and in code of its own, one call is one hit, and an
/// engine that passes arrivals on is known to.
///
/// # Errors
/// What does not hold.
pub fn fits(elf: &Elf<'_>, abi: u32, library: &str) -> Result<Vec<ProbeState>, String> {
    let wanted: Vec<&'static Probe> = probes(abi, library).collect();
    let mut states = Vec::new();
    for probe in &wanted {
        let point =
            elf.entry(&probe.symbol).map_err(|error| format!("{} {}: {error}", probe.kind.name(), probe.symbol))?;
        states.push(ProbeState { probe, point: Ok(point) });
    }
    let mut places: Vec<u64> = states.iter().filter_map(|state| Some(state.point.as_ref().ok()?.offset)).collect();
    places.sort_unstable();
    places.dedup();
    if wanted.is_empty() || places.len() < wanted.len() {
        return Err("two of its functions are one".to_owned());
    }
    let is_arrival = |kind| matches!(kind, ProbeKind::NotifArrived | ProbeKind::NotifPassed);
    let known = |name: &str| wanted.iter().any(|probe| probe.symbol == name);
    if wanted.iter().any(|probe| is_arrival(probe.kind))
        && let Some((other, _)) = elf.exports("_ZN").iter().find(|(name, _)| is_queue(name) && !known(name))
    {
        return Err(format!("arrivals may also go through {other}"));
    }
    let symbols: Vec<&str> = wanted.iter().map(|probe| probe.symbol.as_str()).collect();
    let calls = elf.calls(&symbols).map_err(|error| error.to_string())?;
    for (at, probe) in wanted.iter().enumerate() {
        let called: Vec<&Probe> =
            calls.iter().filter(|(caller, _)| *caller == at).map(|(_, callee)| wanted[*callee]).collect();
        let as_known = match probe.kind {
            // Only what is passed to the base class, whose probe says that it counts what comes there by itself.
            ProbeKind::NotifPassed => {
                !called.is_empty() && called.iter().all(|callee| callee.kind == ProbeKind::NotifArrived)
            }
            _ => called.is_empty(),
        };
        if !as_known {
            let named = called.first().map_or("no other function", |callee| callee.symbol.as_str());
            return Err(format!("{} calls {named}, unlike that release", probe.symbol));
        }
    }
    Ok(states)
}

/// Whether a function is one by which an engine of the plugin queues arrivals.
fn is_queue(symbol: &str) -> bool {
    symbol.contains("11appendNotifE")
}
