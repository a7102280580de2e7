//! Times and ids of a host's rows as they are read: on the clock of its reference, and apart from those of other hosts.
//!
//! Where a run has one host, there is none to be told apart from, and rows stay as they are.

use super::HostClock;
use crate::error::LoadError;
use crate::load::limits::{SPAN, TIME, plausible};

/// A time.
///
/// # Errors
/// It would overflow what is reckoned with it, on its own clock or the reference's.
pub fn time(table: &'static str, column: &'static str, host: Option<&HostClock>, t: i64) -> Result<i64, LoadError> {
    let own = plausible(table, column, &(-TIME..=TIME), t)?;
    let moved = host.map_or(own, |host| host.time(own));
    // What is told is the value as it stands in the file.
    if (-TIME..=TIME).contains(&moved) { Ok(moved) } else { Err(LoadError::Implausible { table, column, value: t }) }
}

/// Start and end of what began at `start_ns` and took `dur_ns`; the end follows, so what touched or overlapped still does.
///
/// # Errors
/// As [`time`].
pub fn span(table: &'static str, host: Option<&HostClock>, start: i64, dur: i64) -> Result<(i64, i64), LoadError> {
    let plausible = |dur| plausible(table, "dur_ns", &(0..=SPAN), dur);
    let end = start.saturating_add(plausible(dur)?);
    let start = time(table, "start_ns", host, start)?;
    let end = host.map_or(end, |host| host.time(end));
    Ok((start, start + plausible(end.saturating_sub(start))?))
}

/// The id of a process.
///
/// # Errors
/// No recorder gives it.
pub fn process(table: &'static str, host: Option<&HostClock>, id: i64) -> Result<i64, LoadError> {
    own(table, "process_id", host, id)
}

/// An id.
///
/// # Errors
/// No recorder gives it.
pub fn own(table: &'static str, column: &'static str, host: Option<&HostClock>, id: i64) -> Result<i64, LoadError> {
    host.map_or(Some(id), |host| host.id(id)).ok_or(LoadError::Implausible { table, column, value: id })
}
