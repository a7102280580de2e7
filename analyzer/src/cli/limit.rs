//! `--memory-limit`, for every command that reads what ran.

use clap::Args;

use crate::sql::memory;
use kvpath_analysis::spill::Memory;

/// How much memory a command may take.
#[derive(Debug, Clone, Copy, Args)]
pub struct Limit {
    /// Memory for what ran, was waited for, copied and named (24 to 44 bytes a record) and, as much again, for queries; beyond it,
    /// these, sorts and aggregations are in files in the temporary folder. Transfers and messages, which are few, stay in memory.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = memory::parse)]
    pub memory_limit: usize,
}

impl Limit {
    /// What holds records under it.
    pub(super) fn memory(self) -> Memory {
        Memory::of(self.memory_limit)
    }
}
