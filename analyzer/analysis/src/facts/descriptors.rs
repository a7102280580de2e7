//! `nixl_descriptors`, 32 bytes a row: a transfer of scattered pages has thousands.

use std::ops::Range;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::NixlDescriptors;

use super::{Consumer, WantedColumns};
use crate::clocks::{HostClock, rows};
use crate::error::LoadError;
use crate::load::batches::Batch;
use crate::load::limits::within;
use crate::spill::{Column, Memory, sorted};

/// Descriptors; once they are [`Descriptors::finish`]ed by transfer.
#[derive(Debug, Default)]
pub struct Descriptors {
    transfer: Column<i64>,
    local: Column<u64>,
    remote: Column<u64>,
    bytes: Column<i64>,
}

/// Stands for a remote address that could not be read: no region goes on beyond it.
const UNREAD: u64 = u64::MAX;

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Local address.
    pub local: u64,
    /// Remote address, where it could be read.
    pub remote: Option<u64>,
    /// Size, bytes.
    pub bytes: i64,
}

impl Descriptors {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            transfer: Column::new(memory),
            local: Column::new(memory),
            remote: Column::new(memory),
            bytes: Column::new(memory),
        }
    }

    fn add(&mut self, transfer: i64, descriptor: Descriptor) -> Result<(), LoadError> {
        self.transfer.push(transfer)?;
        self.local.push(descriptor.local)?;
        self.remote.push(descriptor.remote.unwrap_or(UNREAD))?;
        self.bytes.push(descriptor.bytes)
    }

    /// Puts all that was read in order.
    ///
    /// # Errors
    /// No room for files.
    pub fn finish(&mut self, memory: &Memory) -> Result<(), LoadError> {
        if self.transfer.is_sorted() {
            return Ok(());
        }
        let order = |row: u32| (self.transfer[row as usize], row);
        let rows = sorted(memory, self.transfer.len(), |a, b| order(a).cmp(&order(b)))?;
        let numbers = |values: &[i64]| Column::collect(memory, rows.iter().map(|row| values[*row as usize]));
        let addresses = |values: &[u64]| Column::collect(memory, rows.iter().map(|row| values[*row as usize]));
        let (local, remote) = (addresses(&self.local)?, addresses(&self.remote)?);
        let (transfer, bytes) = (numbers(&self.transfer)?, numbers(&self.bytes)?);
        *self = Self { transfer, local, remote, bytes };
        Ok(())
    }

    fn rows_of(&self, transfer: i64) -> Range<usize> {
        let before = self.transfer.partition_point(|own| *own < transfer);
        before..before + self.transfer[before..].partition_point(|own| *own == transfer)
    }

    /// Those of a transfer, in no order.
    #[must_use]
    pub fn of(&self, transfer: i64) -> impl ExactSizeIterator<Item = Descriptor> {
        self.rows_of(transfer).map(|row| Descriptor {
            local: self.local[row],
            remote: Some(self.remote[row]).filter(|remote| *remote != UNREAD),
            bytes: self.bytes[row],
        })
    }
}

const DESCRIPTORS: [WantedColumns; 1] =
    [WantedColumns { table: NixlDescriptors::DEF, columns: &["transfer_id", "local_addr", "remote_addr", "bytes"] }];

impl Consumer for Descriptors {
    fn wants(&self) -> &'static [WantedColumns] {
        &DESCRIPTORS
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let (transfer, bytes) = (batch.i64("transfer_id")?, batch.i64("bytes")?);
        let (local, remote) = (batch.u64("local_addr")?, batch.optional_u64("remote_addr")?);
        within(batch.table(), "bytes", bytes.iter().copied(), 0..=i64::MAX)?;
        for row in 0..batch.len() {
            let transfer = rows::own(batch.table(), "transfer_id", host, transfer[row])?;
            self.add(transfer, Descriptor { local: local[row], remote: remote(row), bytes: bytes[row] })?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Descriptors {
    /// Adds one by hand.
    pub(crate) fn push(&mut self, transfer: i64, descriptor: Descriptor) {
        self.add(transfer, descriptor).unwrap();
        self.finish(&Memory::default()).unwrap();
    }

    /// As if no remote address could have been read.
    pub(crate) fn forget_remote(&mut self) {
        self.remote[..].fill(UNREAD);
    }

    /// As if the segments were in the contrary order.
    pub(crate) fn reverse(&mut self) {
        self.transfer.reverse();
        self.local.reverse();
        self.remote.reverse();
        self.bytes.reverse();
        self.finish(&Memory::default()).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_in_any_order_are_those_of_their_transfers() {
        let memory = Memory::default();
        let mut all = Descriptors::within(&memory);
        let descriptor = |local, remote| Descriptor { local, remote, bytes: 1 };
        for (transfer, local, remote) in [(7, 1, None), (5, 2, Some(0)), (7, 3, Some(9)), (-1, 4, None)] {
            all.push(transfer, descriptor(local, remote));
        }
        assert!(all.of(7).eq([descriptor(1, None), descriptor(3, Some(9))]));
        assert!(all.of(5).eq([descriptor(2, Some(0))]));
        assert_eq!((all.of(6).len(), all.of(-1).len()), (0, 1));
    }
}
