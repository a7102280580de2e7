//! What takes the rows of raw tables as they are read, a batch at a time.

use kvpath_schema::table::TableDef;

use crate::clocks::HostClock;
use crate::error::LoadError;
use crate::load::batches::Batch;

/// Columns of a raw table that a [`Consumer`] needs.
#[derive(Clone, Copy)]
pub struct WantedColumns {
    /// The table.
    pub table: &'static TableDef,
    /// Its columns, by name.
    pub columns: &'static [&'static str],
}

/// Takes rows of some tables; of one host after another. It may be handed more columns than it wants.
pub trait Consumer {
    /// What it takes; tables in the order in which it needs them.
    fn wants(&self) -> &'static [WantedColumns];

    /// Takes a batch of one of its tables; times and ids are made those of the reference where `host` is given.
    ///
    /// # Errors
    /// A column of another type, values that cannot be, or no room for files.
    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError>;
}
