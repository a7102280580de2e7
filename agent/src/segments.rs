//! The tables of a recording on their way into segments.

use std::fs;
use std::path::{Path, PathBuf};

use kvpath_schema::segment::{RunWriter, SegmentError};
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfo, CaptureInfos, Drop as DropRow, Drops};

use crate::losses::Losses;
use crate::processes::ProcessTable;
use crate::states::States;

/// Facts about the recording, in the order in which they became known; a key said again replaces its value.
#[derive(Debug, Default)]
pub struct Facts {
    all: Vec<(&'static str, String, String)>,
    changed: bool,
}

impl Facts {
    /// States a fact.
    pub fn say(&mut self, source: &'static str, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        self.changed = true;
        match self.all.iter_mut().find(|fact| fact.0 == source && fact.1 == key) {
            Some(fact) => fact.2 = value,
            None => self.all.push((source, key, value)),
        }
    }

    fn rows_if_changed(&mut self) -> Option<CaptureInfos> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut rows = CaptureInfos::default();
        for (source, key, value) in &self.all {
            rows.push(CaptureInfo { source: (*source).into(), key: key.clone(), value: value.clone() });
        }
        Some(rows)
    }
}

/// Writes the segments of a run.
///
/// Event tables grow by a segment each time. Processes, threads and facts change while they are known, so their one
/// segment is written anew and replaces the one before; a reader may see both for a moment, never none.
pub struct Segments {
    writer: RunWriter,
    processes: Option<PathBuf>,
    threads: Option<PathBuf>,
    facts: Option<PathBuf>,
    states: Option<PathBuf>,
    /// Records lost in all.
    pub dropped: u64,
}

impl Segments {
    /// Writes through `writer`.
    #[must_use]
    pub fn new(writer: RunWriter) -> Self {
        Self { writer, processes: None, threads: None, facts: None, states: None, dropped: 0 }
    }

    /// The folder of the run.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.writer.root()
    }

    /// Writes the tables that are written anew, where they have changed.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(
        &mut self,
        processes: &mut ProcessTable,
        facts: &mut Facts,
        states: &mut States,
    ) -> Result<(), SegmentError> {
        if let Some((processes, threads)) = processes.rows_if_changed() {
            replace(&mut self.writer, "process", &processes, &mut self.processes)?;
            replace(&mut self.writer, "process", &threads, &mut self.threads)?;
        }
        if let Some(facts) = facts.rows_if_changed() {
            replace(&mut self.writer, "capture", &facts, &mut self.facts)?;
        }
        if let Some(states) = states.rows_if_changed() {
            replace(&mut self.writer, "capture", &states, &mut self.states)?;
        }
        Ok(())
    }
}

impl Segments {
    /// Writes rows of a table that only grows.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn table<C: Columns>(&mut self, source: &str, rows: &C, dropped: u64) -> Result<(), SegmentError> {
        self.writer.write(source, rows, dropped).map(|_| ())
    }

    /// Writes what a source has lost.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn drops(&mut self, source: &str, now_ns: i64, losses: &Losses) -> Result<(), SegmentError> {
        let mut drops = Drops::default();
        for (cause, count) in losses.iter() {
            self.dropped += count;
            drops.push(DropRow {
                time_ns: now_ns,
                source: source.into(),
                table_name: cause.table.map(Into::into),
                reason: (*cause.reason).into(),
                count: i64::try_from(count).unwrap_or(i64::MAX),
                process_id: cause.process_id,
            });
        }
        self.table(source, &drops, 0)
    }
}

/// Writes a whole table anew and removes the segment that held it before.
fn replace<C: Columns>(
    writer: &mut RunWriter,
    source: &str,
    table: &C,
    before: &mut Option<PathBuf>,
) -> Result<(), SegmentError> {
    if let Some(written) = writer.write(source, table, 0)?
        && let Some(old) = before.replace(written.path)
    {
        fs::remove_file(&old).map_err(|error| SegmentError::Io { path: old, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::segment::read_into;
    use kvpath_schema::tables::process::Processes;

    use crate::losses::Cause;

    fn files(folder: &Path, table: &str) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
        found.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(table));
        found
    }

    #[test]
    fn tables_that_change_are_one_segment_and_losses_are_rows() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(RunWriter::new(folder.path(), "h", "test", None));
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        facts.say("capture", "kernel", "1");
        processes.id_of(1);
        let mut losses = Losses::default();
        losses.add(Cause::of("nixl_transfers", "ring buffer full"), 3);
        segments.drops("nixl", 5, &losses).unwrap();
        segments.write(&mut processes, &mut facts, &mut States::default()).unwrap();
        facts.say("capture", "kernel", "2");
        processes.id_of(2);
        segments.write(&mut processes, &mut facts, &mut States::default()).unwrap();

        let found = files(&folder.path().join("node=h/source=process"), "processes");
        let mut back = Processes::default();
        read_into(&found[0], &mut back).unwrap();
        assert_eq!((found.len(), back.pid.as_slice()), (1, [1, 2].as_slice()));

        let found = files(&folder.path().join("node=h/source=capture"), "capture_info");
        let mut back = CaptureInfos::default();
        read_into(&found[0], &mut back).unwrap();
        assert_eq!((found.len(), back.value.as_slice()), (1, ["2".to_owned()].as_slice()));

        let mut back = Drops::default();
        read_into(&files(&folder.path().join("node=h/source=nixl"), "drops")[0], &mut back).unwrap();
        assert_eq!((back.count[0], back.table_name[0].as_deref(), segments.dropped), (3, Some("nixl_transfers"), 3));
    }
}
