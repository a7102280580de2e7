//! The table of known builds, `builds.toml`.

use std::sync::LazyLock;

use kvpath_schema::wire::nixl::{Kind, Layout};
use serde::{Deserialize, Serialize};

use crate::budget::Group;
use crate::discover::library::is_named;

/// A function to probe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// File name of the library that exports it.
    pub library: String,
    /// What a hit means.
    pub kind: ProbeKind,
    /// Mangled name.
    pub symbol: String,
}

/// What a hit of a probe means; the names in `builds.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// An agent is being made.
    Agent,
    /// Memory is being registered.
    Regions,
    /// A handle is being made from prepared lists, arguments as spans.
    MakeSpan,
    /// A handle is being made from prepared lists, arguments as vectors.
    MakeVector,
    /// A handle is being made from plain lists.
    Create,
    /// A handle is being posted.
    Post,
    /// A handle is being polled.
    Status,
    /// A handle is being released.
    Release,
    /// A notification is being sent.
    NotifSent,
    /// A notification has arrived.
    NotifArrived,
    /// The same, in a function that may pass it on to one that is probed as [`Self::NotifArrived`].
    NotifPassed,
    /// Notifications are being taken.
    NotifTaken,
    /// A list is being prepared, a descriptor a block.
    Prepare,
    /// A list is being prepared, a descriptor for blocks at a constant distance.
    PrepareStrided,
    /// What a peer says of itself is being loaded.
    LoadMd,
    /// A connection is being made.
    Connect,
    /// What a peer says of itself is being fetched.
    FetchMd,
    /// What an agent says of itself is being sent.
    SendMd,
    /// A peer is being forgotten.
    InvalidateMd,
    /// Memory is being deregistered.
    Deregister,
}

impl ProbeKind {
    /// How the BPF programs call it.
    pub fn wire(self) -> Kind {
        match self {
            Self::Agent => Kind::Agent,
            Self::Regions => Kind::Regions,
            Self::MakeSpan => Kind::MakeSpan,
            Self::MakeVector => Kind::MakeVector,
            Self::Create => Kind::Create,
            Self::Post => Kind::Post,
            Self::Status => Kind::Status,
            Self::Release => Kind::Release,
            Self::NotifSent => Kind::NotifSent,
            Self::NotifArrived => Kind::NotifArrived,
            Self::NotifPassed => Kind::NotifPassed,
            Self::NotifTaken => Kind::NotifTaken,
            Self::Prepare => Kind::Prepare,
            Self::PrepareStrided => Kind::PrepareStrided,
            Self::LoadMd => Kind::LoadMd,
            Self::Connect => Kind::Connect,
            Self::FetchMd => Kind::FetchMd,
            Self::SendMd => Kind::SendMd,
            Self::InvalidateMd => Kind::InvalidateMd,
            Self::Deregister => Kind::Deregister,
        }
    }

    /// With which others it is taken off where probes cost too much.
    pub fn group(self) -> Group {
        Group::of(self.wire())
    }

    /// Whether the function's return is probed too.
    pub fn has_return(self) -> bool {
        !matches!(self, Self::Agent | Self::NotifSent | Self::NotifArrived | Self::NotifPassed)
    }

    /// As `builds.toml` and people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Regions => "regions",
            Self::MakeSpan => "make_span",
            Self::MakeVector => "make_vector",
            Self::Create => "create",
            Self::Post => "post",
            Self::Status => "status",
            Self::Release => "release",
            Self::NotifSent => "notif_sent",
            Self::NotifArrived => "notif_arrived",
            Self::NotifPassed => "notif_passed",
            Self::NotifTaken => "notif_taken",
            Self::Prepare => "prepare",
            Self::PrepareStrided => "prepare_strided",
            Self::LoadMd => "load_md",
            Self::Connect => "connect",
            Self::FetchMd => "fetch_md",
            Self::SendMd => "send_md",
            Self::InvalidateMd => "invalidate_md",
            Self::Deregister => "deregister",
        }
    }
}

/// Whether a handle holds its descriptor lists or points to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// It holds them.
    Inline,
    /// It points to them.
    Pointer,
}

/// [`Layout`] as it stands in the table, and in files of what was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutEntry {
    pub handle_lists: Lists,
    pub handle_local: u32,
    pub handle_remote: u32,
    pub handle_peer: u32,
    pub handle_notif: u32,
    pub handle_has_notif: u32,
    pub handle_op: u32,
    pub handle_status: u32,
    pub handle_bytes: Option<u32>,
    pub list_memory: u32,
    pub list_begin: u32,
    pub meta_bytes: u32,
    pub basic_bytes: u32,
    pub strided_bytes: Option<u32>,
    pub blob_bytes: u32,
}

/// Beyond this no member of a handle or list lies, bytes.
const FARTHEST: u32 = 4096;

impl LayoutEntry {
    /// Whether a layout can be one, wherever it comes from.
    ///
    /// # Errors
    /// What in it cannot be.
    pub fn check(&self) -> Result<(), String> {
        let members = [
            ("handle_local", self.handle_local),
            ("handle_remote", self.handle_remote),
            ("handle_peer", self.handle_peer),
            ("handle_notif", self.handle_notif),
            ("handle_has_notif", self.handle_has_notif),
            ("handle_op", self.handle_op),
            ("handle_status", self.handle_status),
            ("handle_bytes", self.handle_bytes.unwrap_or(8)),
            ("list_memory", self.list_memory),
            ("list_begin", self.list_begin),
        ];
        if let Some((name, at)) = members.into_iter().find(|(_, at)| *at == 0 || *at > FARTHEST) {
            return Err(format!("{name} = {at} is no place in a handle or list"));
        }
        // Of lists of handles as many descriptors are recorded as records of 32 bytes hold.
        if self.meta_bytes != 32 {
            return Err(format!("meta_bytes = {} is not 32, which the agent counts on", self.meta_bytes));
        }
        let elements = [
            ("basic_bytes", self.basic_bytes, 24),
            ("blob_bytes", self.blob_bytes, 24),
            ("strided_bytes", self.strided_bytes.unwrap_or(40), 40),
        ];
        match elements.into_iter().find(|(_, bytes, least)| !(*least..=256).contains(bytes)) {
            Some((name, bytes, _)) => Err(format!("{name} = {bytes} is no size of an element")),
            None => Ok(()),
        }
    }

    /// For the BPF programs.
    pub fn to_layout(self) -> Layout {
        Layout {
            handle_pointers: u32::from(self.handle_lists == Lists::Pointer),
            handle_local: self.handle_local,
            handle_remote: self.handle_remote,
            handle_peer: self.handle_peer,
            handle_notif: self.handle_notif,
            handle_has_notif: self.handle_has_notif,
            handle_op: self.handle_op,
            handle_status: self.handle_status,
            handle_bytes: self.handle_bytes.unwrap_or(0),
            list_memory: self.list_memory,
            list_begin: self.list_begin,
            meta_bytes: self.meta_bytes,
            basic_bytes: self.basic_bytes,
            strided_bytes: self.strided_bytes.unwrap_or(0),
            blob_bytes: self.blob_bytes,
            judged: 0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Abi {
    name: String,
    layout: LayoutEntry,
    probe: Vec<Probe>,
}

/// One library of one release.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// File name.
    pub library: String,
    /// Build ID, hexadecimal.
    #[serde(rename = "build_id")]
    pub id: String,
    /// Releases of NIXL that hold it, oldest first.
    pub releases: Vec<String>,
    abi: String,
}

impl Build {
    /// Its releases, for messages.
    pub fn nixl(&self) -> String {
        self.releases.join(" or ")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    abi: Vec<Abi>,
    build: Vec<Build>,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("builds.toml")).expect("a unit test reads the embedded table"));

/// A build with what its ABI says.
#[derive(Debug, Clone, Copy)]
pub struct KnownBuild {
    /// The build.
    pub build: &'static Build,
    /// Index of its ABI: the index of its layout in the BPF map.
    pub layout: u32,
}

impl KnownBuild {
    /// The functions to probe in this library.
    pub fn probes(self) -> impl Iterator<Item = &'static Probe> {
        probes(self.layout, &self.build.library)
    }
}

/// The functions to probe in a library of that ABI.
pub fn probes(abi: u32, library: &str) -> impl Iterator<Item = &'static Probe> {
    let abi = TABLE.abi.get(abi as usize);
    abi.into_iter().flat_map(|abi| &abi.probe).filter(move |probe| probe.library == library)
}

/// The ABI that a library of a release has in every build of the table.
pub fn abi_of(release: &str, library: &str) -> Option<u32> {
    let is_it = |build: &&Build| build.library == library && build.releases.iter().any(|known| known == release);
    let mut names = TABLE.build.iter().filter(is_it).map(|build| &build.abi);
    let name = names.next()?;
    let abi = TABLE.abi.iter().position(|abi| abi.name == *name)?;
    if names.all(|other| other == name) { u32::try_from(abi).ok() } else { None }
}

/// How many ABIs the table has.
pub fn abis() -> u32 {
    u32::try_from(TABLE.abi.len()).unwrap_or(0)
}

/// The name of an ABI.
pub fn abi_name(abi: u32) -> Option<&'static str> {
    TABLE.abi.get(abi as usize).map(|abi| abi.name.as_str())
}

/// The ABI of that name.
pub fn abi(name: &str) -> Option<u32> {
    u32::try_from(TABLE.abi.iter().position(|abi| abi.name == name)?).ok()
}

/// The function that prepares lists with strides.
pub fn strided_symbol() -> &'static str {
    let mut probes = TABLE.abi.iter().flat_map(|abi| &abi.probe);
    probes.find(|probe| probe.kind == ProbeKind::PrepareStrided).map_or("", |probe| probe.symbol.as_str())
}

/// The name in the table of a library whose file name may hold a hash.
pub fn library_of(file_name: &str) -> Option<&'static str> {
    let stems = [("libnixl", "libnixl.so"), ("libplugin_UCX", "libplugin_UCX.so")];
    stems.into_iter().find(|(stem, _)| is_named(file_name, stem, ".so")).map(|(_, library)| library)
}

/// The build with that Build ID.
pub fn find(build_id: &str) -> Option<KnownBuild> {
    let build = TABLE.build.iter().find(|build| build.id == build_id)?;
    let layout = TABLE.abi.iter().position(|abi| abi.name == build.abi)?;
    Some(KnownBuild { build, layout: u32::try_from(layout).ok()? })
}

/// Releases of NIXL that are known, oldest first, for messages.
pub fn known_releases() -> String {
    let number = |release: &str| release.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect::<Vec<_>>();
    let mut releases: Vec<&str> = TABLE.build.iter().flat_map(|build| &build.releases).map(String::as_str).collect();
    releases.sort_unstable_by_key(|release| number(release));
    releases.dedup();
    releases.join(", ")
}

/// What to do about a library whose build is not known.
pub const UNKNOWN_CURE: &str = "nothing of it will be recorded: use a known release, or a kvpath-agent that knows this build (docs/builds.md, builds-mooncake.md)";
/// The same of NIXL.
pub const LEARN: &str = "nothing of it will be recorded: `kvpath-agent learn PID|FILE` finds out what is needed, by running it in a process that can reach nothing; or use a known release (docs/builds.md)";

/// All layouts, in the order of [`KnownBuild::layout`].
pub fn layouts() -> Vec<Layout> {
    TABLE.abi.iter().map(|abi| abi.layout.to_layout()).collect()
}

/// Whether a file of that name may be a library of NIXL that has probes: wheels that bundle libraries put a hash into
/// their names.
pub fn is_candidate(file_name: &str) -> bool {
    library_of(file_name).is_some()
}

/// The layout of an ABI.
#[cfg(test)]
pub fn layout_entry(abi: u32) -> Option<LayoutEntry> {
    TABLE.abi.get(abi as usize).map(|abi| abi.layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::wire::nixl::{DESCRIPTOR_BYTES, DESCRIPTOR_LIMIT, DESCRIPTOR_RECORDS, LAYOUTS, REGION_BYTES};

    #[test]
    fn the_embedded_table_is_consistent() {
        assert!(TABLE.abi.len() <= LAYOUTS as usize);
        for build in &TABLE.build {
            assert_eq!(build.id.len(), 40, "{}", build.id);
            let known = find(&build.id).expect("its ABI is in the table");
            assert_eq!(known.build.library, build.library, "Build ID {} is there twice", build.id);
            assert!(known.probes().count() > 0, "{} {} has no probes", build.library, build.nixl());
            assert!(!build.releases.is_empty(), "{} has no release", build.id);
            assert!(is_candidate(&build.library));
        }
        for abi in &TABLE.abi {
            assert_eq!(abi.layout.check(), Ok(()), "{}", abi.name);
            assert_ne!(abi.layout.handle_bytes, Some(0), "{}: 0 says that there is none", abi.name);
            let has_strides = abi.probe.iter().any(|probe| probe.kind == ProbeKind::PrepareStrided);
            assert_eq!(abi.layout.strided_bytes.is_some_and(|bytes| bytes >= 40), has_strides, "{}", abi.name);
        }
        for layout in layouts() {
            for element in [layout.meta_bytes, layout.basic_bytes, layout.blob_bytes] {
                assert!((24..=256).contains(&element), "address, size and device take 24 bytes");
            }
            assert!(layout.blob_bytes as usize <= REGION_BYTES);
            let recorded = u64::from(DESCRIPTOR_RECORDS) * (DESCRIPTOR_BYTES as u64 / u64::from(layout.meta_bytes));
            assert_eq!(recorded, DESCRIPTOR_LIMIT, "elements of {} bytes need another limit", layout.meta_bytes);
        }
    }

    #[test]
    fn an_unknown_build_is_not_found() {
        assert!(find("0000000000000000000000000000000000000000").is_none());
        assert!(find("").is_none());
    }

    #[test]
    fn every_release_of_the_table_has_one_abi() {
        for release in known_releases().split(", ") {
            let (nixl, plugin) = (abi_of(release, "libnixl.so"), abi_of(release, "libplugin_UCX.so"));
            assert!(nixl.is_some() && plugin.is_some(), "{release}: {nixl:?} {plugin:?}");
        }
        assert_eq!((abi_of("1.6.0", "libnixl.so"), abi_of("1.5.1", "libc.so")), (None, None));
    }

    #[test]
    fn releases_are_listed_oldest_first() {
        let releases = known_releases();
        assert!(releases.starts_with("0.10.0, 0.10.1, 1.0.0, ") && releases.ends_with(", 1.5.0, 1.5.1"), "{releases}");
    }

    /// `./x builds` writes both.
    #[test]
    fn the_page_lists_the_builds_of_the_table() {
        let page = include_str!("../../../../docs/builds.md");
        for build in &TABLE.build {
            for release in &build.releases {
                let mut rows = page.lines().filter(|line| line.starts_with(&format!("| {release} |")));
                assert!(rows.any(|row| row.contains(&format!("`{}`", build.id))), "{release}: {}", build.id);
            }
        }
        let in_page = page.split('`').filter(|word| word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        for id in in_page {
            assert!(find(id).is_some(), "{id} is in docs/builds.md and not in the table; run `./x builds`");
        }
    }

    #[test]
    fn candidates_are_told_by_name() {
        for yes in ["libnixl.so", "libnixl.so.1", "libplugin_UCX.so", "libnixl-0a1b2c3d.so.1.5"] {
            assert!(is_candidate(yes), "{yes}");
        }
        for no in ["libnixl_capi.so", "libnixl_build.so", "libplugin_UCX_MO.so", "libplugin_POSIX.so", "libc.so.6", ""]
        {
            assert!(!is_candidate(no), "{no}");
        }
    }
}
