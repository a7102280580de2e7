//! The sources of a recording: those that are always there, and those that the settings ask for.

use kvpath_schema::tables::capture::RecordingState;

use super::cupti::environment::LIBRARY;
use super::cupti::folders::remove_abandoned;
use super::cupti::plan::Plan;
use super::mooncake::source::Mooncake;
use super::nixl::attach::Programs;
use super::nixl::source::Nixl;
use super::rdma::source::Rdma;
use super::sched::source::Scheduler;
use super::sockets::source::SocketCalls;
use super::telemetry::source::Telemetry;
use super::ucx::source::Ucx;
use super::{Context, RecordSource};
use crate::clock::{self, ClockSource};
use crate::error::AgentError;
use crate::learn::kept;
use crate::settings::{OptionalSource, Settings};
use crate::states::Subject;

/// Starts the sources, in the order in which they are drained and written. Where return probes would end processes confined by
/// seccomp, `spares_confined`, their libraries are left alone.
///
/// # Errors
/// One that is asked for cannot be recorded here.
pub fn start(
    settings: &Settings,
    gpu: &Plan,
    nixl: Programs,
    spares_confined: bool,
    context: &mut Context,
) -> Result<Vec<Box<dyn RecordSource>>, AgentError> {
    // Their libraries have return probes too, and no list of who maps them is kept.
    let returning = [OptionalSource::Ucx, OptionalSource::Rdma].into_iter().find(|extra| settings.asks_for(*extra));
    if let Some(extra) = returning.filter(|_| spares_confined) {
        return Err(AgentError::Confined { asked: extra.name() });
    }
    let mut sources: Vec<Box<dyn RecordSource>> = Vec::new();
    if let Some(rings) = gpu.rings(context.now_ns) {
        remove_abandoned(u64::try_from(context.now_ns).unwrap_or(0));
        sources.push(Box::new(rings));
    } else {
        let why = format!("by --gpu off, or because {LIBRARY} does not lie beside kvpath-agent");
        context.set(Subject::source("cupti"), RecordingState::Off, why);
    }
    let layouts = settings.layouts.clone().unwrap_or_else(kept::default_folder);
    let read = kept::all(&layouts).map_err(|error| AgentError::Folder { path: layouts.clone(), error });
    let (learned, wrong) = read?;
    for why in wrong {
        tracing::warn!("{why}");
    }
    context.facts.say("nixl", "builds.learned", format!("{} in {}", learned.len(), layouts.display()));
    sources.push(Box::new(Nixl::new(nixl, spares_confined, learned, context)));
    match Mooncake::start(spares_confined, !settings.is_without_room, context) {
        Ok(mooncake) => sources.push(Box::new(mooncake)),
        // Most hosts have NIXL alone.
        Err(error) => _ = context.set(Subject::source("mooncake"), RecordingState::Refused, error.to_string()),
    }
    for extra in OptionalSource::ALL.into_iter().filter(|extra| settings.asks_for(*extra)) {
        sources.push(match extra {
            OptionalSource::Ucx => Box::new(Ucx::start(context.now_ns)?),
            OptionalSource::Rdma => Box::new(Rdma::start()?),
            OptionalSource::Sockets => Box::new(SocketCalls::start(context.now_ns)?),
            OptionalSource::Sched => continue,
            OptionalSource::Telemetry => Box::new(Telemetry::start(context.now_ns)),
        });
    }
    if settings.is_without_scheduler {
        context.set(Subject::source("sched"), RecordingState::Off, "by --without sched");
    } else {
        match Scheduler::start(context) {
            Ok(scheduler) => sources.push(Box::new(scheduler)),
            Err(error) if settings.asks_for(OptionalSource::Sched) => return Err(error.into()),
            // Not asked for, and no loss: then what threads waited for is not known.
            Err(error) => _ = context.set(Subject::source("sched"), RecordingState::Off, error.to_string()),
        }
    }
    if let Some(clock) = &settings.clock {
        let key = clock::key(&clock.key);
        let key = key.map_err(|error| AgentError::ClockKey { path: clock.key.clone(), error })?;
        let source = ClockSource::start(clock, key, &settings.host());
        sources.push(Box::new(source.map_err(|error| AgentError::ClockListen { listen: clock.listen, error })?));
    }
    Ok(sources)
}
