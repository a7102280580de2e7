//! Where runs lie: the one place through which segments are listed, read and published.
//!
//! Everything goes through an [`ObjectStore`]; today's is [`Folder`], a run in the file system. Another one (S3, say) is a feature
//! of that crate and an address; [`Store::of`] takes any. Locations are relative to the store, as `node=HOST/…`.

mod draft;
mod folder;
mod manifest;
mod ranges;
mod reader;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

pub use draft::Draft;
use folder::Folder;
pub use manifest::{Identity, Manifest, State};
pub use object_store::path::Path as Location;
pub use reader::Reader;

use crate::segment::SegmentError;

/// A store of runs.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    address: String,
    /// The folder that it is, if it is one.
    folder: Option<PathBuf>,
}

impl Store {
    /// A folder of the file system; it need not exist yet.
    #[must_use]
    pub fn folder(root: impl Into<PathBuf>) -> Self {
        Self::in_folder(root.into(), true)
    }

    /// The same without waiting for the disk to have what is published: for what can be made again from what it was made of.
    #[must_use]
    pub fn unsynced(root: impl Into<PathBuf>) -> Self {
        Self::in_folder(root.into(), false)
    }

    fn in_folder(root: PathBuf, is_synced: bool) -> Self {
        let objects = Arc::new(Folder::new(root.clone(), is_synced));
        Self { objects, address: root.display().to_string(), folder: Some(root) }
    }

    /// Any other store; `address` names it to people.
    #[must_use]
    pub fn of(objects: Arc<dyn ObjectStore>, address: impl Into<String>) -> Self {
        Self { objects, address: address.into(), folder: None }
    }

    /// The store that an address names, `SCHEME://…`, with the settings that the environment has for it.
    ///
    /// # Errors
    /// Not an address, or of a kind that this build cannot reach.
    pub fn at(address: &str) -> Result<Self, SegmentError> {
        let failed = |error| SegmentError::Io { path: address.into(), error };
        let url = url::Url::parse(address).map_err(|error| failed(io::Error::other(error)))?;
        let settings = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (objects, prefix) =
            object_store::parse_url_opts(&url, settings).map_err(|error| failed(io_error(error)))?;
        Ok(Self::of(Arc::new(PrefixStore::new(objects, prefix)), address))
    }

    /// What a query engine reads it through; `None` for a folder, which it reads as files.
    #[must_use]
    pub fn objects(&self) -> Option<Arc<dyn ObjectStore>> {
        self.folder.is_none().then(|| Arc::clone(&self.objects))
    }

    /// How an object is named to people: its file, or its address.
    #[must_use]
    pub fn path(&self, location: &Location) -> PathBuf {
        match &self.folder {
            Some(folder) => folder.join(location.as_ref()),
            None => PathBuf::from(format!("{}/{location}", self.address.trim_end_matches('/'))),
        }
    }

    /// The folder or address itself.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| PathBuf::from(&self.address))
    }

    /// All objects in it, ordered, the unfinished ones of a folder (`.partial`) too.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn list(&self) -> Result<Vec<Location>, SegmentError> {
        let listed = wait(self.objects.list(None).map_ok(|object| object.location).try_collect::<Vec<_>>());
        let mut found = listed.map_err(|error| SegmentError::Io { path: self.root(), error: io_error(error) })?;
        found.sort_unstable();
        Ok(found)
    }

    /// Opens an object to read parts of it.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open(&self, location: &Location) -> Result<Reader, SegmentError> {
        let opened = match &self.folder {
            // The same bytes come through the store; but it opens the file for each range, and a column has many pages.
            Some(folder) => File::open(folder.join(location.as_ref())).map(Reader::file),
            None => Reader::ranges(Arc::clone(&self.objects), location).map_err(io_error),
        };
        opened.map_err(|error| SegmentError::Io { path: self.path(location), error })
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn get(&self, location: &Location) -> Result<Bytes, SegmentError> {
        let read = wait(async { self.objects.get(location).await?.bytes().await });
        read.map_err(|error| SegmentError::Io { path: self.path(location), error: io_error(error) })
    }

    /// Writes a whole small object, in place of an earlier one: readers see either.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, location: &Location, bytes: Vec<u8>) -> Result<(), SegmentError> {
        let put = wait(self.objects.put(location, PutPayload::from(bytes)));
        put.map(drop).map_err(|error| SegmentError::Io { path: self.path(location), error: io_error(error) })
    }

    /// Begins an object, which appears under its name when it is published.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn create(&self, location: &Location) -> Result<Draft, SegmentError> {
        let is_folder = self.folder.is_some();
        let draft = Draft::begin(Arc::clone(&self.objects), location, is_folder);
        draft.map_err(|error| SegmentError::Io { path: self.path(location), error })
    }

    /// Removes an object.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, location: &Location) -> Result<(), SegmentError> {
        let removed = wait(self.objects.delete(location));
        removed.map_err(|error| SegmentError::Io { path: self.path(location), error: io_error(error) })
    }
}

/// Runs a store's future to its end. A folder's never waits; what waits for the network needs a runtime of its own here.
fn wait<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

/// What the system said, if it was the system; an errno and its text are what people know.
fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::Generic { source, .. }
        | object_store::Error::NotFound { source, .. }
        | object_store::Error::AlreadyExists { source, .. } => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use object_store::memory::InMemory;

    use super::*;

    fn stores(folder: &std::path::Path) -> [Store; 2] {
        [Store::folder(folder.join("run")), Store::of(Arc::new(InMemory::new()), "memory:///run")]
    }

    #[test]
    fn an_object_appears_when_it_is_published_and_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for store in stores(folder.path()) {
            let at = Location::parse("node=h/a b%20#1.parquet").unwrap();
            let mut draft = store.create(&at).unwrap();
            draft.write_all(b"first").unwrap();
            assert!(!store.list().unwrap().contains(&at), "{store:?}");
            assert_eq!(draft.bytes(), 5);
            draft.publish().unwrap();
            assert_eq!((store.list().unwrap(), store.get(&at).unwrap().as_ref()), (vec![at.clone()], &b"first"[..]));
            store.put(&at, b"second".to_vec()).unwrap();
            assert_eq!(store.get(&at).unwrap(), "second");
            store.remove(&at).unwrap();
            assert!(store.list().unwrap().is_empty() && store.get(&at).is_err());
        }
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_what_a_killed_writer_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let [files, objects] = stores(folder.path());
        for store in [&files, &objects] {
            store.create(&Location::from("node=h/t-1.parquet")).unwrap().write_all(b"x").unwrap();
        }
        assert_eq!(files.list().unwrap(), [Location::from("node=h/t-1.partial")]);
        assert!(objects.list().unwrap().is_empty());
    }

    #[test]
    fn links_to_folders_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path());
        store.put(&Location::from("node=h/t.parquet"), Vec::new()).unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn an_error_is_what_the_system_said_of_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let [files, objects] = stores(folder.path());
        let said = files.open(&Location::from("t.parquet")).unwrap_err().to_string();
        assert!(said.ends_with("run/t.parquet: No such file or directory (os error 2)"), "{said}");
        let said = objects.open(&Location::from("t.parquet")).unwrap_err().to_string();
        assert!(said.starts_with("memory:///run/t.parquet: "), "{said}");
        std::fs::write(folder.path().join("run"), "").unwrap();
        let said = files.create(&Location::from("node=h/t.parquet")).unwrap_err().to_string();
        assert!(said.contains("os error"), "{said}");
    }
}
