//! A folder as an object store.
//!
//! Not the one that `object_store` has: that one names unfinished files so that nobody lists them, follows links, and does not wait
//! for the disk. Here an unfinished object is a `.partial`, which stays and is reported if its writer is killed, and an object has
//! its name only when the disk has it.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{FutureExt as _, ready};
use futures::stream::{self, BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::Location;

/// Name of the store in errors.
const STORE: &str = "folder";

/// A folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    is_synced: bool,
}

impl Folder {
    pub(super) fn new(root: PathBuf, is_synced: bool) -> Self {
        Self { root, is_synced }
    }

    fn file(&self, location: &Location) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn begin(&self, location: &Location) -> io::Result<Upload> {
        let path = self.file(location);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let partial = path.with_extension("partial");
        let file = File::create(&partial)?;
        Ok(Upload { file, partial, path, is_synced: self.is_synced })
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

/// A file on its way to its name.
#[derive(Debug)]
struct Upload {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    is_synced: bool,
}

impl Upload {
    fn write(&mut self, payload: &PutPayload) -> io::Result<()> {
        payload.iter().try_for_each(|bytes| self.file.write_all(bytes))
    }

    fn publish(&mut self) -> io::Result<PutResult> {
        if self.is_synced {
            self.file.sync_all()?;
        }
        fs::rename(&self.partial, &self.path)?;
        Ok(PutResult { e_tag: None, version: None })
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        ready(self.write(&data).map_err(failed)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.publish().map_err(failed)
    }

    async fn abort(&mut self) -> Result<()> {
        fs::remove_file(&self.partial).map_err(failed)
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, location: &Location, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        let mut upload = self.begin(location).map_err(failed)?;
        upload.write(&payload).map_err(failed)?;
        upload.publish().map_err(failed)
    }

    async fn put_multipart_opts(
        &self,
        location: &Location,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(self.begin(location).map_err(failed)?))
    }

    async fn get_opts(&self, location: &Location, options: GetOptions) -> Result<GetResult> {
        let read = || {
            let file = File::open(self.file(location))?;
            let meta = meta(location.clone(), &file.metadata()?)?;
            let range = match &options.range {
                Some(range) => range.as_range(meta.size).map_err(io::Error::other)?,
                None => 0..meta.size,
            };
            let length = if options.head { 0 } else { range.end - range.start };
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, range.start)?;
            let bytes = stream::once(ready(Ok(Bytes::from(bytes)))).boxed();
            let (payload, attributes) = (GetResultPayload::Stream(bytes), object_store::Attributes::default());
            Ok(GetResult { payload, meta, range, attributes })
        };
        read().map_err(failed)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Location>>) -> BoxStream<'static, Result<Location>> {
        let root = self.root.clone();
        locations
            .map(move |location| {
                let location = location?;
                fs::remove_file(root.join(location.as_ref())).map_err(failed)?;
                Ok(location)
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, Result<ObjectMeta>> {
        let mut found = Vec::new();
        let folder = prefix.map_or_else(|| self.root.clone(), |prefix| self.file(prefix));
        let walked = walk(&self.root, &folder, &mut found).map_err(failed);
        stream::iter(found.into_iter().map(Ok).chain(walked.err().map(Err))).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Location>) -> Result<ListResult> {
        Err(lacks("list_with_delimiter"))
    }

    async fn copy_opts(&self, _: &Location, _: &Location, _: CopyOptions) -> Result<()> {
        Err(lacks("copy"))
    }
}

fn failed(error: io::Error) -> Error {
    Error::Generic { store: STORE, source: Box::new(error) }
}

fn lacks(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

fn meta(location: Location, of: &Metadata) -> io::Result<ObjectMeta> {
    Ok(ObjectMeta { location, last_modified: of.modified()?.into(), size: of.len(), e_tag: None, version: None })
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            walk(root, &path, found)?;
            continue;
        }
        let of = match fs::metadata(&path) {
            // Links to folders are not followed: they may lead back here.
            Ok(of) if of.is_file() => of,
            Ok(_) => continue,
            // Published under its name, or replaced, since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind.is_file() => continue,
            Err(error) => return Err(error),
        };
        // A name that is no text is none that kvpath gives.
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(location) = name.and_then(|name| Location::parse(name).ok()) {
            found.push(meta(location, &of)?);
        }
    }
    Ok(())
}
