//! Segments that cannot be read: each costs itself, and is named.
//!
//! Most damage shows in the footer, when a run is opened. What shows only when pages are decoded is met in the middle of a
//! computation, after rows of the segment were used: so the computation begins anew without it. Whole runs pay nothing for this.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use kvpath_schema::segment::{Batches, SegmentError};
use kvpath_schema::tables;
use parquet::arrow::ProjectionMask;

use super::{Run, Segment};
use crate::error::LoadError;

/// A segment that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Where.
    pub path: PathBuf,
    /// What is wrong with it; one line that names it.
    pub error: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; it is left out", self.error)
    }
}

impl Damaged {
    pub(super) fn of(path: &Path, error: &SegmentError) -> Self {
        Self { path: path.to_owned(), error: error.to_string() }
    }
}

/// Whether an error tells of damage to one file; not one that another version wrote, or that may not be read.
pub(super) fn is_damage(error: &SegmentError) -> bool {
    match error {
        SegmentError::Io { .. } | SegmentError::Version { .. } => false,
        SegmentError::Parquet { .. }
        | SegmentError::Data { .. }
        | SegmentError::Foreign { .. }
        | SegmentError::Manifest { .. }
        | SegmentError::Columns { .. } => true,
    }
}

impl Run {
    /// What `read` makes of the run, without the segments that it finds damaged on its way; they are in the run that is returned.
    ///
    /// # Errors
    /// As `read`; damage too, where nothing else is left to read.
    pub fn reading<T>(mut self, mut read: impl FnMut(&Self) -> Result<T, LoadError>) -> Result<(Self, T), LoadError> {
        loop {
            match read(&self) {
                Ok(done) => return Ok((self, done)),
                Err(error) if self.without_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves the segments out that `error` may come from. Gives whether the run can be read again: there are such segments, damage
    /// is accepted, and others are left.
    pub fn without_damage(&mut self, error: &LoadError) -> bool {
        let found = match error {
            LoadError::Segment(error) if is_damage(error) => self.find(|segment| whole(segment).err()),
            LoadError::Implausible { table, column, value } => self.find(|segment| {
                implausible(segment, (table, column), *value).then(|| format!("{}: {error}", segment.path.display()))
            }),
            _ => return false,
        };
        if self.is_strict || found.is_empty() || found.len() == self.segments.len() {
            return false;
        }
        self.leave_out(found);
        true
    }

    /// Leaves out all that does not decode; every segment is read whole.
    ///
    /// # Errors
    /// Damage, where it is not accepted, or nothing else is left.
    pub fn verify(&mut self) -> Result<(), LoadError> {
        let found = self.find(|segment| whole(segment).err());
        match found.first() {
            Some(damaged) if self.is_strict || found.len() == self.segments.len() => {
                Err(LoadError::Damaged(damaged.error.clone()))
            }
            _ => {
                self.leave_out(found);
                Ok(())
            }
        }
    }

    fn leave_out(&mut self, mut found: Vec<Damaged>) {
        self.segments.retain(|segment| found.iter().all(|damaged| damaged.path != segment.path));
        self.damaged.append(&mut found);
    }

    fn find(&self, why: impl Fn(&Segment) -> Option<String>) -> Vec<Damaged> {
        let damaged = |segment: &Segment| Some(Damaged { path: segment.path.clone(), error: why(segment)? });
        self.segments.iter().filter_map(damaged).collect()
    }
}

/// Reads the whole segment; the error is one line that names the file.
fn whole(segment: &Segment) -> Result<(), String> {
    let path = segment.path.display();
    let table = tables::raw(&segment.meta.table)
        .ok_or_else(|| format!("{path}: unknown table `{}`; this kvpath does not know it", segment.meta.table))?;
    let builder = segment.open_uncounted().map_err(|error| error.to_string())?;
    for column in table.columns {
        let found = builder.schema().field_with_name(column.name).ok();
        let expected = (column.data_type)();
        match found {
            Some(field) if *field.data_type() == expected => {}
            Some(field) => {
                return Err(format!(
                    "{path}: column `{}` should be {expected} but is {}",
                    column.name,
                    field.data_type()
                ));
            }
            None if column.nullable || column.absent.is_some() => {}
            None => return Err(format!("{path}: column `{}` is missing", column.name)),
        }
    }
    let damaged = |error: String| format!("{path}: damaged data ({error})");
    let mut rows = 0;
    for batch in Batches::from(builder.build().map_err(|error| damaged(error.to_string()))?) {
        rows += batch.map_err(|error| damaged(error.to_string()))?.num_rows();
    }
    if i64::try_from(rows) != Ok(segment.rows) {
        return Err(damaged(format!("{rows} rows where the footer says {}", segment.rows)));
    }
    Ok(())
}

/// Whether a segment holds a value in that column that is as far off as `value`: what lies beyond a value that cannot be cannot be
/// either, so one search finds all segments of its kind.
fn implausible(segment: &Segment, (table, column): (&str, &str), value: i64) -> bool {
    if segment.meta.table != table {
        return false;
    }
    let Ok(builder) = segment.open_uncounted() else { return false };
    let mask = ProjectionMask::columns(builder.parquet_schema(), [column]);
    let Ok(reader) = builder.with_projection(mask).build() else { return false };
    let is_beyond = |found: i64| if value < 0 { found <= value } else { found >= value };
    Batches::from(reader).filter_map(Result::ok).any(|batch| {
        let values = batch.column_by_name(column).and_then(|values| cast(values, &DataType::Int64).ok());
        values.is_some_and(|values| {
            let values = values.as_primitive::<Int64Type>();
            (0..values.len()).any(|row| values.is_valid(row) && is_beyond(values.value(row)))
        })
    })
}
