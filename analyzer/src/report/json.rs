//! The report as one JSON object: the derived tables' rows, the findings, and what is missing.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use kvpath_schema::table::Columns;
use serde_json::{Value, json};

use super::Report;
use crate::json::Output;

/// Every row of a batch as an object; unknown is `null`.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn rows(batch: &RecordBatch) -> Result<Value, ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok(json!([]));
    }
    serde_json::from_slice(&bytes).map_err(|error| ArrowError::JsonError(error.to_string()))
}

/// The report.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn render(report: &Report) -> Result<Value, ArrowError> {
    let analysis = report.analysis;
    let of_request = |batch: RecordBatch| -> Result<Value, ArrowError> {
        let mut value = rows(&batch)?;
        if let (Some(only), Some(list)) = (report.only, value.as_array_mut()) {
            list.retain(|row| row["request"] == only);
        }
        Ok(value)
    };
    let mut object = json!({
        "run": report.run.name,
        "hosts": report.run.hosts(),
        "stages": rows(&analysis.stages.to_batch())?,
        "requests": of_request(analysis.requests.to_batch())?,
        "steps": of_request(analysis.steps.to_batch())?,
        "bubbles": of_request(analysis.bubbles.to_batch())?,
        "chunks": of_request(analysis.chunks.to_batch())?,
        "layers": of_request(analysis.layers.to_batch())?,
        "handoffs": of_request(analysis.handoffs.to_batch())?,
        "first_contacts": of_request(analysis.contacts.to_batch())?,
        "heartbeats": of_request(analysis.heartbeats.to_batch())?,
        "other_transfers": rows(&analysis.others.to_batch())?,
        "coverage": rows(&analysis.coverage.to_batch())?,
        "findings": report.sentences(),
        "missing": report.missing(),
    });
    if report.run.hosts().len() > 1 {
        object["clocks"] = rows(&analysis.clocks.to_batch())?;
    }
    Ok(Output::Report.stamped(object))
}
