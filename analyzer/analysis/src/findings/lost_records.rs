//! Processes whose records show that some were lost.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::{Concerns, RuleFinding, Tables, finding};
use crate::coverage::COMPLETE;
use crate::title;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    let coverage = tables.coverage;
    let lacking = (0..coverage.len()).filter(|row| coverage.verdict[*row] != COMPLETE);
    let found = lacking.map(|row| {
        let (process, name) = (coverage.process_id[row], title::short(&coverage.process[row]));
        let table = &coverage.table_name[row];
        let text = format!("process {process} ({name}), {table}: {}", coverage.verdict[row]);
        let row_keys = format!("process_id = {process} AND table_name = '{table}'");
        let row = Finding {
            process_id: Some(process),
            tables: "coverage".to_owned(),
            query: format!("SELECT * FROM coverage WHERE {row_keys}"),
            row_keys,
            ..finding(Code::LostRecords, Subject::Process, text)
        };
        RuleFinding { row, concerns: Concerns::Any, on_path: None }
    });
    found.collect()
}
