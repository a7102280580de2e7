//! Some columns of a table, a batch at a time: what is read is as wide as it is needed, and dropped at once.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt64Type};
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
        let builder = found.open()?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let parquet = |error| SegmentError::Parquet { path: path.clone(), error };
        let reader = builder.with_projection(mask).with_batch_size(ROWS).build().map_err(parquet)?;
        for batch in segment::Batches::from(reader) {
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
        self.values::<Int64Type>(column)
    }

    /// The same of addresses.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn u64(&self, column: &'static str) -> Result<&[u64], LoadError> {
        self.values::<UInt64Type>(column)
    }

    /// The same of 32 bits.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn i32(&self, column: &'static str) -> Result<&[i32], LoadError> {
        self.values::<Int32Type>(column)
    }

    /// A column that may hold nulls, or be absent where a recorder did not write it yet; `None` for a null.
    ///
    /// # Errors
    /// It is of another type.
    pub fn optional_i64(&self, column: &'static str) -> Result<impl Fn(usize) -> Option<i64>, LoadError> {
        self.optional::<Int64Type>(column)
    }

    /// The same of addresses.
    ///
    /// # Errors
    /// It is of another type.
    pub fn optional_u64(&self, column: &'static str) -> Result<impl Fn(usize) -> Option<u64>, LoadError> {
        self.optional::<UInt64Type>(column)
    }

    /// The same of 32 bits.
    ///
    /// # Errors
    /// It is of another type.
    pub fn optional_i32(&self, column: &'static str) -> Result<impl Fn(usize) -> Option<i32>, LoadError> {
        self.optional::<Int32Type>(column)
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
            let array = self.primitive::<Int32Type>(column, array, true)?;
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
        let array = self.column(column)?;
        let wrong = || {
            let expected = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            self.wrong(column, array, expected, false)
        };
        if array.null_count() > 0 {
            return Err(wrong());
        }
        if let Some(plain) = array.as_string_opt::<i32>() {
            return Ok((0..plain.len()).map(|row| intern(plain.value(row))).collect());
        }
        let array = array.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
        let values = array.values().as_string_opt::<i32>().ok_or_else(wrong)?;
        let ids: Vec<u32> = (0..values.len()).map(|at| intern(values.value(at))).collect();
        let id = |key: &i32| usize::try_from(*key).ok().and_then(|key| ids.get(key)).copied();
        array.keys().values().iter().map(id).collect::<Option<Vec<u32>>>().ok_or_else(wrong)
    }

    /// The same of a column that may hold nulls, or be absent where a recorder did not write it yet.
    ///
    /// # Errors
    /// It is of another type.
    pub fn optional_names(
        &self,
        column: &'static str,
        mut intern: impl FnMut(&str) -> u32,
    ) -> Result<Vec<Option<u32>>, LoadError> {
        let Some(array) = self.rows.column_by_name(column) else { return Ok(vec![None; self.len()]) };
        let wrong = || {
            let expected = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            self.wrong(column, array, expected, true)
        };
        let array = array.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
        let values = array.values().as_string_opt::<i32>().ok_or_else(wrong)?;
        let ids: Vec<u32> = (0..values.len()).map(|at| intern(values.value(at))).collect();
        let id = |key: Option<i32>| key.map(|key| usize::try_from(key).ok().and_then(|key| ids.get(key)).copied());
        array
            .keys()
            .iter()
            .map(|key| id(key).map_or(Some(None), |id| id.map(Some)))
            .collect::<Option<_>>()
            .ok_or_else(wrong)
    }

    fn optional<T: ArrowPrimitiveType>(
        &self,
        column: &'static str,
    ) -> Result<impl Fn(usize) -> Option<T::Native>, LoadError> {
        let array = self.rows.column_by_name(column);
        let values = array.map(|array| self.primitive::<T>(column, array, true)).transpose()?;
        Ok(move |row| values.filter(|values| values.is_valid(row)).map(|values| values.value(row)))
    }

    fn values<T: ArrowPrimitiveType>(&self, column: &'static str) -> Result<&[T::Native], LoadError> {
        Ok(&self.primitive::<T>(column, self.column(column)?, false)?.values()[..])
    }

    fn primitive<'a, T: ArrowPrimitiveType>(
        &self,
        column: &'static str,
        array: &'a ArrayRef,
        nullable: bool,
    ) -> Result<&'a PrimitiveArray<T>, LoadError> {
        let values = array.as_primitive_opt::<T>().filter(|values| nullable || values.null_count() == 0);
        values.ok_or_else(|| self.wrong(column, array, T::DATA_TYPE, nullable))
    }

    fn column(&self, column: &'static str) -> Result<&ArrayRef, LoadError> {
        let missing = || self.error(ReadError::MissingColumn { table: self.table, column });
        self.rows.column_by_name(column).ok_or_else(missing)
    }

    fn wrong(&self, column: &'static str, array: &ArrayRef, expected: DataType, nullable: bool) -> LoadError {
        let found = array.data_type().clone();
        self.error(ReadError::WrongType { table: self.table, column, expected, nullable, found })
    }

    fn error(&self, error: ReadError) -> LoadError {
        LoadError::Segment(SegmentError::Columns { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int32Array, Int64Array, StringArray};

    use super::*;

    fn batch() -> Batch {
        let columns: [(&str, ArrayRef); 6] = [
            ("named", Arc::new([Some("a"), None].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("long", Arc::new(Int64Array::from(vec![1, 2]))),
            ("short", Arc::new(Int32Array::from(vec![1, 2]))),
            ("gaps", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("names", Arc::new(["a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("unnamed", Arc::new(StringArray::from(vec![Some("a"), None]))),
        ];
        Batch {
            rows: RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap(),
            table: "kernels",
            path: "k.parquet".into(),
        }
    }

    #[test]
    fn what_is_right_is_read() {
        let batch = batch();
        assert_eq!((batch.i64("long").unwrap(), batch.i32("short").unwrap()), (&[1i64, 2][..], &[1i32, 2][..]));
        let gaps = batch.optional_i64("gaps").unwrap();
        assert_eq!((gaps(0), gaps(1), batch.optional_i64("none").unwrap()(0)), (Some(1), None, None));
        assert_eq!(batch.names("names", |name| u32::from(name.as_bytes()[0])).unwrap(), [97, 98]);
        let first = |name: &str| u32::from(name.as_bytes()[0]);
        assert_eq!(batch.optional_names("names", first).unwrap(), [Some(97), Some(98)]);
        assert_eq!(batch.optional_names("named", first).unwrap(), [Some(97), None]);
        assert_eq!(batch.optional_names("none", first).unwrap(), [None, None]);
        assert_eq!(batch.all_or_none_i32(["short", "none"]).unwrap(), [Some(&[1, 2][..]), None]);
    }

    #[test]
    fn an_error_names_the_column_and_both_types() {
        let batch = batch();
        let said = [
            batch.i64("short").map(<[i64]>::len).unwrap_err(),
            batch.i32("long").map(<[i32]>::len).unwrap_err(),
            batch.i64("gaps").map(<[i64]>::len).unwrap_err(),
            batch.optional_i32("long").map(|_| ()).unwrap_err(),
            batch.all_or_none_i32(["short", "long"]).map(|_| ()).unwrap_err(),
            batch.names("long", |_| 0).unwrap_err(),
            batch.names("unnamed", |_| 0).unwrap_err(),
            batch.optional_names("unnamed", |_| 0).map(drop).unwrap_err(),
            batch.i64("none").map(<[i64]>::len).unwrap_err(),
        ];
        let expected = [
            "`short` should be Int64 without nulls but is Int32",
            "`long` should be Int32 without nulls but is Int64",
            "`gaps` should be Int64 without nulls but is Int64",
            "`long` should be Int32 but is Int64",
            "`long` should be Int32 but is Int64",
            "`long` should be Dictionary(Int32, Utf8) without nulls but is Int64",
            "`unnamed` should be Dictionary(Int32, Utf8) without nulls but is Utf8",
            "`unnamed` should be Dictionary(Int32, Utf8) but is Utf8",
            "`none` is missing",
        ];
        for (said, expected) in said.iter().zip(expected) {
            let said = said.to_string();
            assert!(said.contains(expected) && said.contains("kernels") && said.contains("k.parquet"), "{said}");
        }
    }
}
