//! Some columns of a table, a batch at a time: what is read is as wide as it is needed, and dropped at once.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use kvpath_schema::segment::{self, SegmentError};
use kvpath_schema::table::{ReadError, TableDef};
use parquet::arrow::ProjectionMask;

use super::Run;
use crate::error::LoadError;

/// Rows of a batch.
const ROWS: usize = 65_536;

/// Reads `columns` of `def` from every segment of `run`, in the order of the segments.
///
/// # Errors
/// A segment that does not decode, or lacks a column; what `each` returns.
pub fn for_each(
    run: &Run,
    def: &TableDef,
    columns: &[&str],
    mut each: impl FnMut(&Batch) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    for found in run.of_table(def.name) {
        let path = &found.path;
        let (_, builder) = segment::open(path)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let parquet = |error| SegmentError::Parquet { path: path.clone(), error };
        for batch in builder.with_projection(mask).with_batch_size(ROWS).build().map_err(parquet)? {
            let rows = batch.map_err(|error| SegmentError::Data { path: path.clone(), error })?;
            each(&Batch { rows, table: def.name, path: path.clone() })?;
        }
    }
    Ok(())
}

/// A batch with the names that errors need.
pub struct Batch {
    rows: RecordBatch,
    table: &'static str,
    path: std::path::PathBuf,
}

impl Batch {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A column without nulls.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn i64(&self, column: &'static str) -> Result<&[i64], LoadError> {
        let array = self.rows.column_by_name(column).and_then(|array| array.as_primitive_opt::<Int64Type>());
        array.filter(|array| array.null_count() == 0).map(|array| &array.values()[..]).ok_or_else(|| self.wrong(column))
    }

    /// The same of 32 bits.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn i32(&self, column: &'static str) -> Result<&[i32], LoadError> {
        let array = self.rows.column_by_name(column).and_then(|array| array.as_primitive_opt::<Int32Type>());
        array.filter(|array| array.null_count() == 0).map(|array| &array.values()[..]).ok_or_else(|| self.wrong(column))
    }

    /// A column that may hold nulls, or be absent where a recorder did not write it yet; `None` for a null.
    ///
    /// # Errors
    /// It is of another type.
    pub fn optional_i64(&self, column: &'static str) -> Result<impl Fn(usize) -> Option<i64>, LoadError> {
        let array = self.rows.column_by_name(column);
        let values = array.map(|array| array.as_primitive_opt::<Int64Type>().ok_or_else(|| self.wrong(column)));
        let values = values.transpose()?;
        Ok(move |row| values.filter(|values| values.is_valid(row)).map(|values| values.value(row)))
    }

    /// The same of 32 bits.
    ///
    /// # Errors
    /// It is of another type.
    pub fn optional_i32(&self, column: &'static str) -> Result<impl Fn(usize) -> Option<i32>, LoadError> {
        let array = self.rows.column_by_name(column);
        let values = array.map(|array| array.as_primitive_opt::<Int32Type>().ok_or_else(|| self.wrong(column)));
        let values = values.transpose()?;
        Ok(move |row| values.filter(|values| values.is_valid(row)).map(|values| values.value(row)))
    }

    /// Columns that a recorder writes all of or none: each without nulls, or `None` where it is absent or has some.
    ///
    /// # Errors
    /// One is of another type.
    pub fn all_or_none_i32<const N: usize>(
        &self,
        columns: [&'static str; N],
    ) -> Result<[Option<&[i32]>; N], LoadError> {
        let mut found = [None; N];
        for (column, into) in columns.into_iter().zip(&mut found) {
            let Some(array) = self.rows.column_by_name(column) else { continue };
            let array = array.as_primitive_opt::<Int32Type>().ok_or_else(|| self.wrong(column))?;
            *into = (array.null_count() == 0).then(|| &array.values()[..]);
        }
        Ok(found)
    }

    /// Name of the table.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// A column of names: `intern` is asked once for each distinct one of the batch; a number a row.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn names(&self, column: &'static str, mut intern: impl FnMut(&str) -> u32) -> Result<Vec<u32>, LoadError> {
        let array = self.rows.column_by_name(column).ok_or_else(|| self.wrong(column))?;
        if let Some(plain) = array.as_string_opt::<i32>() {
            return Ok((0..plain.len()).map(|row| intern(plain.value(row))).collect());
        }
        let array = array.as_dictionary_opt::<Int32Type>().filter(|array| array.null_count() == 0);
        let array = array.ok_or_else(|| self.wrong(column))?;
        let values = array.values().as_string_opt::<i32>().ok_or_else(|| self.wrong(column))?;
        let ids: Vec<u32> = (0..values.len()).map(|at| intern(values.value(at))).collect();
        let id = |key: &i32| usize::try_from(*key).ok().and_then(|key| ids.get(key)).copied();
        array.keys().values().iter().map(id).collect::<Option<Vec<u32>>>().ok_or_else(|| self.wrong(column))
    }

    fn wrong(&self, column: &'static str) -> LoadError {
        let error = ReadError::MissingColumn { table: self.table, column };
        LoadError::Segment(SegmentError::Columns { path: self.path.clone(), error })
    }
}
