//! The NIXL libraries of a recording: which are probed, and what the run says of each.

use std::collections::BTreeMap;
use std::path::Path;

use kvpath_schema::wire::nixl::Kind;

use super::attach::{Examined, PAIR, Programs, examine};
use super::builds;
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::elf::First;
use crate::error::AgentError;
use crate::libraries::Libraries;
use crate::seccomp;
use crate::segments::Facts;

/// All NIXL libraries that were seen.
pub struct NixlLibraries {
    /// What is on them.
    pub tracked: Libraries,
    /// Libraries that processes confined by seccomp map are left alone.
    spares_confined: bool,
    /// The dearest first instruction under the probes of each kind.
    firsts: BTreeMap<Kind, First>,
}

impl NixlLibraries {
    /// None yet.
    pub fn new(spares_confined: bool) -> Self {
        Self { tracked: Libraries::new("nixl", PAIR), spares_confined, firsts: BTreeMap::new() }
    }

    /// The dearest first instruction under probes of that kind.
    pub fn first_of(&self, kind: Kind) -> First {
        self.firsts.get(&kind).copied().unwrap_or(First::Push)
    }

    /// Takes all probes off if one of these processes is confined and that would kill it.
    pub fn spare_confined(&mut self, pids: &[i32], programs: &mut Programs, facts: &mut Facts) {
        if self.spares_confined && pids.iter().any(|pid| seccomp::confines(*pid)) {
            self.give_up(|_| true, programs, facts);
        }
    }

    /// A library that the command line names.
    ///
    /// # Errors
    /// It cannot be opened or is no ELF file.
    pub fn named(&mut self, path: &Path, programs: &mut Programs, facts: &mut Facts) -> Result<(), AgentError> {
        let library = Library::open(path).map_err(|error| AgentError::Library { path: path.to_owned(), error })?;
        let data = library.read().map_err(|error| AgentError::Library { path: path.to_owned(), error })?;
        let examined = examine(&data).map_err(|error| AgentError::NotALibrary { path: path.to_owned(), error })?;
        if self.tracked.is_probed(&library).is_none() {
            self.probe(library, &examined, programs, facts);
        }
        Ok(())
    }

    /// A process maps a file whose name may be a NIXL library's. Gives whether it is one that is probed.
    pub fn mapped(&mut self, pid: i32, mapping: &Mapping, programs: &mut Programs, facts: &mut Facts) -> bool {
        let Some(library) = self.tracked.open(pid, mapping, facts) else { return false };
        if self.spares_confined && seccomp::confines(pid) {
            self.give_up(|tracked| tracked.is_same_below(&library), programs, facts);
        }
        let is_probed = self.found(library, programs, facts);
        // The plugin is mapped later, when a backend is made: being early costs nothing and misses nothing.
        if is_probed && mapping.file_name().starts_with("libnixl") {
            let plugin = Path::new(&mapping.path).with_file_name("plugins/libplugin_UCX.so");
            if let Ok(plugin) = Library::in_root_of(pid, &plugin) {
                self.found(plugin, programs, facts);
            }
        }
        is_probed
    }

    fn found(&mut self, library: Library, programs: &mut Programs, facts: &mut Facts) -> bool {
        if let Some(is_probed) = self.tracked.is_probed(&library) {
            return is_probed;
        }
        let examined = library.read().map_err(|error| error.to_string());
        match examined.and_then(|data| examine(&data).map_err(|error| error.to_string())) {
            Ok(examined) => self.probe(library, &examined, programs, facts),
            Err(error) => {
                facts.say("nixl", format!("library {}", library.path), format!("probes off: {error}"));
                self.tracked.leave(library);
                false
            }
        }
    }

    fn probe(&mut self, library: Library, examined: &Examined, programs: &mut Programs, facts: &mut Facts) -> bool {
        let path = library.path.clone();
        let key = format!("library {path}");
        let id = examined.build_id.as_deref().unwrap_or("none");
        let Some(nixl) = &examined.nixl else {
            let known = builds::known_releases();
            let text = format!("probes off: Build ID {id} is unknown; known releases of NIXL: {known}");
            eprintln!("kvpath-agent: {path}: {text}");
            facts.say("nixl", key, text);
            self.tracked.leave(library);
            return false;
        };
        if self.spares_confined && seccomp::confines_any() {
            eprintln!("kvpath-agent: {path}: {}", seccomp::PROBES_OFF);
            facts.say("nixl", key, seccomp::PROBES_OFF);
            self.tracked.leave(library);
            return false;
        }
        let attached = self.tracked.attach(programs.ebpf(), library, examined.probes_to_attach());
        match &attached {
            Ok(points) => facts.say("nixl", key, format!("NIXL {nixl}, Build ID {id}, {points} points attached")),
            Err(error) => {
                eprintln!("kvpath-agent: {path}: probes off: {error}");
                facts.say("nixl", key, format!("NIXL {nixl}, Build ID {id}, probes off: {error}"));
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
            facts.say("nixl", format!("probe {} {short} {path}", state.probe.kind.name()), text);
        }
        attached.is_ok()
    }

    /// Takes all probes off libraries for the sake of a confined process.
    fn give_up(&mut self, which: impl Fn(&Library) -> bool, programs: &mut Programs, facts: &mut Facts) {
        for (path, outcome) in self.tracked.give_up(programs.ebpf(), which) {
            let text = match outcome {
                Ok(()) => seccomp::PROBES_OFF.to_owned(),
                Err(error) => format!("probes cannot be taken off: {error}"),
            };
            eprintln!("kvpath-agent: {path}: {text}");
            facts.say("nixl", format!("library {path}"), text);
        }
    }
}
