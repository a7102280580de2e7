//! The libraries that a source probes: each file is looked at and attached to once, whoever maps it.

use std::collections::{BTreeMap, BTreeSet};

use aya::Ebpf;
use aya::programs::uprobe::UProbeScope;

use crate::budget::Group;
use kvpath_schema::tables::capture::RecordingState;

use crate::capture::Context;
use crate::capture::error::AttachError;
use crate::capture::pairs::{AttachPoint, Links, Pair};
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::segments::Facts;
use crate::states::Subject;

/// A function to probe, and with which others it is taken off where probes cost too much; `None`: never.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Its group.
    pub group: Option<Group>,
    /// Where it is.
    pub spot: AttachPoint,
}

/// A library that was seen.
struct Tracked {
    /// Stays open, so that its inode cannot be given to another file.
    library: Library,
    /// `None`: left alone.
    probed: Option<Probed>,
}

#[derive(Default)]
struct Probed {
    probes: Vec<Probe>,
    links: BTreeMap<Option<Group>, Links>,
}

/// All libraries that a source has seen.
pub struct Libraries {
    source: &'static str,
    pair: Pair,
    tracked: Vec<Tracked>,
    /// Groups that are off.
    shed: BTreeSet<Group>,
}

impl Libraries {
    /// None yet; `pair` is on the functions of those to come.
    pub fn new(source: &'static str, pair: Pair) -> Self {
        Self { source, pair, tracked: Vec::new(), shed: BTreeSet::new() }
    }

    /// Opens the file behind a mapping; where that fails the run says so.
    pub fn open(&self, pid: i32, mapping: &Mapping, context: &mut Context) -> Option<Library> {
        Library::of_mapping(pid, mapping)
            .map_err(|error| {
                let key = format!("library {} of pid {pid}", mapping.path);
                context.facts.say(self.source, key, format!("cannot be opened: {error}"));
                let subject = Subject::library(self.source, mapping.path.as_str());
                context.set(subject, RecordingState::Unreadable, format!("cannot be opened, of pid {pid}: {error}"));
            })
            .ok()
    }

    /// Whether a library is probed; `None` if it was not seen before.
    pub fn is_probed(&self, library: &Library) -> Option<bool> {
        let tracked = self.tracked.iter().find(|tracked| tracked.library.is_same_below(library))?;
        Some(tracked.probed.is_some())
    }

    /// Attaches to a new library, but for the groups that are off. Gives the number of points.
    ///
    /// # Errors
    /// The kernel refuses; then nothing is attached, and the library is left alone.
    pub fn attach(&mut self, ebpf: &mut Ebpf, library: Library, probes: Vec<Probe>) -> Result<usize, AttachError> {
        let mut new = Probed { probes, ..Probed::default() };
        let groups: BTreeSet<Option<Group>> = new.probes.iter().map(|probe| probe.group).collect();
        let mut wanted = groups.into_iter().filter(|group| group.is_none_or(|group| !self.shed.contains(&group)));
        let outcome = wanted.try_for_each(|group| new.attach(self.pair, ebpf, &library, group));
        let points = new.links.values().map(|links| links.points).sum();
        let (kept, outcome) = match outcome {
            Ok(()) => (Some(new), Ok(points)),
            Err(error) => (None, new.detach(self.pair, ebpf).and(Err(error))),
        };
        self.tracked.push(Tracked { library, probed: kept });
        outcome
    }

    /// Remembers a new library that is not to be probed.
    pub fn leave(&mut self, library: Library) {
        self.tracked.push(Tracked { library, probed: None });
    }

    /// Takes all probes off those libraries, for good. Gives the path of each that had some, and what came of it.
    pub fn give_up(
        &mut self,
        ebpf: &mut Ebpf,
        which: impl Fn(&Library) -> bool,
    ) -> Vec<(String, Result<(), AttachError>)> {
        let Self { pair, tracked, .. } = self;
        let chosen = tracked.iter_mut().filter(|tracked| which(&tracked.library));
        let probed = chosen.filter_map(|tracked| Some((tracked.library.path.clone(), tracked.probed.take()?)));
        probed.map(|(path, probed)| (path, probed.detach(*pair, ebpf))).collect()
    }

    /// Takes a group of probes off all of them, and leaves it off those to come.
    pub fn shed(&mut self, ebpf: &mut Ebpf, group: Group, facts: &mut Facts) {
        self.shed.insert(group);
        let (source, pair) = (self.source, self.pair);
        for (library, probed) in self.probed() {
            let detached = probed.links.remove(&Some(group)).map_or(Ok(()), |links| pair.detach(ebpf, links));
            if let Err(error) = detached {
                let text = format!("{} cannot be taken off: {error}", group.name());
                facts.say(source, format!("library {}", library.path), text);
            }
        }
    }

    /// Puts it on again, on all libraries or on none.
    ///
    /// # Errors
    /// The kernel refuses; then it stays off.
    pub fn restore(&mut self, ebpf: &mut Ebpf, group: Group, facts: &mut Facts) -> Result<(), AttachError> {
        self.shed.remove(&group);
        let (source, pair) = (self.source, self.pair);
        let mut outcome = Ok(());
        for (library, probed) in self.probed() {
            if let Err(error) = probed.attach(pair, ebpf, library, Some(group)) {
                facts.say(source, format!("library {}", library.path), format!("{} stay off: {error}", group.name()));
                outcome = Err(error);
            }
        }
        if outcome.is_err() {
            // All or none: what is off is not counted against the budget, and would be attached twice the next time.
            self.shed(ebpf, group, facts);
        }
        outcome
    }

    fn probed(&mut self) -> impl Iterator<Item = (&Library, &mut Probed)> {
        self.tracked.iter_mut().filter_map(|tracked| Some((&tracked.library, tracked.probed.as_mut()?)))
    }
}

impl Probed {
    /// Attaches one group, for every process that maps the library now or later.
    fn attach(
        &mut self,
        pair: Pair,
        ebpf: &mut Ebpf,
        library: &Library,
        group: Option<Group>,
    ) -> Result<(), AttachError> {
        let spots: Vec<AttachPoint> =
            self.probes.iter().filter(|probe| probe.group == group).map(|probe| probe.spot).collect();
        let links = pair.attach(ebpf, &library.attach_path(), &spots, UProbeScope::AllProcesses)?;
        self.links.insert(group, links);
        Ok(())
    }

    fn detach(self, pair: Pair, ebpf: &mut Ebpf) -> Result<(), AttachError> {
        self.links.into_values().try_for_each(|links| pair.detach(ebpf, links))
    }
}
