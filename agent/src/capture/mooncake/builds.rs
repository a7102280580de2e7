//! The table of known builds, `builds.toml`.

use std::sync::LazyLock;

use kvpath_schema::wire::mooncake::{Kind, Layout};
use serde::Deserialize;

/// A function to probe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What a hit means.
    pub kind: ProbeKind,
    /// Mangled name.
    pub symbol: String,
}

/// What a hit of a probe means; the names in `builds.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A peer is being opened.
    Open,
    /// Memory is being registered.
    Register,
    /// The same, a list of it.
    RegisterBatch,
    /// A batch is being submitted.
    Submit,
    /// A batch is being freed.
    Free,
}

impl ProbeKind {
    /// How the BPF programs call it.
    pub fn wire(self) -> Kind {
        match self {
            Self::Open => Kind::Open,
            Self::Register => Kind::Register,
            Self::RegisterBatch => Kind::RegisterBatch,
            Self::Submit => Kind::Submit,
            Self::Free => Kind::Free,
        }
    }

    /// Whether the function's return is probed too.
    pub fn has_return(self) -> bool {
        self == Self::Open
    }

    /// As `builds.toml` and people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Register => "register",
            Self::RegisterBatch => "register_batch",
            Self::Submit => "submit",
            Self::Free => "free",
        }
    }
}

/// [`Layout`] as it stands in the table.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutEntry {
    engine_impl: u32,
    impl_name: u32,
    request_bytes: u32,
    request_op: u32,
    request_source: u32,
    request_target: u32,
    request_offset: u32,
    request_length: u32,
    batch_tasks: u32,
    batch_finished: u32,
    task_bytes: u32,
    task_failed: u32,
    task_finished: u32,
    buffer_bytes: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Abi {
    name: String,
    layout: LayoutEntry,
    probe: Vec<Probe>,
}

/// The library of one release.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Build ID, hexadecimal.
    #[serde(rename = "build_id")]
    pub id: String,
    /// Releases of Mooncake that hold it, oldest first.
    pub releases: Vec<String>,
    abi: String,
}

impl Build {
    /// Its releases, for messages.
    pub fn mooncake(&self) -> String {
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
    pub layout: u16,
}

impl KnownBuild {
    /// The functions to probe.
    pub fn probes(self) -> &'static [Probe] {
        &TABLE.abi[usize::from(self.layout)].probe
    }
}

/// The build with that Build ID.
pub fn find(build_id: &str) -> Option<KnownBuild> {
    let build = TABLE.build.iter().find(|build| build.id == build_id)?;
    let layout = TABLE.abi.iter().position(|abi| abi.name == build.abi)?;
    Some(KnownBuild { build, layout: u16::try_from(layout).ok()? })
}

/// Releases of Mooncake that are known, oldest first, for messages.
pub fn known_releases() -> String {
    let mut releases: Vec<&str> = Vec::new();
    for release in TABLE.build.iter().flat_map(|build| &build.releases) {
        if !releases.contains(&release.as_str()) {
            releases.push(release);
        }
    }
    releases.join(", ")
}

/// All layouts, in the order of [`KnownBuild::layout`].
pub fn layouts() -> Vec<Layout> {
    TABLE
        .abi
        .iter()
        .map(|abi| {
            let l = abi.layout;
            Layout {
                engine_impl: l.engine_impl,
                impl_name: l.impl_name,
                request_bytes: l.request_bytes,
                request_op: l.request_op,
                request_source: l.request_source,
                request_target: l.request_target,
                request_offset: l.request_offset,
                request_length: l.request_length,
                batch_tasks: l.batch_tasks,
                batch_finished: l.batch_finished,
                task_bytes: l.task_bytes,
                task_failed: l.task_failed,
                task_finished: l.task_finished,
                buffer_bytes: l.buffer_bytes,
            }
        })
        .collect()
}

/// A function that every library with Mooncake's engine exports: others of the same name do not, and are none of our business.
pub const MARK: &str =
    "_ZN8mooncake14TransferEngine14submitTransferEmRKSt6vectorINS_9Transport15TransferRequestESaIS3_EE";

/// Whether a file of that name may be a library with Mooncake's engine.
pub fn is_candidate(file_name: &str) -> bool {
    file_name == "engine.so"
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::wire::mooncake::{BUFFER_BYTES, LAYOUTS, REQUEST_BYTES};

    #[test]
    fn the_embedded_table_is_consistent() {
        assert!(TABLE.abi.len() <= LAYOUTS as usize);
        for build in &TABLE.build {
            assert_eq!(build.id.len(), 40, "{}", build.id);
            let known = find(&build.id).expect("its ABI is in the table");
            assert!(std::ptr::eq(known.build, build), "Build ID {} is there twice", build.id);
            assert!(known.probes().iter().any(|probe| probe.symbol == MARK) && !build.releases.is_empty());
        }
        for layout in layouts() {
            let fields = [layout.request_op, layout.request_source, layout.request_target, layout.request_offset];
            assert!(fields.into_iter().chain([layout.request_length]).all(|at| at + 8 <= layout.request_bytes));
            assert!((16..=BUFFER_BYTES).contains(&(layout.buffer_bytes as usize)));
            assert!((40..=REQUEST_BYTES).contains(&(layout.request_bytes as usize)));
            assert!(layout.task_failed + 8 <= layout.task_bytes && layout.task_finished < layout.task_bytes);
        }
    }

    #[test]
    fn an_unknown_build_is_not_found() {
        assert!(find("0000000000000000000000000000000000000000").is_none() && find("").is_none());
        assert!(is_candidate("engine.so") && !is_candidate("libengine.so"));
    }

    /// `./x builds` writes both.
    #[test]
    fn the_page_lists_the_builds_of_the_table() {
        let page = include_str!("../../../../docs/builds-mooncake.md");
        for build in &TABLE.build {
            for release in &build.releases {
                let mut rows = page.lines().filter(|line| line.starts_with(&format!("| {release} |")));
                assert!(rows.any(|row| row.contains(&format!("`{}`", build.id))), "{release}: {}", build.id);
            }
        }
        let in_page = page.split('`').filter(|word| word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        for id in in_page {
            assert!(find(id).is_some(), "{id} is in docs/builds-mooncake.md and not in the table; run `./x builds`");
        }
    }
}
