//! Values that no recorder writes, and that would overflow what is reckoned with them.

use std::ops::RangeInclusive;

use crate::error::LoadError;

/// The largest time, ns: 73 years, more than any clock of a running host and than the wall clock. The sum of two fits.
pub const TIME: i64 = 1 << 61;
/// The longest duration, ns (104 days), and the largest copy, bytes (9 PB).
pub const SPAN: i64 = 1 << 53;

/// A value of a column, if it is within `range`.
///
/// # Errors
/// It is not.
pub fn plausible(
    table: &'static str,
    column: &'static str,
    range: &RangeInclusive<i64>,
    value: i64,
) -> Result<i64, LoadError> {
    if range.contains(&value) { Ok(value) } else { Err(LoadError::Implausible { table, column, value }) }
}

/// Refuses values of a column outside of `range`.
///
/// # Errors
/// The first that is.
pub fn within(
    table: &'static str,
    column: &'static str,
    mut values: impl Iterator<Item = i64>,
    range: RangeInclusive<i64>,
) -> Result<(), LoadError> {
    values.try_for_each(|value| plausible(table, column, &range, value).map(drop))
}
