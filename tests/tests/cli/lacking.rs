//! Recordings without what names agents and requests: of an agent that attached after the engines had started, or of engines whose
//! notifications say nothing. What remains must tell the same, or say that it does not know.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use kvpath_tests::{fixture, kvpath};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

/// What a copy of a recording lacks.
#[derive(Debug, Clone, Copy, Default)]
struct Lacks {
    /// Agents, what they registered, and the poster's name.
    agents: bool,
    /// All notifications.
    notifs: bool,
    /// Their texts, also those that transfers carry.
    texts: bool,
}

const AGENTS: Lacks = Lacks { agents: true, notifs: false, texts: false };
const MESSAGES: Lacks = Lacks { agents: true, notifs: true, texts: false };
const TEXTS: Lacks = Lacks { agents: false, notifs: false, texts: true };
const NAMES: Lacks = Lacks { agents: true, notifs: false, texts: true };

/// A copy of a bundled recording.
fn copy(recording: &str, lacks: Lacks, to: &Path) -> PathBuf {
    let run = to.join(recording);
    copy_folder(&fixture(&format!("v1/{recording}")), &run, lacks);
    run
}

fn copy_folder(from: &Path, to: &Path, lacks: Lacks) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        let target = to.join(name);
        let table = name.split('-').next().unwrap_or_default();
        if entry.is_dir() {
            copy_folder(&entry, &target, lacks);
            continue;
        }
        match table {
            "nixl_agents" | "nixl_regions" if lacks.agents => {}
            "nixl_notifs" if lacks.notifs => {}
            "nixl_transfers" | "nixl_notifs" => {
                let texts: &[&str] = if lacks.texts {
                    &["notif", "notif_bytes", "request", "chunk", "sender_rank", "message_raw", "message"]
                } else {
                    &[]
                };
                let agents: &[&str] = if lacks.agents { &["agent"] } else { &[] };
                without(&entry, &target, &[texts, agents].concat());
            }
            _ => {
                std::fs::copy(&entry, &target).expect("a copy");
            }
        }
    }
}

/// A segment of which those columns are null, or empty where they may not be.
fn without(from: &Path, to: &Path, columns: &[&str]) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).expect("a segment")).expect("Parquet");
    let footer = reader.metadata().file_metadata().key_value_metadata().cloned();
    let footer = footer.map(|all| all.into_iter().filter(|own| own.key != "ARROW:schema").collect());
    let properties = WriterProperties::builder().set_key_value_metadata(footer).build();
    let schema = Arc::clone(reader.schema());
    let mut writer = ArrowWriter::try_new(File::create(to).expect("a file"), Arc::clone(&schema), Some(properties))
        .expect("Parquet");
    for batch in reader.build().expect("rows") {
        let batch = batch.expect("rows");
        let own = |(field, array): (&Arc<arrow::datatypes::Field>, &ArrayRef)| -> ArrayRef {
            match (columns.contains(&field.name().as_str()), field.is_nullable()) {
                (false, _) => Arc::clone(array),
                (true, true) => new_null_array(field.data_type(), array.len()),
                (true, false) => cast(&StringArray::from(vec![""; array.len()]), field.data_type()).expect("text"),
            }
        };
        let arrays = schema.fields().iter().zip(batch.columns()).map(own).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), arrays).expect("columns")).expect("rows");
    }
    writer.close().expect("a segment");
}

fn sql(run: &Path, query: &str) -> Vec<Value> {
    let out = kvpath().arg("sql").arg(run).args([query, "--format", "json"]).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

const STAGES: &str = "SELECT stage_id, process_id, role, pp_rank, tp_rank FROM stages ORDER BY stage_id";
/// What a row of a request says but for its name.
const REQUESTS: &str = "SELECT start_ns, state, handoff_end_ns, decode_start_ns, chunks, handoff_bytes, handoffs, incomplete FROM requests ORDER BY start_ns";

#[test]
fn stages_and_requests_are_the_same_without_agents() {
    let folder = tempfile::tempdir().expect("a folder");
    for recording in ["vllm-full", "pull", "decode-tp", "prefill-tp", "shared-gpu", "sglang", "workload-gpu", "taken"] {
        let whole = fixture(&format!("v1/{recording}"));
        let late = copy(recording, AGENTS, folder.path());
        for query in [STAGES, REQUESTS] {
            assert_eq!(sql(&late, query), sql(&whole, query), "{recording}");
        }
    }
}

/// Where the agents met is not known then, nor what followed it. What is on the path is there in the whole recording too.
#[test]
fn paths_without_agents_and_messages_name_no_other_cause() {
    let folder = tempfile::tempdir().expect("a folder");
    let path =
        "SELECT c.category, sum(c.dur_ns) / 1000000.0 AS ms FROM critical_path c WHERE c.method <> 'none' GROUP BY 1";
    let of = |rows: Vec<Value>, category: &str| -> f64 {
        let own = rows.iter().find(|row| row["category"] == category);
        own.and_then(|row| row["ms"].as_f64()).unwrap_or(0.0)
    };
    for recording in ["pull", "decode-tp", "prefill-tp", "vllm-full"] {
        let whole = fixture(&format!("v1/{recording}"));
        let late = copy(recording, MESSAGES, folder.path());
        assert_eq!(sql(&late, STAGES), sql(&whole, STAGES), "{recording}");
        assert_eq!(sql(&late, REQUESTS).len(), sql(&whole, REQUESTS).len(), "{recording}");
        for category in ["compute", "wire", "post", "make"] {
            let (own, known) = (of(sql(&late, path), category), of(sql(&whole, path), category));
            assert!(own <= known * 1.02 + 0.1, "{recording}: {category} {own} ms, and {known} ms in the whole");
        }
    }
}

#[test]
fn a_name_that_is_presumed_is_joined_by_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let late = copy("pull", MESSAGES, folder.path());
    let peers = sql(
        &late,
        "SELECT DISTINCT peer_process_id AS peer, peer_method, peer_confidence < 0.9 AS is_unsure FROM transfer_joins",
    );
    assert_eq!(peers.len(), 1, "{peers:?}");
    assert_eq!((&peers[0]["peer"], &peers[0]["is_unsure"]), (&10_014.into(), &true.into()), "{peers:?}");
}

#[test]
fn requests_are_told_apart_without_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    for recording in ["vllm-full", "pull", "decode-tp", "prefill-tp", "shared-gpu", "sglang", "workload-gpu"] {
        let whole = fixture(&format!("v1/{recording}"));
        for (name, lacks) in [("texts", TEXTS), ("names", NAMES)] {
            let nameless = copy(recording, lacks, &folder.path().join(name));
            assert_eq!(sql(&nameless, STAGES), sql(&whole, STAGES), "{recording} without {name}");
            let starts = "SELECT start_ns, chunks, handoff_bytes, handoffs FROM requests ORDER BY start_ns";
            assert_eq!(sql(&nameless, starts), sql(&whole, starts), "{recording} without {name}");
        }
    }
}

#[test]
fn clients_reports_are_of_the_same_requests_without_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = "SELECT start_ns, sent_ns, first_token_ns FROM requests ORDER BY start_ns";
    for recording in ["pull", "decode-tp", "prefill-tp", "shared-gpu"] {
        let whole = fixture(&format!("v1/{recording}"));
        let nameless = copy(recording, TEXTS, folder.path());
        assert_eq!(sql(&nameless, spans), sql(&whole, spans), "{recording}");
        let methods = sql(&nameless, "SELECT DISTINCT method FROM requests");
        assert_eq!(methods.len(), 1);
        assert_eq!(methods[0]["method"], "client", "{recording}");
    }
}
