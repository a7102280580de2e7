//! Reading segments.

use std::fs::File;
use std::path::Path;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;

use super::{Batches, Meta, SegmentError, keys};
use crate::store::{Location, Reader, Store};
use crate::table::{Columns, TableDef};
use crate::version;

/// A segment that was opened, to be read.
pub type Builder = ParquetRecordBatchReaderBuilder<Reader>;

/// Opens the segment in a file and checks that this build can read it.
///
/// # Errors
/// Not Parquet, not of kvpath, or of another version.
pub fn open(path: &Path) -> Result<(Meta, Builder), SegmentError> {
    let file = File::open(path).map_err(|error| SegmentError::Io { path: path.to_owned(), error })?;
    of(path, Reader::file(file))
}

/// The same of a segment in a store.
///
/// # Errors
/// As [`open`].
pub fn open_at(store: &Store, location: &Location) -> Result<(Meta, Builder), SegmentError> {
    of(&store.path(location), store.open(location)?)
}

fn of(path: &Path, reader: Reader) -> Result<(Meta, Builder), SegmentError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(reader).map_err(parquet(path))?;
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
pub fn extent(segment: &Builder, table: &TableDef) -> Option<(i64, i64)> {
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

/// Appends all rows of the segment in the file at `path` to `columns`.
///
/// # Errors
/// As [`open`]; or the data does not decode, or not to this table's columns.
pub fn read_into<C: Columns>(path: &Path, columns: &mut C) -> Result<Meta, SegmentError> {
    append(path, open(path)?, columns)
}

/// The same of a segment in a store.
///
/// # Errors
/// As [`read_into`].
pub fn read_into_at<C: Columns>(store: &Store, location: &Location, columns: &mut C) -> Result<Meta, SegmentError> {
    append(&store.path(location), open_at(store, location)?, columns)
}

fn append<C: Columns>(path: &Path, (meta, builder): (Meta, Builder), columns: &mut C) -> Result<Meta, SegmentError> {
    for batch in Batches::from(builder.with_batch_size(65_536).build().map_err(parquet(path))?) {
        let batch = batch.map_err(|error| SegmentError::Data { path: path.to_owned(), error })?;
        columns.extend_from_batch(&batch).map_err(|error| SegmentError::Columns { path: path.to_owned(), error })?;
    }
    Ok(meta)
}

fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> SegmentError + '_ {
    |error| SegmentError::Parquet { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::segment::RunWriter;
    use crate::tables::nixl::{NixlAgent, NixlAgents};

    fn write(folder: &Path) -> PathBuf {
        let mut agents = NixlAgents::default();
        agents.push(NixlAgent {
            time_ns: 20,
            process_id: 7,
            agent_ptr: u64::MAX,
            name: "decode-0".into(),
            library: "nixl".into(),
        });
        let mut run = RunWriter::new(folder, "h", "test 0", None).imported();
        run.write("nixl", &agents, 0).unwrap().unwrap().path
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
    fn a_column_that_is_absent_says_what_it_says_by_that() {
        let mut agents = NixlAgents::default();
        agents.push(NixlAgent {
            time_ns: 20,
            process_id: 7,
            agent_ptr: 1,
            name: "d".into(),
            library: "mooncake".into(),
        });
        let whole = agents.to_batch();
        let old = whole.project(&[0, 1, 2, 3]).unwrap();
        let mut read = NixlAgents::default();
        read.extend_from_batch(&whole).unwrap();
        read.extend_from_batch(&old).unwrap();
        assert_eq!(read.library.iter().map(|library| &**library).collect::<Vec<_>>(), ["mooncake", "nixl"]);
        let without_name = whole.project(&[0, 1, 2]).unwrap();
        assert!(read.extend_from_batch(&without_name).is_err());
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
