//! The NIXL libraries of a recording: which are probed, and what the run says of each.

mod layouts;

use std::collections::BTreeMap;
use std::path::Path;

use kvpath_schema::tables::capture::{RecordingState, SubjectKind};
use kvpath_schema::wire::nixl::Kind;

use layouts::Assumed;

use super::attach::{PAIR, Programs};
use super::builds;
use super::examine::{Basis, Examined, examine};
use crate::capture::Context;
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::elf::First;
use crate::error::AgentError;
use crate::learn::kept::Learned;
use crate::libraries::Libraries;
use crate::seccomp;
use crate::states::Subject;

/// All NIXL libraries that were seen.
pub struct NixlLibraries {
    /// What is on them.
    pub tracked: Libraries,
    /// Libraries that processes confined by seccomp map are left alone.
    spares_confined: bool,
    /// The dearest first instruction under the probes of each kind.
    firsts: BTreeMap<Kind, First>,
    assumed: Vec<Assumed>,
    /// Builds that were learned, and by Build ID the indices of those that are there.
    learned: Vec<Learned>,
    recalled: BTreeMap<String, u32>,
}

impl NixlLibraries {
    /// None yet.
    pub fn new(spares_confined: bool, learned: Vec<Learned>) -> Self {
        Self {
            tracked: Libraries::new("nixl", PAIR),
            spares_confined,
            firsts: BTreeMap::new(),
            assumed: Vec::new(),
            learned,
            recalled: BTreeMap::new(),
        }
    }

    /// The dearest first instruction under probes of that kind.
    pub fn first_of(&self, kind: Kind) -> First {
        self.firsts.get(&kind).copied().unwrap_or(First::Push)
    }

    /// Takes all probes off if one of these processes is confined and that would kill it.
    pub fn spare_confined(&mut self, pids: &[i32], programs: &mut Programs, context: &mut Context) {
        if self.spares_confined && pids.iter().any(|pid| seccomp::confines(*pid)) {
            self.spare(|_| true, programs, context);
        }
    }

    /// A library that the command line names.
    ///
    /// # Errors
    /// It cannot be opened or is no ELF file.
    pub fn named(&mut self, path: &Path, programs: &mut Programs, context: &mut Context) -> Result<(), AgentError> {
        let library = Library::open(path).map_err(|error| AgentError::Library { path: path.to_owned(), error })?;
        let data = library.read().map_err(|error| AgentError::Library { path: path.to_owned(), error })?;
        let examined = examine(&library, &data, &self.learned)
            .map_err(|error| AgentError::NotALibrary { path: path.to_owned(), error })?;
        if self.tracked.is_probed(&library).is_none() {
            self.probe(library, &examined, programs, context);
        }
        Ok(())
    }

    /// A process maps a file whose name may be a NIXL library's. Gives whether it is one that is probed.
    pub fn mapped(&mut self, pid: i32, mapping: &Mapping, programs: &mut Programs, context: &mut Context) -> bool {
        let Some(library) = self.tracked.open(pid, mapping, context) else { return false };
        if self.spares_confined && seccomp::confines(pid) {
            self.spare(|tracked| tracked.is_same_below(&library), programs, context);
        }
        let is_probed = self.found(library, programs, context);
        // The plugin is mapped later, when a backend is made: being early costs nothing and misses nothing.
        if is_probed && mapping.file_name().starts_with("libnixl") {
            let plugin = Path::new(&mapping.path).with_file_name("plugins/libplugin_UCX.so");
            if let Ok(plugin) = Library::in_root_of(pid, &plugin) {
                self.found(plugin, programs, context);
            }
        }
        is_probed
    }

    fn found(&mut self, library: Library, programs: &mut Programs, context: &mut Context) -> bool {
        if let Some(is_probed) = self.tracked.is_probed(&library) {
            return is_probed;
        }
        let examined = library.read().map_err(|error| error.to_string());
        match examined.and_then(|data| examine(&library, &data, &self.learned).map_err(|error| error.to_string())) {
            Ok(examined) => self.probe(library, &examined, programs, context),
            Err(error) => {
                context.facts.say("nixl", format!("library {}", library.path), format!("probes off: {error}"));
                context.set(Subject::library("nixl", library.path.as_str()), RecordingState::Unreadable, error);
                self.tracked.leave(library);
                false
            }
        }
    }

    fn probe(&mut self, library: Library, examined: &Examined, programs: &mut Programs, context: &mut Context) -> bool {
        let path = library.path.clone();
        let (key, subject) = (format!("library {path}"), Subject::library("nixl", path.as_str()));
        let id = examined.build_id.as_deref().unwrap_or("none");
        let (layout, nixl) = match self.layout_of(examined, programs) {
            Ok(layout) => (layout, examined.basis.nixl().unwrap_or_default()),
            Err((state, why)) => {
                let text = format!("Build ID {id} is unknown, and {why}");
                context.facts.say("nixl", key, format!("probes off: {text}"));
                context.set(subject, state, format!("{text}; {}", builds::LEARN));
                self.tracked.leave(library);
                return false;
            }
        };
        if self.spares_confined && seccomp::confines_any() {
            context.facts.say("nixl", key, format!("probes off: {}", seccomp::WOULD_KILL));
            context.set(subject, RecordingState::Spared, seccomp::WOULD_KILL);
            self.tracked.leave(library);
            return false;
        }
        let file = library.id;
        let attached = self.tracked.attach(programs.ebpf(), library, examined.probes_to_attach(layout));
        match &attached {
            Ok(points) => {
                let assumed = self.assumed.iter_mut().find(|assumed| assumed.layout == layout);
                let how = match examined.basis {
                    Basis::Release { .. } => ", layout assumed",
                    Basis::Learned { .. } => ", layout measured",
                    _ => "",
                };
                context.facts.say("nixl", key, format!("NIXL {nixl}, Build ID {id}{how}, {points} points attached"));
                let how = match examined.basis {
                    Basis::Release { .. } => ": this build is in no table, its layout is assumed",
                    Basis::Learned { .. } => ": this build is in no table, its layout was learned",
                    _ => "",
                };
                context.set(subject, RecordingState::Recording, format!("NIXL {nixl}, {points} points{how}"));
                if let Some(assumed) = assumed {
                    assumed.libraries.push((file, path.clone(), *points));
                }
            }
            Err(error) => {
                context.facts.say("nixl", key, format!("NIXL {nixl}, Build ID {id}, probes off: {error}"));
                context.set(subject, RecordingState::Refused, error.to_string());
            }
        }
        for state in &examined.probes {
            let text = match (&state.point, &attached) {
                (Ok(point), Ok(_)) => format!("on at {:#x}, first instruction {}", point.offset, point.first.name()),
                (Ok(_), Err(error)) => format!("off: {error}"),
                (Err(error), _) => format!("off: {error}"),
            };
            if let (Ok(point), Ok(_)) = (&state.point, &attached) {
                let first = self.firsts.entry(state.probe.kind.wire()).or_insert(point.first);
                *first = (*first).max(point.first);
            }
            let short = state.probe.symbol.split_at(state.probe.symbol.len().min(40)).0;
            let name = format!("{} {short} {path}", state.probe.kind.name());
            context.facts.say("nixl", format!("probe {name}"), text);
            if let (Err(error), Ok(_)) = (&state.point, &attached) {
                let subject = Subject::new("nixl", SubjectKind::Probe, name);
                context.set(subject, RecordingState::Unavailable, error.to_string());
            }
        }
        attached.is_ok()
    }

    /// Takes all probes off libraries for the sake of a confined process.
    fn spare(&mut self, which: impl Fn(&Library) -> bool, programs: &mut Programs, context: &mut Context) {
        self.give_up(which, RecordingState::Spared, seccomp::WOULD_KILL, seccomp::WOULD_KILL, programs, context);
    }

    /// Takes all probes off libraries, and says why.
    fn give_up(
        &mut self,
        which: impl Fn(&Library) -> bool,
        state: RecordingState,
        why: &str,
        reason: &str,
        programs: &mut Programs,
        context: &mut Context,
    ) {
        for (path, outcome) in self.tracked.give_up(programs.ebpf(), which) {
            let key = format!("library {path}");
            match outcome {
                Ok(()) => {
                    context.facts.say("nixl", key, format!("probes off: {why}"));
                    context.set(Subject::library("nixl", path), state, reason);
                }
                Err(error) => {
                    tracing::error!("{path}: probes cannot be taken off: {error}");
                    context.facts.say("nixl", key, format!("probes cannot be taken off: {error}"));
                }
            }
        }
    }
}
