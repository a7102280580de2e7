//! The NIXL libraries of a recording: each file is looked at and attached to once, whoever maps it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kvpath_schema::wire::nixl::Kind;

use crate::budget::Group;
use crate::capture::nixl::attach::{Attached, Examined, Programs, examine};
use crate::capture::nixl::builds;
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::elf::First;
use crate::error::AgentError;
use crate::seccomp;
use crate::segments::Facts;

struct Seen {
    library: Library,
    /// What is on it; `None`: left alone.
    probed: Option<Probed>,
}

struct Probed {
    examined: Examined,
    attached: Attached,
}

/// All libraries that were seen. They stay open, so that their inodes cannot be given to other files.
pub struct Libraries {
    seen: Vec<Seen>,
    /// Libraries that processes confined by seccomp map are left alone.
    spares_confined: bool,
    /// Groups that are off.
    shed: BTreeSet<Group>,
    /// The dearest first instruction under the probes of each kind.
    firsts: BTreeMap<Kind, First>,
}

impl Libraries {
    /// None yet.
    pub fn new(spares_confined: bool) -> Self {
        Self { seen: Vec::new(), spares_confined, shed: BTreeSet::new(), firsts: BTreeMap::new() }
    }

    /// The dearest first instruction under probes of that kind.
    pub fn first_of(&self, kind: Kind) -> First {
        self.firsts.get(&kind).copied().unwrap_or(First::Push)
    }

    /// Takes a group of probes off all of them, and leaves it off those to come.
    pub fn shed(&mut self, group: Group, programs: &mut Programs, facts: &mut Facts) {
        self.shed.insert(group);
        for (library, probed) in self.probed() {
            if let Err(error) = programs.detach_group(&mut probed.attached, group) {
                facts.say(
                    "nixl",
                    format!("library {}", library.path),
                    format!("{} cannot be taken off: {error}", group.name()),
                );
            }
        }
    }

    /// Puts it on again, on all libraries or on none; gives whether that is done.
    pub fn restore(&mut self, group: Group, programs: &mut Programs, facts: &mut Facts) -> bool {
        self.shed.remove(&group);
        let mut are_on = true;
        for (library, Probed { examined, attached }) in self.probed() {
            if let Err(error) = programs.attach_group(attached, library, examined, group) {
                facts.say("nixl", format!("library {}", library.path), format!("{} stay off: {error}", group.name()));
                are_on = false;
            }
        }
        if !are_on {
            // All or none: what is off is not counted against the budget, and would be attached twice the next time.
            self.shed(group, programs, facts);
        }
        are_on
    }

    fn probed(&mut self) -> impl Iterator<Item = (&Library, &mut Probed)> {
        self.seen.iter_mut().filter_map(|seen| Some((&seen.library, seen.probed.as_mut()?)))
    }

    /// Takes all probes off if one of these processes is confined and that would kill it.
    pub fn spare_confined(&mut self, pids: &[i32], programs: &mut Programs, facts: &mut Facts) {
        if self.spares_confined && pids.iter().any(|pid| seccomp::confines(*pid)) {
            for seen in &mut self.seen {
                seen.leave(programs, facts);
            }
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
        if !self.seen.iter().any(|seen| seen.library.is_same_below(&library)) {
            self.probe(library, examined, programs, facts);
        }
        Ok(())
    }

    /// A process maps a file whose name may be a NIXL library's. Gives whether it is one that is probed.
    pub fn mapped(&mut self, pid: i32, mapping: &Mapping, programs: &mut Programs, facts: &mut Facts) -> bool {
        let library = match Library::of_mapping(pid, mapping) {
            Ok(library) => library,
            Err(error) => {
                facts.say(
                    "nixl",
                    format!("library {} of pid {pid}", mapping.path),
                    format!("cannot be opened: {error}"),
                );
                return false;
            }
        };
        if self.spares_confined
            && seccomp::confines(pid)
            && let Some(seen) = self.seen.iter_mut().find(|seen| seen.library.is_same_below(&library))
        {
            seen.leave(programs, facts);
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
        if let Some(seen) = self.seen.iter().find(|seen| seen.library.is_same_below(&library)) {
            return seen.probed.is_some();
        }
        let examined = library.read().map_err(|error| error.to_string());
        match examined.and_then(|data| examine(&data).map_err(|error| error.to_string())) {
            Ok(examined) => self.probe(library, examined, programs, facts),
            Err(error) => {
                facts.say("nixl", format!("library {}", library.path), format!("probes off: {error}"));
                self.seen.push(Seen { library, probed: None });
                false
            }
        }
    }

    fn probe(&mut self, library: Library, examined: Examined, programs: &mut Programs, facts: &mut Facts) -> bool {
        let key = format!("library {}", library.path);
        let id = examined.build_id.as_deref().unwrap_or("none");
        let Some(nixl) = &examined.nixl else {
            let known = builds::known_releases();
            let text = format!("probes off: Build ID {id} is unknown; known releases of NIXL: {known}");
            eprintln!("kvpath-agent: {}: {text}", library.path);
            facts.say("nixl", key, text);
            self.seen.push(Seen { library, probed: None });
            return false;
        };
        if self.spares_confined && seccomp::confines_any() {
            eprintln!("kvpath-agent: {}: {}", library.path, seccomp::PROBES_OFF);
            facts.say("nixl", key, seccomp::PROBES_OFF);
            self.seen.push(Seen { library, probed: None });
            return false;
        }
        let attached = programs.attach(&library, &examined, &self.shed);
        match &attached {
            Ok(attached) => {
                let points = attached.points();
                facts.say("nixl", key, format!("NIXL {nixl}, Build ID {id}, {points} points attached"));
            }
            Err(error) => {
                eprintln!("kvpath-agent: {}: probes off: {error}", library.path);
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
            facts.say("nixl", format!("probe {} {short} {}", state.probe.kind.name(), library.path), text);
        }
        let probed = attached.ok().map(|attached| Probed { examined, attached });
        let is_probed = probed.is_some();
        self.seen.push(Seen { library, probed });
        is_probed
    }
}

impl Seen {
    /// Takes its probes off for the sake of a confined process.
    fn leave(&mut self, programs: &mut Programs, facts: &mut Facts) {
        let Some(probed) = self.probed.take() else {
            return;
        };
        let text = match programs.detach(probed.attached) {
            Ok(()) => seccomp::PROBES_OFF.to_owned(),
            Err(error) => format!("probes cannot be taken off: {error}"),
        };
        eprintln!("kvpath-agent: {}: {text}", self.library.path);
        facts.say("nixl", format!("library {}", self.library.path), text);
    }
}
