//! What a hit costs on this machine, measured on functions of ours. It differs tenfold between machines: where the CPU is
//! virtual, single-stepping is dear.

use std::hint::black_box;
use std::time::Instant;

use super::ffi;
use crate::capture::error::AttachError;
use crate::capture::nixl::attach::Programs;
use crate::elf::First;
use crate::own;

/// Calls timed together; the best of [`ROUNDS`] counts.
const CALLS: u32 = 100;
const ROUNDS: u32 = 5;

/// What probes cost, ns a hit, the program that records a poll included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// On an instruction that the kernel emulates.
    pub emulated: f64,
    /// On one that it single-steps.
    pub stepped: f64,
    /// More than that if the return is probed too.
    pub returning: f64,
}

impl Costs {
    /// Of an entry with that first instruction.
    pub fn entry_ns(self, first: First) -> f64 {
        match first {
            First::Nop5 | First::Nop | First::Push => self.emulated,
            First::Stepped => self.stepped,
        }
    }
}

type Probed = extern "C" fn(u64, u64) -> u32;

/// Measures; takes some 100 ms, nearly all of it attaching and detaching. Where return probes may end confined processes
/// (`spares_returns`), of which this may be one, none is tried, and a return is taken to cost as much as an entry.
///
/// # Errors
/// The kernel refuses, or this program does not find itself in memory.
pub fn measure(programs: &mut Programs, spares_returns: bool) -> Result<Costs, AttachError> {
    let [push, awaited, mov]: [Probed; 3] = [ffi::pushes, ffi::pushes_and_is_awaited, ffi::moves];
    let offset = |function: Probed| own::offset_of(function as usize as u64).ok_or(AttachError::Missing("own code"));
    let functions = [(offset(push)?, false), (offset(awaited)?, !spares_returns), (offset(mov)?, false)];
    let attached = programs.attach_to_own(&functions, None)?;
    let [entry, both, stepped] = [push, awaited, mov].map(time);
    programs.detach_from_own(attached)?;
    let pid = i32::try_from(std::process::id()).ok();
    programs.take_in_flight(|of, _| Some(of) == pid);
    programs.take_polls(pid);
    programs.hits()?;
    let returning = if spares_returns { entry } else { (both - entry).max(0.0) };
    Ok(Costs { emulated: entry, stepped, returning })
}

/// ns a call.
fn time(function: Probed) -> f64 {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(function)(black_box(1), black_box(2));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
