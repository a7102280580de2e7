//! Opening runs: folders of segments, globs of them, or one segment.

pub mod batches;
pub mod damage;
mod find;
mod foreign;
pub mod limits;
pub mod losses;
mod open;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::store::Manifest;
use kvpath_schema::table::Columns;

use crate::error::LoadError;
use damage::Damaged;

pub use find::IMPORTED;
pub use segment::Segment;

/// A run, opened: every footer was read.
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
    /// As the user named it; one of several by its own folder.
    pub name: String,
    /// Its own folder or address.
    pub root: PathBuf,
    /// What tells it apart from the others that were opened with it.
    pub label: String,
    /// Segments, ordered by path.
    pub segments: Vec<Segment>,
    /// Files whose writing was cut off (`.partial`), ordered.
    pub partial: Vec<PathBuf>,
    /// What its writers say of themselves; recorders wrote none once.
    pub manifests: Vec<Manifest>,
    /// Segments that cannot be read, as far as they were met; they are none of `segments`.
    pub damaged: Vec<Damaged>,
    /// Whether damage is an error.
    pub is_strict: bool,
}

impl Run {
    /// All rows of one table, in the order of the segments.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn table<C: Columns>(&self) -> Result<C, LoadError> {
        let mut columns = C::default();
        for segment in self.of_table(C::DEF.name) {
            segment.read_into(&mut columns)?;
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
        Self {
            name: self.name.clone(),
            root: self.root.clone(),
            label: self.label.clone(),
            segments,
            is_strict: self.is_strict,
            ..Self::default()
        }
    }

    /// How often the rows of each table were read since the run was opened, where they were: the count of the segment that was
    /// read most. All parts and copies of a run count together.
    #[must_use]
    pub fn reads(&self) -> BTreeMap<&str, usize> {
        let mut reads = BTreeMap::new();
        for segment in self.segments.iter().filter(|segment| segment.reads() > 0) {
            let most: &mut usize = reads.entry(segment.meta.table.as_str()).or_default();
            *most = segment.reads().max(*most);
        }
        reads
    }
}
