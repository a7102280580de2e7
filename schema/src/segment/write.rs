//! Writing segments.

use std::path::PathBuf;

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::{SortColumn, lexsort_to_indices};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding as ParquetEncoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{Meta, SegmentError, host_name, keys};
use crate::store::{Draft, Identity, Location, Manifest, State, Store};
use crate::table::{Columns, Encoding, TableDef};
use crate::version;

/// Writes the segments of one node of a run.
#[derive(Debug)]
pub struct RunWriter {
    store: Store,
    /// None for an import: its names are the same each time.
    identity: Option<Identity>,
    manifest: Manifest,
    sequence: u32,
}

/// A segment that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// The same in its store.
    pub location: Location,
    /// Rows in it.
    pub rows: usize,
    /// File size, bytes.
    pub bytes: u64,
}

/// A segment that has no name yet.
#[derive(Debug)]
pub struct Unpublished {
    draft: Draft,
    written: Written,
}

impl Unpublished {
    /// Where it will be.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.written.location
    }

    /// Makes it appear, whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn publish(self) -> Result<Written, SegmentError> {
        match self.draft.publish() {
            Ok(()) => Ok(self.written),
            Err(error) => Err(SegmentError::Io { path: self.written.path, error }),
        }
    }
}

impl RunWriter {
    /// Prepares to write below the folder `root`. `writer` names program and version; `host` becomes the partition `node=`; times
    /// are on [`super::CLOCK_MONOTONIC`] unless [`RunWriter::on_clock`] says otherwise.
    pub fn new(root: impl Into<PathBuf>, host: &str, writer: &str, wall_at_zero_ns: Option<i64>) -> Self {
        Self::to(Store::folder(root), host, writer, wall_at_zero_ns)
    }

    /// The same to any store.
    #[must_use]
    pub fn to(store: Store, host: &str, writer: &str, wall_at_zero_ns: Option<i64>) -> Self {
        let identity = Identity::new();
        let name = store.root().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = Manifest { wall_at_zero_ns, ..Manifest::new(&name, &host_name(host), &identity, writer) };
        Self { store, identity: Some(identity), manifest, sequence: 0 }
    }

    /// Names another clock, for imported traces whose times count from the start of their session.
    #[must_use]
    pub fn on_clock(mut self, clock: &str) -> Self {
        clock.clone_into(&mut self.manifest.clock);
        self
    }

    /// Writes what can be made again from what it was made of: it has no manifest, and its segments take the place of those that the
    /// same import wrote before.
    #[must_use]
    pub fn imported(mut self) -> Self {
        self.identity = None;
        self
    }

    /// Where it writes.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
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
        self.encode(source, columns, dropped)?.map(Unpublished::publish).transpose()
    }

    /// The same, but it does not wait for the disk: the segment appears when it is published.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn encode<C: Columns>(
        &mut self,
        source: &str,
        columns: &C,
        dropped: u64,
    ) -> Result<Option<Unpublished>, SegmentError> {
        if columns.is_empty() {
            return Ok(None);
        }
        if self.identity.is_some() && self.sequence == 0 {
            self.manifest.put(&self.store)?;
        }
        let table = C::DEF;
        self.sequence += 1;
        let location = self.location(source, table);
        let path = self.store.path(&location);
        let order = order(columns).map_err(|error| SegmentError::Data { path: path.clone(), error })?;
        let draft = self.draft(source, columns, &order, (&location, dropped))?;
        let bytes = draft.bytes();
        self.count(columns, &order, bytes);
        Ok(Some(Unpublished { draft, written: Written { path, location, rows: order.len(), bytes } }))
    }

    /// Says in the manifest that everything is written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(&mut self) -> Result<(), SegmentError> {
        self.manifest.state = State::Ended;
        if self.identity.is_some() && self.sequence > 0 { self.manifest.put(&self.store) } else { Ok(()) }
    }

    fn location(&self, source: &str, table: &TableDef) -> Location {
        let (name, number, host) = (table.name, self.sequence, &self.manifest.host);
        let name = match &self.identity {
            Some(Identity { boot, writer }) => format!("{name}-{boot}_{writer}_{number:06}"),
            None => format!("{name}-{number:06}"),
        };
        Location::from(format!("node={host}/source={source}/{name}.parquet"))
    }

    fn draft<C: Columns>(
        &self,
        source: &str,
        columns: &C,
        order: &[u32],
        (location, dropped): (&Location, u64),
    ) -> Result<Draft, SegmentError> {
        let table = C::DEF;
        let meta = Meta {
            table: table.name.to_owned(),
            clock: self.manifest.clock.clone(),
            wall_at_zero_ns: self.manifest.wall_at_zero_ns,
            host: self.manifest.host.clone(),
            source: source.to_owned(),
            writer: self.manifest.program.clone(),
            dropped,
            version: version::CURRENT,
        };
        let failed = |error| failed(self.store.path(location), error);
        let draft = self.store.create(location)?;
        let mut writer =
            ArrowWriter::try_new(draft, table.arrow_schema(), Some(properties(table, &meta))).map_err(failed)?;
        for rows in order.chunks(PICKED_ROWS) {
            writer.write(&columns.pick(rows)).map_err(failed)?;
        }
        writer.into_inner().map_err(failed)
    }

    /// Adds a segment to the manifest.
    fn count<C: Columns>(&mut self, columns: &C, order: &[u32], bytes: u64) {
        let of = &mut self.manifest;
        (of.segments, of.rows, of.bytes) = (of.segments + 1, of.rows + order.len() as u64, of.bytes + bytes);
        let times = C::DEF.sorted_by.first().filter(|name| name.ends_with("_ns")).and_then(|name| {
            let ends = columns.pick(&[*order.first()?, *order.last()?]);
            let values = ends.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.clone();
            (values.null_count() == 0).then(|| (values.value(0), values.value(1)))
        });
        if let Some((first, last)) = times {
            of.first_ns = Some(of.first_ns.map_or(first, |own| own.min(first)));
            of.last_ns = Some(of.last_ns.map_or(last, |own| own.max(last)));
        }
    }
}

/// An error of the system is told as that: a full disk is no damaged file.
fn failed(path: PathBuf, error: ParquetError) -> SegmentError {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => SegmentError::Io { path, error: *error },
            Err(error) => SegmentError::Parquet { path, error: ParquetError::External(error) },
        },
        error => SegmentError::Parquet { path, error },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{extent, open_at, read_into_at};
    use crate::tables::nixl::{NixlAgent, NixlAgents};

    fn agents(times: &[i64]) -> NixlAgents {
        let mut agents = NixlAgents::default();
        for time_ns in times {
            agents.push(NixlAgent {
                time_ns: *time_ns,
                process_id: 7,
                agent_ptr: u64::MAX,
                name: format!("a{time_ns}").into(),
                library: "nixl".into(),
            });
        }
        agents
    }

    #[test]
    fn a_segment_comes_back_sorted_with_its_footer_from_any_store() {
        let folder = tempfile::tempdir().unwrap();
        let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
        for store in [Store::folder(folder.path()), Store::of(memory, "memory:///run")] {
            let mut run = RunWriter::to(store.clone(), "host/1", "test 0", Some(5));
            let written = run.write("nixl", &agents(&[20, 10, 15]), 3).unwrap().unwrap();
            let name = written.path.to_str().unwrap();
            assert!(
                name.contains("node=host_1/source=nixl/nixl_agents-") && name.ends_with("_000001.parquet"),
                "{name}"
            );
            let mut back = NixlAgents::default();
            let meta = read_into_at(&store, &written.location, &mut back).unwrap();
            assert_eq!(back.time_ns, [10, 15, 20]);
            assert_eq!(&*back.name[0], "a10");
            assert_eq!((meta.dropped, meta.wall_at_zero_ns, meta.version), (3, Some(5), version::CURRENT));
            assert_eq!(extent(&open_at(&store, &written.location).unwrap().1, NixlAgents::DEF), Some((10, 20)));
        }
    }

    #[test]
    fn no_rows_make_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunWriter::new(folder.path(), "h", "test", None);
        assert!(run.write("nixl", &NixlAgents::default(), 0).unwrap().is_none());
        run.end().unwrap();
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn two_writers_of_a_host_share_no_name_and_an_import_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let write = |writer: &mut RunWriter| writer.write("nixl", &agents(&[1]), 0).unwrap().unwrap().path;
        let paths: Vec<PathBuf> =
            (0..2).map(|_| write(&mut RunWriter::new(folder.path(), "h", "test", None))).collect();
        assert_ne!(paths[0], paths[1]);
        let imports: Vec<PathBuf> =
            (0..2).map(|_| write(&mut RunWriter::new(folder.path(), "h", "test", None).imported())).collect();
        assert_eq!(imports[0], imports[1]);
        assert!(imports[0].ends_with("node=h/source=nixl/nixl_agents-000001.parquet"));
    }

    #[test]
    fn the_manifest_says_what_was_written_and_whether_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path().join("run"));
        let mut run = RunWriter::to(store.clone(), "h", "test 0", Some(5));
        run.write("nixl", &agents(&[20, 10]), 0).unwrap();
        let manifest = || {
            let at = store.list().unwrap().into_iter().find(Manifest::is_at).unwrap();
            Manifest::get(&store, &at).unwrap()
        };
        let begun = manifest();
        assert_eq!((begun.run.as_str(), begun.host.as_str(), begun.state), ("run", "h", State::Recording));
        run.write("nixl", &agents(&[15]), 0).unwrap();
        run.end().unwrap();
        let ended = manifest();
        assert_eq!((ended.state, ended.segments, ended.rows), (State::Ended, 2, 3));
        assert_eq!((ended.first_ns, ended.last_ns, ended.wall_at_zero_ns), (Some(10), Some(20), Some(5)));
    }

    #[test]
    fn a_disk_that_is_full_is_told_as_that() {
        let full = ParquetError::External(Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)));
        let said = failed("t.parquet".into(), full).to_string();
        assert!(said.starts_with("t.parquet: ") && !said.contains("Parquet file"), "{said}");
    }
}
