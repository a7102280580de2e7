//! What each of many waits for, 32 bytes a wait.

use super::waits::WaitTarget;
use crate::error::LoadError;
use crate::spill::{Column, Memory, sorted};

/// Who waits, the correlation id of the call that made it wait, and what for.
type Wait = (i64, i64, WaitTarget);

/// Kinds of what is awaited.
const EVENT: u32 = 0;
const EXACT_EVENT: u32 = 1;
const STREAM: u32 = 2;
const CONTEXT: u32 = 3;

/// Waits; in order once they are [`Waiting::sorted`].
#[derive(Debug, Default)]
pub(super) struct Waiting {
    who: Column<i64>,
    call: Column<i64>,
    kind: Column<u32>,
    /// Stream or context.
    of: Column<u32>,
    /// `correlation_id` of an event's record.
    record: Column<i64>,
}

impl Waiting {
    /// None yet.
    pub(super) fn within(memory: &Memory) -> Self {
        Self {
            who: Column::new(memory),
            call: Column::new(memory),
            kind: Column::new(memory),
            of: Column::new(memory),
            record: Column::new(memory),
        }
    }

    /// Adds one.
    pub(super) fn push(&mut self, (who, call, awaited): Wait) -> Result<(), LoadError> {
        let (kind, of, record) = match awaited {
            WaitTarget::Event { stream, correlation, exact } => {
                (if exact { EXACT_EVENT } else { EVENT }, stream, correlation)
            }
            WaitTarget::Stream(stream) => (STREAM, stream, 0),
            WaitTarget::Context(context) => (CONTEXT, context.cast_unsigned(), 0),
        };
        self.who.push(who)?;
        self.call.push(call)?;
        self.kind.push(kind)?;
        self.of.push(of)?;
        self.record.push(record)
    }

    fn awaited(&self, row: usize) -> WaitTarget {
        match self.kind[row] {
            STREAM => WaitTarget::Stream(self.of[row]),
            CONTEXT => WaitTarget::Context(self.of[row].cast_signed()),
            kind => {
                WaitTarget::Event { stream: self.of[row], correlation: self.record[row], exact: kind == EXACT_EVENT }
            }
        }
    }

    fn wait(&self, row: usize) -> Wait {
        (self.who[row], self.call[row], self.awaited(row))
    }

    /// The same in order, each once.
    pub(super) fn sorted(&self, memory: &Memory) -> Result<Self, LoadError> {
        let rows = sorted(memory, self.who.len(), |a, b| (self.wait(a as usize), a).cmp(&(self.wait(b as usize), b)))?;
        let mut all = Self::within(memory);
        let mut last = None;
        for wait in rows.iter().map(|row| self.wait(*row as usize)) {
            if last != Some(wait) {
                all.push(wait)?;
                last = Some(wait);
            }
        }
        Ok(all)
    }

    /// Whether `who` waits for anything.
    pub(super) fn is_there(&self, who: i64) -> bool {
        self.who.binary_search(&who).is_ok()
    }

    /// What `who` waits for by calls after those that are `before`, as long as they are `within`.
    pub(super) fn of(
        &self,
        who: i64,
        before: impl Fn(i64) -> bool,
        within: impl Fn(i64) -> bool,
    ) -> impl Iterator<Item = WaitTarget> {
        let own = self.who.partition_point(|other| *other < who)..self.who.partition_point(|other| *other <= who);
        let from = own.start + self.call[own.clone()].partition_point(|call| before(*call));
        let rows = (from..own.end).take_while(move |row| within(self.call[*row]));
        rows.map(|row| self.awaited(row))
    }
}
