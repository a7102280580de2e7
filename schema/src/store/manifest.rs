//! What a writer says of its part of a run: one small object a writer, so that no two write the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Location, Store};
use crate::segment::SegmentError;

/// `format` of a manifest.
const FORMAT: &str = "kvpath.manifest";
/// Its version.
const VERSION: u32 = 1;

/// Who writes: no two writers are alike, on one host or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The host's boot: eight hexadecimal digits.
    pub boot: String,
    /// The writer: when it began, then its process, hexadecimal. Those of a boot are in the order of time.
    pub writer: String,
}

impl Identity {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot: String = boot.chars().filter(char::is_ascii_hexdigit).chain("00000000".chars()).take(8).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        // Two writers of a process may begin within one tick.
        let after = |last: u64| Some(now.max(last.saturating_add(1)));
        let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap_or_default();
        let began = now.max(before.saturating_add(1));
        Self { boot, writer: format!("{began:016x}{:06x}", std::process::id()) }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

/// What a writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It records; or it was killed.
    Recording,
    /// It ended, and everything that it had is in its segments.
    Ended,
}

/// What a writer says of its part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `kvpath.manifest`.
    pub format: String,
    /// Version of this object's form.
    pub version: u32,
    /// Name of the run.
    pub run: String,
    /// Host.
    pub host: String,
    /// Boot of the host.
    pub boot: String,
    /// The writer, unique in its boot.
    pub writer: String,
    /// Program and version.
    pub program: String,
    /// Version of the schema.
    pub schema_version: u32,
    /// Clock of every time.
    pub clock: String,
    /// Wall clock at that clock's zero, ns since 1970.
    pub wall_at_zero_ns: Option<i64>,
    /// What the writer does.
    pub state: State,
    /// Least time of its rows, ns.
    pub first_ns: Option<i64>,
    /// Greatest time that its rows are sorted by, ns.
    pub last_ns: Option<i64>,
    /// Segments that it wrote.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Size of them, bytes.
    pub bytes: u64,
}

impl Manifest {
    /// Of a writer that has not written yet.
    pub(crate) fn new(run: &str, host: &str, identity: &Identity, program: &str) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            run: run.to_owned(),
            host: host.to_owned(),
            boot: identity.boot.clone(),
            writer: identity.writer.clone(),
            program: program.to_owned(),
            schema_version: crate::version::CURRENT,
            clock: crate::segment::CLOCK_MONOTONIC.to_owned(),
            wall_at_zero_ns: None,
            state: State::Recording,
            first_ns: None,
            last_ns: None,
            segments: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn location(&self) -> Location {
        let Self { host, boot, writer, .. } = self;
        Location::from(format!("node={host}/manifest-{boot}_{writer}.json"))
    }

    /// Whether an object of that name is one.
    #[must_use]
    pub fn is_at(location: &Location) -> bool {
        location
            .filename()
            .is_some_and(|name| name.strip_suffix(".json").is_some_and(|stem| stem.starts_with("manifest-")))
    }

    /// Writes it, in place of what the same writer said before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, store: &Store) -> Result<(), SegmentError> {
        let location = self.location();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| SegmentError::Io { path: store.path(&location), error: error.into() })?;
        store.put(&location, text)
    }

    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or is no manifest of a version that is known.
    pub fn get(store: &Store, location: &Location) -> Result<Self, SegmentError> {
        let bytes = store.get(location)?;
        let bad = |why: String| SegmentError::Manifest { path: store.path(location), why };
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            let (format, version) = (&manifest.format, manifest.version);
            return Err(bad(format!("it is a {format} of version {version}, this build reads {FORMAT} {VERSION}")));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_writers_are_alike_and_later_ones_come_later() {
        let made: Vec<Identity> = (0..1000).map(|_| Identity::new()).collect();
        assert!(made.windows(2).all(|pair| pair[0].writer < pair[1].writer && pair[0].boot == pair[1].boot));
        assert_eq!((made[0].boot.len(), made[0].writer.len()), (8, 22));
    }

    #[test]
    fn a_manifest_comes_back_and_damage_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path());
        let mut manifest = Manifest::new("run", "h", &Identity::new(), "test 0");
        manifest.put(&store).unwrap();
        (manifest.state, manifest.last_ns) = (State::Ended, Some(7));
        manifest.put(&store).unwrap();
        let listed = store.list().unwrap();
        assert!(listed.len() == 1 && Manifest::is_at(&listed[0]), "{listed:?}");
        assert_eq!(Manifest::get(&store, &listed[0]).unwrap(), manifest);
        for text in ["", "{}", "\0", &serde_json::to_string(&Manifest { version: 2, ..manifest }).unwrap()] {
            store.put(&listed[0], text.into()).unwrap();
            let error = Manifest::get(&store, &listed[0]).unwrap_err().to_string();
            assert!(error.contains("manifest-") && error.contains("not a manifest"), "{error}");
        }
    }
}
