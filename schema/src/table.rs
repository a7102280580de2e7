//! What a table is, and the macro that defines one.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

use crate::values::Spelling;

/// Where the rows of a table come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Recorded or imported, stored in segments.
    Raw,
    /// Computed by the analyzer from raw tables.
    Derived,
}

/// How a column lies in Parquet. Chosen by measurement: `docs/storage.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `DELTA_BINARY_PACKED`: sorted times, ids that rise.
    Delta,
    /// `BYTE_STREAM_SPLIT`: durations and other noisy integers.
    Split,
    /// A dictionary: few distinct values.
    Dict,
    /// Plain: text, floats, booleans.
    Plain,
}

/// One column.
pub struct ColumnDef {
    /// Name; durations and times end in `_ns`, sizes in `_bytes`.
    pub name: &'static str,
    /// What it says, with its unit.
    pub doc: &'static str,
    /// How it is stored.
    pub encoding: Encoding,
    /// Arrow type.
    pub data_type: fn() -> DataType,
    /// Whether it may be null (unknown, or not recorded).
    pub nullable: bool,
    /// All that it can hold, if that is one of a few values.
    pub spellings: &'static [Spelling],
    /// What a segment from before the column says by not having it; `None`: nothing.
    pub absent: Option<&'static str>,
}

/// One table.
pub struct TableDef {
    /// Name, the same in segments, SQL and documentation.
    pub name: &'static str,
    /// What a row is.
    pub doc: &'static str,
    /// Recorded or computed.
    pub kind: Kind,
    /// Columns in order.
    pub columns: &'static [ColumnDef],
    /// The columns that the rows of a segment are sorted by.
    pub sorted_by: &'static [&'static str],
}

impl ColumnDef {
    /// What it says on one line, with what each of its values says.
    #[must_use]
    pub fn meaning(&self) -> String {
        let one_line = crate::docs::one_line;
        let values: Vec<String> = self
            .spellings
            .iter()
            .map(|value| format!("`{}`: {}", value.text, one_line(value.doc).trim_end_matches('.')))
            .collect();
        if values.is_empty() { one_line(self.doc) } else { format!("{} {}.", one_line(self.doc), values.join("; ")) }
    }
}

impl TableDef {
    /// The Arrow schema.
    #[must_use]
    pub fn arrow_schema(&self) -> Arc<Schema> {
        Arc::new(Schema::new(
            self.columns.iter().map(|c| Field::new(c.name, (c.data_type)(), c.nullable)).collect::<Vec<_>>(),
        ))
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnDef> {
        self.columns.iter().find(|c| c.name == name)
    }
}

/// Why a record batch is not of the table it should be of.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A column that must be there is not.
    #[error("table {table}: column `{column}` is missing")]
    MissingColumn {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
    },
    /// A column has another type, or holds nulls where it may not.
    #[error("table {table}: column `{column}` should be {expected}{} but is {found}", if *.nullable { "" } else { " without nulls" })]
    WrongType {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Type by the schema.
        expected: DataType,
        /// Whether nulls are allowed.
        nullable: bool,
        /// Type in the file.
        found: DataType,
    },
}

/// The columns of one table in memory, a vector a column.
pub trait Columns: Default {
    /// A row.
    type Row;
    /// The definition.
    const DEF: &'static TableDef;
    /// Appends a row.
    fn push(&mut self, row: Self::Row);
    /// Appends all rows of `other`.
    fn append(&mut self, other: Self);
    /// Number of rows.
    fn len(&self) -> usize;
    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Row `i`, cloned.
    ///
    /// # Panics
    /// Where `i` is not below [`Columns::len`].
    fn row(&self, i: usize) -> Self::Row;
    /// Drops the rows and keeps their memory.
    fn clear(&mut self);
    /// As one Arrow batch, in the order of the rows.
    fn to_batch(&self) -> RecordBatch;
    /// Some rows as an Arrow batch, in the order in which they are named.
    ///
    /// # Panics
    /// Where one is not below [`Columns::len`].
    fn pick(&self, rows: &[u32]) -> RecordBatch;
    /// One column as an Arrow array; `None` if there is none of that name.
    fn array(&self, column: &str) -> Option<ArrayRef>;
    /// Appends the rows of a batch; columns are taken by name. A missing column reads as [`ColumnDef::absent`], else as null.
    ///
    /// # Errors
    /// A missing column that may not be null, or one of another type.
    fn extend_from_batch(&mut self, batch: &RecordBatch) -> Result<(), ReadError>;
}

/// Reads one column of `batch`; used by [`crate::define_table`].
#[doc(hidden)]
pub fn read_column<T: crate::cell::Cell>(
    batch: &RecordBatch,
    table: &'static str,
    column: &'static str,
    absent: Option<&'static str>,
    into: &mut Vec<T>,
) -> Result<(), ReadError> {
    match batch.column_by_name(column) {
        Some(array) => T::read(array, into).ok_or_else(|| ReadError::WrongType {
            table,
            column,
            expected: T::data_type(),
            nullable: T::NULLABLE,
            found: array.data_type().clone(),
        }),
        None if absent.is_some() => {
            let texts = StringArray::from_iter(std::iter::repeat_n(absent, batch.num_rows()));
            T::read(&texts, into).ok_or(ReadError::MissingColumn { table, column })
        }
        None if T::NULLABLE => {
            let nulls = arrow::array::new_null_array(&T::data_type(), batch.num_rows());
            T::read(&nulls, into).ok_or(ReadError::MissingColumn { table, column })
        }
        None => Err(ReadError::MissingColumn { table, column }),
    }
}

/// What a column can hold: by its type, or by the values that its texts are known to have.
#[doc(hidden)]
#[macro_export]
macro_rules! spellings_of {
    ($ty:ty) => {
        <$ty as $crate::cell::Cell>::SPELLINGS
    };
    ($ty:ty, $values:ty) => {
        <$values>::SPELLINGS
    };
}

/// What a segment without the column says by that.
#[doc(hidden)]
#[macro_export]
macro_rules! absent_of {
    () => {
        None
    };
    ($values:ty) => {
        <$values>::ABSENT
    };
}

/// Defines columns that several tables have in common, as a struct. `$with` becomes a macro that defines a table with them
/// behind its own columns, whose row is made by `of`: the columns in common as given, the others empty.
#[macro_export]
macro_rules! define_columns {
    (
        $(#[doc = $struct_doc:literal])+
        $name:ident, $with:ident {
            $( $(#[doc = $doc:literal])+ $col:ident: $ty:ty => $encoding:ident, )+
        }
    ) => {
        $crate::define_columns! { @with ($) $with $name { $( $(#[doc = $doc])+ $col: $ty => $encoding, )+ } }

        $(#[doc = $struct_doc])+
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $( $(#[doc = $doc])+ pub $col: $ty, )+ }
    };
    ( @with ($d:tt) $with:ident $name:ident { $( $(#[doc = $doc:literal])+ $col:ident: $ty:ty => $encoding:ident, )+ } ) => {
        macro_rules! $with {
            (
                $d(#[doc = $d table_doc:literal])+
                $d kind:ident $d table:ident: $d row:ident, $d columns:ident, sorted by [$d($d sort:ident),*] {
                    $d($d own:tt)+
                }
            ) => {
                $crate::define_table! {
                    { $d(#[doc = $d table_doc])+ #[derive(Default)] $d kind $d table: $d row, $d columns, sorted by [$d($d sort),*] }
                    { $d($d own)+ }
                    { $( $(#[doc = $doc])+ $col: $ty => $encoding, )+ }
                }

                impl $d row {
                    #[doc = concat!("A row with the columns of [`", stringify!($name), "`], the others empty.")]
                    #[must_use]
                    pub fn of(common: $name) -> Self {
                        Self { $( $col: common.$col, )+ ..Self::default() }
                    }
                }
            };
        }
    };
}

/// Defines a table: a row struct, its columns in memory ([`Columns`]) and its [`TableDef`]. Columns that several tables have
/// in common follow in braces of their own, as [`crate::define_columns`] hands them over.
#[macro_export]
macro_rules! define_table {
    ( { $($head:tt)+ } { $($own:tt)+ } { $($common:tt)+ } ) => {
        $crate::define_table! { $($head)+ { $($own)+ $($common)+ } }
    };
    (
        $(#[doc = $table_doc:literal])+
        $(#[derive($derive:ident)])?
        $kind:ident $name:ident: $row:ident, $columns:ident, sorted by [$($sort:ident),*] {
            $( $(#[doc = $doc:literal])+ $col:ident: $ty:ty => $encoding:ident $(of $values:ty)?, )+
        }
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Debug, Clone, PartialEq $(, $derive)?)]
        pub struct $row { $( $(#[doc = $doc])+ pub $col: $ty, )+ }

        #[doc = concat!("The columns of `", stringify!($name), "`, see [`", stringify!($row), "`].")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $columns { $( $(#[doc = $doc])+ pub $col: Vec<$ty>, )+ }

        impl $crate::table::Columns for $columns {
            type Row = $row;
            const DEF: &'static $crate::table::TableDef = &$crate::table::TableDef {
                name: stringify!($name),
                doc: concat!($($table_doc, "\n"),+),
                kind: $crate::table::Kind::$kind,
                columns: &[ $( $crate::table::ColumnDef {
                    name: stringify!($col),
                    doc: concat!($($doc, "\n"),+),
                    encoding: $crate::table::Encoding::$encoding,
                    data_type: <$ty as $crate::cell::Cell>::data_type,
                    nullable: <$ty as $crate::cell::Cell>::NULLABLE,
                    spellings: $crate::spellings_of!($ty $(, $values)?),
                    absent: $crate::absent_of!($($values)?),
                } ),+ ],
                sorted_by: &[ $(stringify!($sort)),* ],
            };
            fn push(&mut self, row: $row) { $( self.$col.push(row.$col); )+ }
            fn append(&mut self, other: Self) { $( self.$col.extend(other.$col); )+ }
            fn clear(&mut self) { $( self.$col.clear(); )+ }
            fn len(&self) -> usize { let lengths = [ $( self.$col.len() ),+ ]; lengths[0] }
            fn row(&self, i: usize) -> $row { $row { $( $col: self.$col[i].clone() ),+ } }
            fn to_batch(&self) -> arrow::array::RecordBatch {
                arrow::array::RecordBatch::try_new(
                    Self::DEF.arrow_schema(),
                    vec![ $( <$ty as $crate::cell::Cell>::to_array(self.$col.iter()) ),+ ],
                ).expect("columns are of equal length and of their own schema")
            }
            fn pick(&self, rows: &[u32]) -> arrow::array::RecordBatch {
                arrow::array::RecordBatch::try_new(
                    Self::DEF.arrow_schema(),
                    vec![ $(
                        <$ty as $crate::cell::Cell>::to_array(rows.iter().map(|row| &self.$col[*row as usize]))
                    ),+ ],
                ).expect("columns are of equal length and of their own schema")
            }
            fn array(&self, column: &str) -> Option<arrow::array::ArrayRef> {
                $( if column == stringify!($col) {
                    return Some(<$ty as $crate::cell::Cell>::to_array(self.$col.iter()));
                } )+
                None
            }
            fn extend_from_batch(&mut self, batch: &arrow::array::RecordBatch)
                -> Result<(), $crate::table::ReadError> {
                $(
                    let absent = $crate::absent_of!($($values)?);
                    $crate::table::read_column(batch, stringify!($name), stringify!($col), absent, &mut self.$col)?;
                )+
                Ok(())
            }
        }
    };
}
