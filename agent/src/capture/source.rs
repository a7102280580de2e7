//! What a recording asks of a source of records.

use std::path::Path;

use kvpath_schema::segment::SegmentError;

use super::Context;
use crate::budget::{Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::error::AgentError;

/// A process that has ended.
#[derive(Debug, Clone, Copy)]
pub struct EndedProcess {
    /// OS pid.
    pub pid: i32,
    /// Its id in the tables.
    pub process_id: i64,
    /// When, ns.
    pub end_ns: i64,
}

/// A source of records. A recording calls [`RecordSource::drain`] and [`RecordSource::step`] in every round,
/// [`RecordSource::write`] for every segment, and the other methods when what they are named for happens. Their default is to do nothing.
pub trait RecordSource {
    /// Its name in `source_states`.
    fn name(&self) -> &'static str;

    /// Whether a file of that name may be a library that it attaches to.
    fn is_candidate(&self, _file_name: &str) -> bool {
        false
    }

    /// Takes a library that the settings name, before any process maps it; gives whether it is one of its own: by default, whether
    /// its name is that of a candidate. The sources are asked from the last to the first.
    ///
    /// # Errors
    /// The library cannot be opened, or is none.
    fn named(&mut self, path: &Path, context: &mut Context) -> Result<bool, AgentError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !self.is_candidate(name) {
            return Ok(false);
        }
        let library = Library::open(path).map_err(|error| AgentError::Library { path: path.to_owned(), error })?;
        self.found(library, name, context);
        Ok(true)
    }

    /// Attaches to a candidate with that file name, once.
    fn found(&mut self, _library: Library, _file_name: &str, _context: &mut Context) {}

    /// A process maps a candidate.
    fn mapped(&mut self, _pid: i32, _mapping: &Mapping, _context: &mut Context) {}

    /// A process runs another program now; what came before was drained.
    fn image_replaced(&mut self, _process_id: i64, _context: &mut Context) {}

    /// A process has ended; what it left was drained, and it is still in the table of processes.
    fn process_ended(&mut self, _process: EndedProcess, _context: &mut Context) {}

    /// Takes what has come, and begins to watch what has become known. May come several times a round.
    fn drain(&mut self, _context: &mut Context) {}

    /// Once a round: what is to be done from time to time.
    ///
    /// # Errors
    /// The kernel refuses.
    fn step(&mut self, _context: &mut Context) -> Result<(), AttachError> {
        Ok(())
    }

    /// Whether it holds so many rows that they should be written before their time.
    fn is_full(&self) -> bool {
        false
    }

    /// Its probes that are kept within the budget, if it has some.
    fn budgeted(&mut self) -> Option<&mut dyn Budgeted> {
        None
    }

    /// The recording ends: ends all that is open. [`RecordSource::write`] comes once more.
    ///
    /// # Errors
    /// The kernel refuses.
    fn finish(&mut self, _context: &mut Context) -> Result<(), AttachError> {
        Ok(())
    }

    /// Writes the rows that are ready, and the losses since the last time.
    ///
    /// # Errors
    /// A segment cannot be written.
    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError>;

    /// What was recorded, for the last line of a recording.
    fn summary(&self) -> Option<String> {
        None
    }

    /// What people should know at the end of a recording, beside losses.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// Probes whose hits are counted, and that are taken off where they cost too much.
pub trait Budgeted {
    /// Their groups.
    fn groups(&self) -> &'static [Group];

    /// Adds what the hits since the last call have cost, ns.
    ///
    /// # Errors
    /// A map cannot be read.
    fn add_spent(&mut self, costs: Costs, spent: &mut Spent) -> Result<(), AttachError>;

    /// Takes a group off all libraries, and leaves it off those to come.
    fn shed(&mut self, group: Group, context: &mut Context);

    /// Puts it on again, on all libraries or on none.
    ///
    /// # Errors
    /// The kernel refuses; then it stays off.
    fn restore(&mut self, group: Group, context: &mut Context) -> Result<(), AttachError>;
}
