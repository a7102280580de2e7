//! Opening a run: a folder of segments, a glob of them, or one segment.

pub mod batches;
pub mod limits;
pub mod losses;

use std::path::{Path, PathBuf};

use kvpath_schema::segment::{self, Meta, SegmentError};
use kvpath_schema::table::Columns;
use kvpath_schema::tables;

use crate::error::LoadError;

/// A segment of a run.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Where.
    pub path: PathBuf,
    /// What its footer says.
    pub meta: Meta,
    /// Rows.
    pub rows: i64,
    /// Least and greatest time that its rows are sorted by, ns, where the footer says it.
    pub extent: Option<(i64, i64)>,
}

/// A run, opened: every footer was read and can be read by this version.
///
/// ```
/// use kvpath_analysis::load::Run;
/// use kvpath_schema::table::Columns as _;
/// use kvpath_schema::tables::nixl::NixlTransfers;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/v1/vllm-full");
/// let run = Run::open(folder)?;
/// let transfers: NixlTransfers = run.table()?;
/// assert_eq!(transfers.len(), 12);
/// assert!(transfers.bytes.iter().flatten().all(|bytes| *bytes > 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// As the user named it.
    pub name: String,
    /// Segments, ordered by path.
    pub segments: Vec<Segment>,
    /// Files whose writing was cut off (`.partial`), ordered.
    pub partial: Vec<PathBuf>,
}

/// A run's files, good and bad; what [`Run::open`] refuses, `kvpath check` lists.
#[derive(Debug)]
pub struct Survey {
    /// What can be read.
    pub run: Run,
    /// What cannot, each naming its file.
    pub bad: Vec<SegmentError>,
}

impl Run {
    /// Opens the run that `name` names: a folder, a glob, or one `.parquet` file.
    ///
    /// # Errors
    /// Nothing there, no segments, or any segment that cannot be read.
    pub fn open(name: &str) -> Result<Self, LoadError> {
        let survey = Survey::of(name)?;
        match survey.bad.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(survey.run),
        }
    }

    /// All rows of one table, in the order of the segments.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn table<C: Columns>(&self) -> Result<C, LoadError> {
        let mut columns = C::default();
        for segment in self.of_table(C::DEF.name) {
            segment::read_into(&segment.path, &mut columns)?;
        }
        Ok(columns)
    }

    /// The segments of one table.
    pub fn of_table<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a Segment> {
        self.segments.iter().filter(move |segment| segment.meta.table == table)
    }

    /// The hosts whose segments the run holds, ordered.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = self.segments.iter().map(|s| s.meta.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// What one of its hosts recorded.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Self {
        let segments = self.segments.iter().filter(|segment| segment.meta.host == host).cloned().collect();
        Self { name: self.name.clone(), segments, partial: Vec::new() }
    }
}

impl Survey {
    /// Reads every footer below `name`.
    ///
    /// # Errors
    /// Nothing there, or no segments at all.
    pub fn of(name: &str) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for root in roots(name)? {
            if root.is_dir() {
                walk(&root, &mut files)?;
            } else {
                files.push(root);
            }
        }
        files.sort();
        files.dedup();
        let is = |path: &Path, ending: &str| path.extension().is_some_and(|e| e == ending);
        if let [one] = files.as_slice()
            && is_sqlite(one)
        {
            return Err(LoadError::NeedsImport(name.to_owned()));
        }
        let partial: Vec<PathBuf> = files.iter().filter(|f| is(f, "partial")).cloned().collect();
        let mut segments = Vec::new();
        let mut bad = Vec::new();
        for path in files.into_iter().filter(|f| !is(f, "partial")) {
            match segment::open(&path) {
                Ok((meta, builder)) => {
                    let rows = builder.metadata().file_metadata().num_rows();
                    let extent = tables::raw(&meta.table).and_then(|table| segment::extent(&builder, table));
                    segments.push(Segment { path, meta, rows, extent });
                }
                Err(error) => bad.push(error),
            }
        }
        if segments.is_empty() && bad.is_empty() {
            return Err(LoadError::Empty(name.to_owned()));
        }
        one_run(name, &segments)?;
        Ok(Self { run: Run { name: name.trim_end_matches('/').to_owned(), segments, partial }, bad })
    }
}

/// Refuses segments of several recordings: their clocks, processes and ids would be taken for one another's.
fn one_run(name: &str, segments: &[Segment]) -> Result<(), LoadError> {
    let root = |path: &Path| {
        let node = path.ancestors().find(|a| a.file_name().is_some_and(|n| n.to_string_lossy().starts_with("node=")));
        node.or(path.parent()).and_then(Path::parent).map(Path::to_owned)
    };
    let mut roots: Vec<PathBuf> = segments.iter().filter_map(|segment| root(&segment.path)).collect();
    roots.sort();
    roots.dedup();
    match roots.as_slice() {
        [first, second, ..] => Err(LoadError::SeveralRuns {
            run: name.to_owned(),
            count: roots.len(),
            first: first.clone(),
            second: second.clone(),
        }),
        _ => Ok(()),
    }
}

fn roots(name: &str) -> Result<Vec<PathBuf>, LoadError> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(vec![path]);
    }
    if !name.contains(['*', '?', '[']) {
        return Err(LoadError::Missing(name.to_owned()));
    }
    let found: Vec<PathBuf> = glob::glob(name)
        .map_err(|error| LoadError::Glob { pattern: name.to_owned(), error })?
        .filter_map(Result::ok)
        .collect();
    if found.is_empty() { Err(LoadError::Missing(name.to_owned())) } else { Ok(found) }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    let io = |error| LoadError::Io { path: folder.to_owned(), error };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        // Links to folders are not followed: they may lead back here.
        if entry.file_type().map_err(io)?.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "parquet" || e == "partial") {
            files.push(path);
        }
    }
    Ok(())
}

fn is_sqlite(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; 16];
    std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok() && &head == b"SQLite format 3\0"
}
