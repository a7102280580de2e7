//! Segments: Parquet files, one table each, under `RUN/node=HOST/source=SOURCE/TABLE-NNNNNN.parquet`.
//!
//! Any Parquet tool reads them. The footer says what they are ([`Meta`]). A segment appears under its name only when it
//! is whole: it is written as `.partial` and renamed, so a run that was cut off holds whole segments and at most one
//! `.partial` a table. Of a writer that does not wait for the disk ([`RunWriter::unsynced`]) that holds as long as the machine runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::{SortColumn, lexsort_to_indices};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding as ParquetEncoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use crate::table::{Columns, Encoding, ReadError, TableDef};
use crate::version::{self, VersionError};

/// Keys of the Parquet footer.
pub mod keys {
    /// Schema version, decimal.
    pub const SCHEMA_VERSION: &str = "kvpath.schema_version";
    /// Table name.
    pub const TABLE: &str = "kvpath.table";
    /// Clock of every time in the file.
    pub const CLOCK: &str = "kvpath.clock";
    /// Wall clock (ns since 1970) at the zero of that clock; absent if unknown.
    pub const WALL_AT_ZERO_NS: &str = "kvpath.wall_at_zero_ns";
    /// Host that recorded.
    pub const HOST: &str = "kvpath.host";
    /// Source: `nixl`, `cupti`, `nvtx`, `process`, `capture`, `nsys`.
    pub const SOURCE: &str = "kvpath.source";
    /// Program and version that wrote the file.
    pub const WRITER: &str = "kvpath.writer";
    /// Records of this table known to be lost while this segment was filled.
    pub const DROPPED: &str = "kvpath.dropped";
}

/// The clock of every time that kvpath records.
pub const CLOCK_MONOTONIC: &str = "CLOCK_MONOTONIC";

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Table name.
    pub table: String,
    /// Clock.
    pub clock: String,
    /// Wall clock at the clock's zero, ns since 1970.
    pub wall_at_zero_ns: Option<i64>,
    /// Host that recorded.
    pub host: String,
    /// Source.
    pub source: String,
    /// Program and version.
    pub writer: String,
    /// Records lost while the segment was filled.
    pub dropped: u64,
    /// Schema version.
    pub version: u32,
}

/// Why a segment could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file system said no.
    #[error("{path}: {error}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// Not Parquet, cut short or damaged.
    #[error("{path}: not a whole Parquet file ({error}); it was cut short, damaged, or is something else")]
    Parquet {
        /// File.
        path: PathBuf,
        /// What the Parquet reader said.
        error: ParquetError,
    },
    /// Parquet data that does not decode.
    #[error("{path}: damaged data ({error})")]
    Data {
        /// File.
        path: PathBuf,
        /// What Arrow said.
        error: ArrowError,
    },
    /// Parquet, but not of kvpath.
    #[error("{path}: a Parquet file, but not a kvpath segment (its footer has no valid `{key}`)")]
    Foreign {
        /// File.
        path: PathBuf,
        /// The missing or bad key.
        key: &'static str,
    },
    /// Of a version that cannot be read.
    #[error("{path}: {error}")]
    Version {
        /// File.
        path: PathBuf,
        /// Both versions and the cure.
        error: VersionError,
    },
    /// The columns are not those of the table.
    #[error("{path}: {error}")]
    Columns {
        /// File.
        path: PathBuf,
        /// Which column.
        error: ReadError,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> SegmentError + '_ {
    |error| SegmentError::Io { path: path.to_owned(), error }
}

fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> SegmentError + '_ {
    |error| SegmentError::Parquet { path: path.to_owned(), error }
}

/// The name of a host as segments and their partition `node=` show it.
#[must_use]
pub fn host_name(host: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }
    };
    host.chars().map(safe).collect()
}

/// Writes the segments of one node of a run.
#[derive(Debug)]
pub struct RunWriter {
    root: PathBuf,
    host: String,
    writer: String,
    clock: String,
    wall_at_zero_ns: Option<i64>,
    is_synced: bool,
    sequence: u32,
}

/// A segment that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: usize,
    /// File size, bytes.
    pub bytes: u64,
}

impl RunWriter {
    /// Prepares to write below `root`. `writer` names program and version; `host` becomes the partition `node=`; times are
    /// on [`CLOCK_MONOTONIC`] unless [`RunWriter::on_clock`] says otherwise.
    pub fn new(root: impl Into<PathBuf>, host: &str, writer: &str, wall_at_zero_ns: Option<i64>) -> Self {
        Self {
            root: root.into(),
            host: host_name(host),
            writer: writer.to_owned(),
            clock: CLOCK_MONOTONIC.to_owned(),
            wall_at_zero_ns,
            is_synced: true,
            sequence: 0,
        }
    }

    /// Names another clock, for imported traces whose times count from the start of their session.
    #[must_use]
    pub fn on_clock(mut self, clock: &str) -> Self {
        clock.clone_into(&mut self.clock);
        self
    }

    /// Does not wait for the disk to have each segment: for what can be made again from what it was made of.
    #[must_use]
    pub fn unsynced(mut self) -> Self {
        self.is_synced = false;
        self
    }

    /// The run's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes `columns`, sorted as the table asks, as one segment; no file for no rows.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn write<C: Columns>(
        &mut self,
        source: &str,
        columns: &C,
        dropped: u64,
    ) -> Result<Option<Written>, SegmentError> {
        if columns.is_empty() {
            return Ok(None);
        }
        let table = C::DEF;
        let folder = self.root.join(format!("node={}", self.host)).join(format!("source={source}"));
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        self.sequence += 1;
        let path = folder.join(format!("{}-{:06}.parquet", table.name, self.sequence));
        let partial = path.with_extension("partial");
        let order = order(columns).map_err(|error| SegmentError::Data { path: path.clone(), error })?;
        let meta = Meta {
            table: table.name.to_owned(),
            clock: self.clock.clone(),
            wall_at_zero_ns: self.wall_at_zero_ns,
            host: self.host.clone(),
            source: source.to_owned(),
            writer: self.writer.clone(),
            dropped,
            version: version::CURRENT,
        };
        let file = File::create(&partial).map_err(io(&partial))?;
        let mut writer = ArrowWriter::try_new(file, table.arrow_schema(), Some(properties(table, &meta)))
            .map_err(parquet(&partial))?;
        for rows in order.chunks(PICKED_ROWS) {
            writer.write(&columns.pick(rows)).map_err(parquet(&partial))?;
        }
        let file = writer.into_inner().map_err(parquet(&partial))?;
        if self.is_synced {
            file.sync_all().map_err(io(&partial))?;
        }
        let bytes = file.metadata().map_err(io(&partial))?.len();
        std::fs::rename(&partial, &path).map_err(io(&path))?;
        Ok(Some(Written { path, rows: order.len(), bytes }))
    }
}

/// Rows that are turned into Arrow arrays at once: few enough for all their columns to stay in a core's cache on the way
/// to Parquet.
const PICKED_ROWS: usize = 8192;

/// The rows in the order that the table asks for.
fn order<C: Columns>(columns: &C) -> Result<Vec<u32>, ArrowError> {
    let too_many = |_| ArrowError::InvalidArgumentError("more than 2^32 rows in one segment".to_owned());
    let mut order: Vec<u32> = (0..u32::try_from(columns.len()).map_err(too_many)?).collect();
    let keys: Vec<SortColumn> = C::DEF
        .sorted_by
        .iter()
        .filter_map(|name| columns.array(name))
        .map(|values| SortColumn { values, options: None })
        .collect();
    match keys.as_slice() {
        [] => {}
        // A time or an id: as good as sorted already, which Arrow's sort makes no use of.
        [key] if let Some(key) = key.values.as_primitive_opt::<Int64Type>().filter(|key| key.null_count() == 0) => {
            let key = key.values();
            order.sort_by_key(|row| key[*row as usize]);
        }
        keys => order = lexsort_to_indices(keys, None)?.values().to_vec(),
    }
    Ok(order)
}

fn properties(table: &TableDef, meta: &Meta) -> WriterProperties {
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut footer = vec![
        pair(keys::SCHEMA_VERSION, meta.version.to_string()),
        pair(keys::TABLE, meta.table.clone()),
        pair(keys::CLOCK, meta.clock.clone()),
        pair(keys::HOST, meta.host.clone()),
        pair(keys::SOURCE, meta.source.clone()),
        pair(keys::WRITER, meta.writer.clone()),
        pair(keys::DROPPED, meta.dropped.to_string()),
    ];
    footer.extend(meta.wall_at_zero_ns.map(|ns| pair(keys::WALL_AT_ZERO_NS, ns.to_string())));
    let sorting = table
        .sorted_by
        .iter()
        .filter_map(|name| table.columns.iter().position(|c| c.name == *name))
        .map(|at| SortingColumn { column_idx: i32::try_from(at).unwrap_or(0), descending: false, nulls_first: true })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(footer))
        .set_sorting_columns(Some(sorting))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in table.columns {
        let path = ColumnPath::from(column.name);
        builder = match column.encoding {
            Encoding::Dict => builder.set_column_dictionary_enabled(path, true),
            Encoding::Delta => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, ParquetEncoding::DELTA_BINARY_PACKED),
            Encoding::Split => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, ParquetEncoding::BYTE_STREAM_SPLIT),
            Encoding::Plain => builder.set_column_dictionary_enabled(path, false),
        };
    }
    builder.build()
}

/// Opens a segment and checks that this build can read it.
///
/// # Errors
/// Not Parquet, not of kvpath, or of another version.
pub fn open(path: &Path) -> Result<(Meta, ParquetRecordBatchReaderBuilder<File>), SegmentError> {
    let file = File::open(path).map_err(io(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet(path))?;
    let footer = builder.metadata().file_metadata().key_value_metadata();
    let text = |key: &'static str| {
        footer
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == key))
            .and_then(|pair| pair.value.clone())
            .ok_or(SegmentError::Foreign { path: path.to_owned(), key })
    };
    let bad = |key| SegmentError::Foreign { path: path.to_owned(), key };
    let found = text(keys::SCHEMA_VERSION)?.parse().map_err(|_| bad(keys::SCHEMA_VERSION))?;
    version::check(found).map_err(|error| SegmentError::Version { path: path.to_owned(), error })?;
    let meta = Meta {
        table: text(keys::TABLE)?,
        clock: text(keys::CLOCK)?,
        wall_at_zero_ns: text(keys::WALL_AT_ZERO_NS).ok().and_then(|ns| ns.parse().ok()),
        host: text(keys::HOST)?,
        source: text(keys::SOURCE)?,
        writer: text(keys::WRITER)?,
        dropped: text(keys::DROPPED)?.parse().map_err(|_| bad(keys::DROPPED))?,
        version: found,
    };
    Ok((meta, builder))
}

/// Least and greatest value of the time that the rows of `table` are sorted by, ns, as the footer says; `None` where they are
/// sorted by something else, or it does not say.
#[must_use]
pub fn extent(segment: &ParquetRecordBatchReaderBuilder<File>, table: &TableDef) -> Option<(i64, i64)> {
    let sorted_by = table.sorted_by.first().filter(|name| name.ends_with("_ns"))?;
    let groups = segment.metadata().row_groups().iter().map(|group| {
        let column = group.columns().iter().find(|column| column.column_path().string() == **sorted_by)?;
        match column.statistics()? {
            Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
            _ => None,
        }
    });
    groups.reduce(|a, b| a.zip(b).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)))).flatten()
}

/// Appends all rows of the segment at `path` to `columns`.
///
/// # Errors
/// As [`open`]; or the data does not decode, or not to this table's columns.
pub fn read_into<C: Columns>(path: &Path, columns: &mut C) -> Result<Meta, SegmentError> {
    let (meta, builder) = open(path)?;
    for batch in builder.with_batch_size(65_536).build().map_err(parquet(path))? {
        let batch = batch.map_err(|error| SegmentError::Data { path: path.to_owned(), error })?;
        columns.extend_from_batch(&batch).map_err(|error| SegmentError::Columns { path: path.to_owned(), error })?;
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::nixl::{NixlAgent, NixlAgents};

    fn agents() -> NixlAgents {
        let mut agents = NixlAgents::default();
        for (time_ns, name) in [(20, "decode-0"), (10, "prefill-0"), (15, "decode-0")] {
            agents.push(NixlAgent { time_ns, process_id: 7, agent_ptr: u64::MAX, name: name.into() });
        }
        agents
    }

    fn write(folder: &Path) -> PathBuf {
        let mut run = RunWriter::new(folder, "host/1", "test 0", Some(5));
        run.write("nixl", &agents(), 3).unwrap().unwrap().path
    }

    #[test]
    fn a_segment_comes_back_sorted_with_its_footer() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        assert!(path.ends_with("node=host_1/source=nixl/nixl_agents-000001.parquet"), "{}", path.display());
        let mut back = NixlAgents::default();
        let meta = read_into(&path, &mut back).unwrap();
        assert_eq!(back.time_ns, [10, 15, 20]);
        assert_eq!(&*back.name[0], "prefill-0");
        assert_eq!((meta.dropped, meta.wall_at_zero_ns, meta.version), (3, Some(5), version::CURRENT));
        assert_eq!(extent(&open(&path).unwrap().1, NixlAgents::DEF), Some((10, 20)));
    }

    #[test]
    fn no_rows_make_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunWriter::new(folder.path(), "h", "test", None);
        assert!(run.write("nixl", &NixlAgents::default(), 0).unwrap().is_none());
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_cut_segment_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for keep in [0, 3, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains("nixl_agents-000001.parquet") && error.contains("cut short"), "{error}");
        }
    }

    #[test]
    fn another_table_is_refused_by_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        let mut kernels = crate::tables::gpu::Kernels::default();
        let error = read_into(&path, &mut kernels).unwrap_err().to_string();
        assert!(error.contains("`start_ns` is missing"), "{error}");
    }
}
