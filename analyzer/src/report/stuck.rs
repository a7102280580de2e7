//! `kvpath stuck`: what failed or was waited for in vain, for people and for programs.

use std::fmt::Write as _;

use arrow::error::ArrowError;
use kvpath_analysis::load::Run;
use kvpath_analysis::load::losses::Losses;
use kvpath_analysis::units::{bytes, or_dash, time};
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::stuck::{Stuck as StuckTable, StuckCause, StuckItem};
use serde_json::{Value, json};

use super::json::rows;
use super::table::Table;
use crate::json::Output;

/// What is printed.
#[derive(Debug, Clone, Copy)]
pub struct Stuck<'a> {
    /// The run.
    pub run: &'a Run,
    /// The table.
    pub stuck: &'a StuckTable,
    /// What the recording lacks.
    pub losses: &'a Losses,
    /// Only what this request has to do with.
    pub only: Option<i32>,
}

impl Stuck<'_> {
    fn items(&self) -> Vec<StuckItem> {
        let is_shown = |row: &usize| self.only.is_none_or(|only| self.stuck.request[*row] == Some(only));
        (0..self.stuck.len()).filter(is_shown).map(|row| self.stuck.row(row)).collect()
    }

    /// Whether something failed, or was waited for longer than the end of the recording explains.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.items().iter().any(|item| item.cause != StuckCause::RecordingEnded)
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let items = self.items();
        let mut out = format!("STUCK OR FAILED: {}\n", items.len());
        if items.is_empty() {
            out.push_str("  nothing that failed, and nothing that was waited for in vain, is on record\n");
        } else {
            let mut table =
                Table::new(2, &["what", "why", "request", "transfer", "process", "waits for", "bytes", "from", "for"]);
            for item in &items {
                table.row(vec![
                    item.kind.to_string(),
                    item.cause.to_string(),
                    or_dash(item.request, |request| request.to_string()),
                    or_dash(item.transfer_id, |transfer| transfer.to_string()),
                    or_dash(item.process_id, |process| process.to_string()),
                    or_dash(item.peer_process_id, |process| process.to_string()),
                    or_dash(item.bytes, bytes),
                    format!("+{}", time(item.since_ns - self.zero(&items))),
                    time(item.until_ns - item.since_ns),
                ]);
            }
            out.push_str(&table.render());
            out.push('\n');
            for item in &items {
                let _ = writeln!(out, "  * {}", item.text);
            }
        }
        if !self.losses.is_empty() {
            out.push_str(
                "\nRecords were lost (kvpath check); what is missing of messages is not shown where theirs were.\n",
            );
        }
        out
    }

    /// The beginning of the recording, as reports count from it.
    fn zero(&self, items: &[StuckItem]) -> i64 {
        let begins = self.run.segments.iter().filter_map(|segment| segment.extent).map(|(start, _)| start);
        begins.min().unwrap_or_else(|| items.iter().map(|item| item.since_ns).min().unwrap_or(0))
    }

    /// As one JSON object.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn json(&self) -> Result<Value, ArrowError> {
        let mut table = StuckTable::default();
        for item in self.items() {
            table.push(item);
        }
        Ok(Output::Stuck
            .stamped(json!({"run": self.run.name, "stuck": rows(&table.to_batch())?, "lost": self.losses.lines()})))
    }
}
