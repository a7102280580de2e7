//! A recording: the loop from sources to segments.

mod child;
mod folder;
mod keeper;
mod recorder;
mod summary;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use kvpath_schema::segment::{CLOCK_MONOTONIC, RunWriter};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::budget;
use crate::capture::cupti::plan::Plan;
use crate::capture::nixl::attach::Programs;
use crate::capture::{Context, registry};
use crate::error::AgentError;
use crate::host;
use crate::privileges::Privileges;
use crate::seccomp;
use crate::segments::Segments;
use crate::settings::Settings;
use crate::system::{Clock, now_ns};
use child::Child;
use keeper::Keeper;
use recorder::Recorder;

/// Program and version.
const WRITER: &str = concat!("kvpath-agent ", env!("CARGO_PKG_VERSION"));

/// Records as the settings say. The exit code is 1 if the recorded command failed, or if something that was there was left out: a
/// library of an unknown build, or a ring that another agent reads.
///
/// # Errors
/// Recording cannot begin, or the run cannot be written.
pub fn run(settings: &Settings) -> Result<ExitCode, AgentError> {
    if !host::sees_all_pids() {
        return Err(AgentError::PidNamespace);
    }
    let missing = Privileges::own().missing();
    if !missing.is_empty() {
        return Err(AgentError::Privileges { missing: missing.join(" and ") });
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| AgentError::System { what: "signal handler", error })?;
    }
    let wall = now_ns(Clock::Wall);
    let folder = folder::prepare(settings.out.as_deref(), &host::utc(wall))?;
    if matches!(is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation), Ok(false)) {
        return Err(AgentError::Kernel);
    }
    let mut programs = Programs::load()?;
    let confined = seccomp::attempt(&mut programs);
    let spares_confined = !confined.is_spared();
    let costs = budget::measure(&mut programs, spares_confined)?;
    let gpu = Plan::of(settings)?;
    let now = now_ns(Clock::Monotonic);
    let writer = RunWriter::new(&folder.path, &settings.host(), WRITER, Some(wall - now));
    let mut context = Context::new(now, Segments::new(writer).in_background());
    context.facts.say("capture", "return_probes_and_seccomp", confined.to_string());
    introduce(settings, &mut context);
    let mut sources = registry::start(settings, &gpu, programs, spares_confined, &mut context)?;
    let keeper = Keeper::new(costs, settings.max_overhead, &mut sources, &mut context);
    let mut recorder = Recorder::new(sources, keeper, context);
    recorder.begin(settings)?;
    // Written before the command starts: from then on the loop must be quick, or it misses the first calls.
    recorder.write()?;
    let child = if settings.command.is_empty() {
        None
    } else {
        let spawned = Child::spawn(&settings.command, &gpu.variables()).inspect_err(|_| {
            // What is written in the background would lie there after it.
            recorder.give_up();
            folder.clear();
        });
        Some(spawned?)
    };
    recorder.run(settings, child, &stop)
}

/// States what is known of the recording before it begins.
fn introduce(settings: &Settings, context: &mut Context) {
    let facts = &mut context.facts;
    facts.say("capture", "writer", WRITER);
    facts.say("capture", "kernel", host::kernel());
    facts.say("capture", "host", settings.host());
    facts.say("capture", "clock", CLOCK_MONOTONIC);
    facts.say("capture", "wall_at_zero_ns", (now_ns(Clock::Wall) - now_ns(Clock::Monotonic)).to_string());
    facts.say("capture", "started_ns", now_ns(Clock::Monotonic).to_string());
    facts.say("nixl", "setting.segment_ns", recorder::SEGMENT_NS.to_string());
}
