//! What a library is, and where its probes go.

use kvpath_schema::wire::nixl::Cookie;

use super::builds::{self, LayoutEntry};
use super::release::{self, Release};
use super::shape;
use crate::capture::pairs::AttachPoint;
use crate::discover::library::{FileId, Library};
use crate::elf::{Elf, ElfError, Point};
use crate::learn::kept::Learned;
use crate::libraries::Probe;

/// What became of one probe.
#[derive(Debug, Clone)]
pub struct ProbeState {
    /// The probe.
    pub probe: &'static builds::Probe,
    /// Where it goes, or why it cannot.
    pub point: Result<Point, ElfError>,
}

/// A library that could be probed.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Build ID, if the file has one.
    pub build_id: Option<String>,
    /// Which build it is.
    pub basis: Basis,
    /// Its probes; none for an unknown build.
    pub probes: Vec<ProbeState>,
}

/// What is known of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// Its build is in the table.
    Table {
        /// Index of its layout.
        layout: u32,
        /// Releases of NIXL that hold it.
        nixl: String,
    },
    /// Its build is not, but it looks like this release, whose layout it should have.
    Release {
        /// Index of that layout.
        layout: u32,
        /// What it says of itself.
        release: Release,
        /// The file that says so.
        from: FileId,
    },
    /// Its build is not, but was learned on this host or another.
    Learned {
        /// Build ID of `libnixl.so`; its plugin has another.
        build_id: String,
        /// What it says of itself.
        nixl: String,
        /// Its layout.
        layout: LayoutEntry,
    },
    /// Nothing, and why.
    Unknown(String),
}

impl Basis {
    /// The release of NIXL, for people.
    pub fn nixl(&self) -> Option<String> {
        match self {
            Self::Table { nixl, .. } | Self::Learned { nixl, .. } => Some(nixl.clone()),
            Self::Release { release, .. } => Some(release.to_string()),
            Self::Unknown(_) => None,
        }
    }
}

/// Looks into a library, without touching it; `learned` are builds that are not in the table.
///
/// # Errors
/// It is not an ELF file.
pub fn examine(library: &Library, data: &[u8], learned: &[Learned]) -> Result<Examined, ElfError> {
    let elf = Elf::parse(data)?;
    let build_id = elf.build_id();
    if let Some(known) = build_id.as_deref().and_then(builds::find) {
        let state = |probe: &'static builds::Probe| ProbeState { probe, point: elf.entry(&probe.symbol) };
        let basis = Basis::Table { layout: known.layout, nixl: known.build.nixl() };
        return Ok(Examined { build_id, basis, probes: known.probes().map(state).collect() });
    }
    let known = build_id.as_deref().and_then(|id| learned.iter().find_map(|one| Some((one, one.functions_of(id)?))));
    let looked = known.map_or_else(|| assume(library, &elf), |(learned, functions)| recall(learned, functions, &elf));
    let (basis, probes) = looked.unwrap_or_else(|why| (Basis::Unknown(why), Vec::new()));
    Ok(Examined { build_id, basis, probes })
}

/// What was learned of a build, if it looks like that.
fn recall(
    learned: &Learned,
    (library, functions): (&str, &str),
    elf: &Elf<'_>,
) -> Result<(Basis, Vec<ProbeState>), String> {
    let Learned { build_id, nixl, layout, .. } = learned;
    let unknown = || format!("it was learned with functions of {functions}, which are not known");
    let abi = builds::abi(functions).ok_or_else(unknown)?;
    let probes = shape::fits(elf, abi, library).map_err(|why| format!("it is not what was learned: {why}"))?;
    Ok((Basis::Learned { build_id: build_id.clone(), nixl: nixl.clone(), layout: *layout }, probes))
}

/// What a build that the table does not know should be by what it says of itself, if it looks like that.
fn assume(library: &Library, elf: &Elf<'_>) -> Result<(Basis, Vec<ProbeState>), String> {
    let (release, from) = release::of(library)?;
    let name = library.path.rsplit('/').next().and_then(builds::library_of);
    let name = name.ok_or_else(|| "it is not named as a library of NIXL that is probed".to_owned())?;
    // A plugin may be that of an earlier release; the libraries of an installation share the layout of its `libnixl.so`.
    let abis = ["libnixl.so", name].map(|name| builds::abi_of(&release.version, name));
    let [Some(layout), Some(functions)] = abis else {
        let known = builds::known_releases();
        return Err(format!("it says that it is NIXL {release}, which is not known either; known releases: {known}"));
    };
    let not_so = |why| format!("it says that it is NIXL {release}, but does not look like that: {why}");
    let probes = shape::fits(elf, functions, name).map_err(not_so)?;
    Ok((Basis::Release { layout, release, from }, probes))
}

impl Examined {
    /// What to attach to: the probes whose functions were found, with that layout.
    pub fn probes_to_attach(&self, layout: u32) -> Vec<Probe> {
        let found = self.probes.iter().filter_map(|state| Some((state.probe.kind, state.point.as_ref().ok()?)));
        found
            .map(|(kind, point)| {
                let cookie = Cookie { kind: kind.wire() as u32, layout }.to_u64();
                let spot = AttachPoint { offset: point.offset, cookie, has_return: kind.has_return() };
                Probe { group: Some(kind.group()), spot }
            })
            .collect()
    }
}
