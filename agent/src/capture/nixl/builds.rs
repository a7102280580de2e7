//! The table of known builds, `builds.toml`.

use std::sync::LazyLock;

use kvpath_schema::wire::nixl::{Kind, Layout};
use serde::Deserialize;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lists {
    Inline,
    Pointer,
}

/// [`Layout`] as it stands in the table.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutEntry {
    handle_lists: Lists,
    handle_local: u32,
    handle_remote: u32,
    handle_peer: u32,
    handle_notif: u32,
    handle_has_notif: u32,
    handle_op: u32,
    handle_status: u32,
    handle_bytes: Option<u32>,
    list_memory: u32,
    list_begin: u32,
    meta_bytes: u32,
    basic_bytes: u32,
    strided_bytes: Option<u32>,
    blob_bytes: u32,
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
        TABLE.abi[self.layout as usize].probe.iter().filter(move |probe| probe.library == self.build.library)
    }
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

/// All layouts, in the order of [`KnownBuild::layout`].
pub fn layouts() -> Vec<Layout> {
    TABLE
        .abi
        .iter()
        .map(|abi| {
            let l = abi.layout;
            Layout {
                handle_pointers: u32::from(l.handle_lists == Lists::Pointer),
                handle_local: l.handle_local,
                handle_remote: l.handle_remote,
                handle_peer: l.handle_peer,
                handle_notif: l.handle_notif,
                handle_has_notif: l.handle_has_notif,
                handle_op: l.handle_op,
                handle_status: l.handle_status,
                handle_bytes: l.handle_bytes.unwrap_or(0),
                list_memory: l.list_memory,
                list_begin: l.list_begin,
                meta_bytes: l.meta_bytes,
                basic_bytes: l.basic_bytes,
                strided_bytes: l.strided_bytes.unwrap_or(0),
                blob_bytes: l.blob_bytes,
            }
        })
        .collect()
}

/// Whether a file of that name may be a library of NIXL that has probes: wheels that bundle libraries put a hash into
/// their names.
pub fn is_candidate(file_name: &str) -> bool {
    ["libnixl", "libplugin_UCX"].iter().any(|stem| is_named(file_name, stem, ".so"))
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
