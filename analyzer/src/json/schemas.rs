//! The JSON schema of each output; rows of tables follow their definitions.

use arrow::datatypes::DataType;
use kvpath_analysis::path::category::Category;
use kvpath_schema::docs::one_line;
use kvpath_schema::table::{ColumnDef, Columns as _, TableDef};
use kvpath_schema::tables::capture::Drops;
use kvpath_schema::tables::contacts::FirstContacts;
use kvpath_schema::tables::derived::{Bubbles, Chunks, Clocks, Coverages, Handoffs, Layers, Requests, Stages, Steps};
use kvpath_schema::tables::heartbeats::Heartbeats;
use kvpath_schema::tables::path::Paths;
use kvpath_schema::tables::purposes::OtherTransfers;
use kvpath_schema::tables::stuck::Stuck;
use serde_json::{Map, Value, json};

use super::Output;
use crate::sql::params::SqlType;

/// A property: its name, its schema, and whether it is always there.
type Property = (&'static str, Value, bool);

pub(super) fn of(output: Output) -> Value {
    let (title, properties) = match output {
        Output::Report => {
            ("Where the time of each request went, as tables of the run (`kvpath report --json`).", report())
        }
        Output::Path => ("Critical paths of requests (`kvpath path --json`).", path()),
        Output::PathAgainst => {
            ("Where paths differ from those of another run (`kvpath path --against --json`).", against())
        }
        Output::Stuck => ("What failed, and what was waited for in vain (`kvpath stuck --json`).", stuck()),
        Output::Check => ("Whether a run is whole (`kvpath check --json`).", check()),
        Output::Schema => ("Tables and their columns (`kvpath schema --format json`).", schema()),
        Output::Queries => ("The library of queries (`kvpath queries list --json`).", queries()),
    };
    let head =
        [("format", json!({"const": output.format()}), true), ("version", json!({"const": output.version()}), true)];
    let mut schema = object(head.into_iter().chain(properties));
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = title.into();
    schema
}

fn object(properties: impl IntoIterator<Item = Property>) -> Value {
    let mut all = Map::new();
    let mut required = Vec::new();
    for (name, schema, is_required) in properties {
        all.insert(name.to_owned(), schema);
        required.extend(is_required.then_some(name));
    }
    json!({"type": "object", "properties": all, "required": required})
}

fn list(of: &Value, doc: &str) -> Value {
    json!({"type": "array", "items": of, "description": doc})
}

fn typed(name: &str, doc: &str) -> Value {
    json!({"type": name, "description": doc})
}

fn integer(doc: &str) -> Value {
    typed("integer", doc)
}

fn text(doc: &str) -> Value {
    typed("string", doc)
}

fn texts(doc: &str) -> Value {
    list(&json!({"type": "string"}), doc)
}

/// Rows of a table.
fn rows(table: &TableDef) -> Value {
    list(&object(table.columns.iter().map(|column| (column.name, cell(column), true))), &one_line(table.doc))
}

fn cell(column: &ColumnDef) -> Value {
    let name = match (column.data_type)() {
        DataType::Int32 | DataType::Int64 | DataType::UInt64 => "integer",
        DataType::Float64 => "number",
        DataType::Boolean => "boolean",
        _ => "string",
    };
    let mut schema = json!({"type": name, "description": column.meaning()});
    if column.nullable {
        schema["type"] = json!([name, "null"]);
    }
    if !column.spellings.is_empty() {
        let values = column.spellings.iter().map(|spelling| Value::from(spelling.text));
        schema["enum"] = values.chain(column.nullable.then_some(Value::Null)).collect();
    }
    schema
}

/// A column of a table, by name.
fn column(table: &'static TableDef, name: &'static str) -> Property {
    let column = table.column(name).unwrap_or_else(|| panic!("{} has no column {name}", table.name));
    (column.name, cell(column), true)
}

fn report() -> Vec<Property> {
    let clocks = rows(Clocks::DEF);
    vec![
        ("run", text("The run, as it was named."), true),
        ("hosts", texts("Hosts that were recorded."), true),
        ("stages", rows(Stages::DEF), true),
        ("requests", rows(Requests::DEF), true),
        ("steps", rows(Steps::DEF), true),
        ("bubbles", rows(Bubbles::DEF), true),
        ("chunks", rows(Chunks::DEF), true),
        ("layers", rows(Layers::DEF), true),
        ("handoffs", rows(Handoffs::DEF), true),
        ("first_contacts", rows(FirstContacts::DEF), true),
        ("heartbeats", rows(Heartbeats::DEF), true),
        ("other_transfers", rows(OtherTransfers::DEF), true),
        ("coverage", rows(Coverages::DEF), true),
        ("findings", texts("`findings.text` of those that concern what is shown, but for `lost_records`."), true),
        ("missing", texts("What the recording lacks, as far as it is known."), true),
        ("clocks", clocks, false),
    ]
}

fn stuck() -> Vec<Property> {
    vec![
        ("run", text("The run, as it was named."), true),
        ("stuck", rows(Stuck::DEF), true),
        ("lost", texts("What the recording lacks, as far as it is known."), true),
    ]
}

fn check() -> Vec<Property> {
    vec![
        ("run", text("The run, as it was named."), true),
        ("segments", integer("Segments that decode."), true),
        ("rows", integer("Rows in them."), true),
        ("unreadable", texts("Files that cannot be read, and why."), true),
        ("partial", texts("Files that were cut off in writing."), true),
        ("notes", texts("What the recorder says that it could not record."), true),
        ("drops", rows(Drops::DEF), true),
        ("lost", texts("Signs of loss that nobody counted."), true),
        (
            "not_judged",
            json!({"type": ["string", "null"], "description": "Why coverage could not be judged; null if it was."}),
            true,
        ),
        ("coverage", rows(Coverages::DEF), true),
        ("audit", texts("How far the paths of requests agree with what the GPUs alone say."), true),
        ("clocks", rows(Clocks::DEF), false),
    ]
}

/// What time on the path is summed by: those of `--by` are there.
fn groups() -> Vec<Property> {
    let categories: Vec<&str> = Category::ALL.iter().map(|category| category.name()).collect();
    vec![
        ("stage", text("Stage, as text names it; `-` where none is known."), false),
        ("chunk", text("`chunks.chunk`; `-` where none is known."), false),
        ("layer", text("`layers.layer`, or `3-4` where it may be of both; `-` where none is known."), false),
        ("category", json!({"enum": categories, "description": "`critical_path.category`."}), false),
        ("gate", text("`critical_path.gate`; `-` at the source."), false),
        ("name", text("Kernel or call; `-` where it has none."), false),
    ]
}

fn path() -> Vec<Property> {
    let columns = [
        "request",
        "request_id",
        "source_ns",
        "end_ns",
        "ttft_ns",
        "source",
        "sink",
        "unexplained_ns",
        "coverage",
        "agreement",
        "judged_ns",
        "disputed_from_ns",
        "disputed_to_ns",
        "disputed_stage_id",
        "guessed_ns",
        "uncertain_ns",
        "segments",
    ];
    let requests = object(columns.map(|name| column(Paths::DEF, name)));
    let mut group = groups();
    group.push(("p50_ns", integer("Mean over the requests about the median, ns."), true));
    group.push(("p99_ns", integer("Mean over the slowest requests, ns."), true));
    vec![
        ("run", text("The run, as it was named."), true),
        ("requests", list(&requests, &one_line(Paths::DEF.doc)), true),
        ("on_path", list(&object(group), "Time on the paths, summed by the keys of `--by`."), true),
    ]
}

fn against() -> Vec<Property> {
    let mut group = groups();
    group.push(("ns", integer("Mean in this run, ns."), true));
    group.push(("against_ns", integer("Mean in the other run, ns."), true));
    group.push(("difference_ns", integer("`ns` - `against_ns`."), true));
    vec![
        ("run", text("The run, as it was named."), true),
        ("against", text("The other run, as it was named."), true),
        ("requests", integer("Requests of each run that are compared."), true),
        ("ttft_ns", integer("Mean time to first token in this run, ns."), true),
        ("against_ttft_ns", integer("Mean time to first token in the other run, ns."), true),
        ("difference_ns", integer("`ttft_ns` - `against_ttft_ns`; those of `on_path` sum to it."), true),
        (
            "on_path",
            list(&object(group), "Time on the paths, summed by the keys of `--by`, the largest difference first."),
            true,
        ),
    ]
}

fn schema() -> Vec<Property> {
    let column = object([
        ("name", text("Name; times and durations end in `_ns`, sizes in `_bytes`."), true),
        ("type", json!({"enum": SqlType::NAMES, "description": "SQL type."}), true),
        ("nullable", typed("boolean", "Whether it may be null: unknown, or not recorded."), true),
        ("meaning", text("What it says."), true),
    ]);
    let table = object([
        ("name", text("Name."), true),
        ("derived", typed("boolean", "Whether it is computed by the analyzer."), true),
        ("meaning", text("What a row is."), true),
        ("sorted_by", texts("Columns that rows are sorted by."), true),
        ("columns", list(&column, "Columns in order."), true),
    ]);
    vec![
        ("schema_version", integer("Version of the raw tables that this build writes."), true),
        ("tables", list(&table, "Tables and functions."), true),
    ]
}

fn queries() -> Vec<Property> {
    let param = object([
        ("name", text("Name, as `--param NAME=VALUE` takes it."), true),
        ("type", text("SQL type."), true),
        (
            "default",
            json!({"type": ["string", "null"], "description": "Its value if none is given; null if it must be."}),
            true,
        ),
        ("meaning", text("What it does."), true),
    ]);
    let column = object([
        ("name", text("Name."), true),
        ("type", text("SQL type."), true),
        ("meaning", text("What it says."), true),
    ]);
    let query = object([
        ("name", text("Name, as `kvpath sql RUN NAME` takes it."), true),
        ("answers", text("The question that it answers."), true),
        ("params", list(&param, "Parameters."), true),
        ("columns", list(&column, "Columns of the answer."), true),
        ("reads", texts("Tables that it reads."), true),
        ("schema", integer("Version of the tables that it was written for."), true),
    ]);
    vec![("queries", list(&query, "Every query, by name."), true)]
}
