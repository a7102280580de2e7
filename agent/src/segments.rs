//! The tables of a recording on their way into segments.

use std::path::{Path, PathBuf};

use kvpath_schema::segment::{RunWriter, SegmentError, Unpublished};
use kvpath_schema::store::Location;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfo, CaptureInfos, Drop as DropRow, Drops};

use crate::losses::Losses;
use crate::processes::ProcessTable;
use crate::publisher::Publisher;
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
    publisher: Option<Publisher>,
    root: PathBuf,
    processes: Option<Location>,
    threads: Option<Location>,
    facts: Option<Location>,
    states: Option<Location>,
    /// Records lost in all.
    pub dropped: u64,
}

impl Segments {
    /// Writes through `writer`.
    #[must_use]
    pub fn new(writer: RunWriter) -> Self {
        Self {
            root: writer.store().root(),
            publisher: None,
            writer,
            processes: None,
            threads: None,
            facts: None,
            states: None,
            dropped: 0,
        }
    }

    /// Does not wait for the disk, but for its end.
    #[must_use]
    pub fn in_background(self) -> Self {
        Self { publisher: Some(Publisher::start()), ..self }
    }

    /// The folder of the run.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says that everything is written.
    ///
    /// # Errors
    /// The run cannot be written.
    pub fn end(&mut self) -> Result<(), SegmentError> {
        self.publisher.as_mut().map_or(Ok(()), Publisher::end)?;
        self.writer.end()
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
            self.processes = self.replace("process", &processes, self.processes.clone())?;
            self.threads = self.replace("process", &threads, self.threads.clone())?;
        }
        if let Some(facts) = facts.rows_if_changed() {
            self.facts = self.replace("capture", &facts, self.facts.clone())?;
        }
        if let Some(states) = states.rows_if_changed() {
            self.states = self.replace("capture", &states, self.states.clone())?;
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
        match self.writer.encode(source, rows, dropped)? {
            Some(segment) => self.publish(segment, None),
            None => Ok(()),
        }
    }

    /// Writes a whole table anew, in place of the segment that held it before; gives the new one.
    fn replace<C: Columns>(
        &mut self,
        source: &str,
        table: &C,
        before: Option<Location>,
    ) -> Result<Option<Location>, SegmentError> {
        let Some(segment) = self.writer.encode(source, table, 0)? else { return Ok(before) };
        let location = segment.location().clone();
        self.publish(segment, before)?;
        Ok(Some(location))
    }

    fn publish(&self, segment: Unpublished, replaced: Option<Location>) -> Result<(), SegmentError> {
        let store = self.writer.store();
        if let Some(publisher) = &self.publisher {
            return publisher.publish(segment, replaced.map(|old| (store.clone(), old)));
        }
        segment.publish()?;
        replaced.map_or(Ok(()), |old| store.remove(&old))
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

#[cfg(test)]
mod tests {
    use std::fs;

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
    fn what_is_published_in_the_background_is_there_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(RunWriter::new(folder.path(), "h", "test", None)).in_background();
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        for pid in 1..30 {
            processes.id_of(pid);
            segments.write(&mut processes, &mut facts, &mut States::default()).unwrap();
        }
        segments.end().unwrap();
        let found = files(&folder.path().join("node=h/source=process"), "processes");
        let mut back = Processes::default();
        read_into(&found[0], &mut back).unwrap();
        assert_eq!((found.len(), back.pid.len()), (1, 29));
    }

    #[test]
    fn a_disk_that_refuses_in_the_background_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(RunWriter::new(folder.path(), "h", "test", None)).in_background();
        let (mut processes, mut facts) = (ProcessTable::default(), Facts::default());
        facts.say("capture", "kernel", "1");
        segments.write(&mut processes, &mut facts, &mut States::default()).unwrap();
        facts.say("capture", "kernel", "2");
        // What is to be replaced is gone, so it cannot be removed.
        while files(&folder.path().join("node=h/source=capture"), "capture_info").is_empty() {
            std::thread::yield_now();
        }
        fs::remove_dir_all(folder.path().join("node=h/source=capture")).unwrap();
        let written = segments.write(&mut processes, &mut facts, &mut States::default());
        let ended = segments.end();
        let error = written.and(ended).unwrap_err().to_string();
        assert!(error.contains("capture_info-") && error.contains("No such file"), "{error}");
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
