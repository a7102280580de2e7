//! Rows of tables whose columns differ from version to version.

use kvpath_schema::cell::Name;
use rusqlite::{Row, types::ValueRef};
use std::collections::HashMap;

use super::error::ImportError;
use super::file::Opened;

/// The numbers that name strings: `StringIds`.
pub(super) type Strings = HashMap<i64, Name>;

/// Names of the tables in the database.
pub(super) fn tables(opened: &Opened) -> Result<Vec<String>, ImportError> {
    let names = (|| -> rusqlite::Result<Vec<String>> {
        let mut query = opened.db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")?;
        query.query_map([], |row| row.get(0))?.collect()
    })();
    names.map_err(|error| ImportError::Damaged { path: opened.path.clone(), error })
}

/// The integer at `at`; null, and values that are no integer, are `None`.
pub(super) fn int(row: &Row, at: usize) -> rusqlite::Result<Option<i64>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(value) => Some(value),
        _ => None,
    })
}

/// The text at `at`.
pub(super) fn text(row: &Row, at: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

/// As `i32`; what does not fit is unknown.
pub(super) fn small(value: Option<i64>) -> Option<i32> {
    value.and_then(|value| i32::try_from(value).ok())
}

/// Calls `each` for every row of `table` with the columns of `wanted` in order (null where the table lacks an optional
/// one); does nothing if there is no such table. A name with `!` must be there.
pub(super) fn each(
    opened: &Opened,
    table: &'static str,
    wanted: &[&'static str],
    mut each: impl FnMut(&Row) -> rusqlite::Result<()>,
) -> Result<bool, ImportError> {
    let damaged = |error| ImportError::Damaged { path: opened.path.clone(), error };
    let mut present: Vec<String> = Vec::new();
    opened
        .db
        .pragma(None, "table_info", table, |row| {
            present.push(row.get("name")?);
            Ok(())
        })
        .map_err(damaged)?;
    if present.is_empty() {
        return Ok(false);
    }
    let mut columns = Vec::new();
    for &name in wanted {
        let (name, needed) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        if present.iter().any(|p| p == name) {
            columns.push(format!("\"{name}\""));
        } else if needed {
            return Err(ImportError::ForeignTable { path: opened.path.clone(), table, column: name });
        } else {
            columns.push("NULL".to_owned());
        }
    }
    (|| -> rusqlite::Result<()> {
        let mut query = opened.db.prepare(&format!("SELECT {} FROM \"{table}\"", columns.join(", ")))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
    })()
    .map_err(damaged)?;
    Ok(true)
}

/// `StringIds`.
pub(super) fn strings(opened: &Opened) -> Result<Strings, ImportError> {
    let mut strings = Strings::new();
    each(opened, "StringIds", &["id!", "value!"], |row| {
        if let (Some(id), Some(value)) = (int(row, 0)?, text(row, 1)?) {
            strings.insert(id, value.into());
        }
        Ok(())
    })?;
    Ok(strings)
}
