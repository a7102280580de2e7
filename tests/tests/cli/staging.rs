//! KV that vLLM hands over from host memory, with copies between there and the GPUs: against the raw copies, by time and size alone.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

/// Rows of a query.
fn sql(query: &str) -> Vec<Value> {
    let run = fixture("v1/host-memory");
    let out = kvpath().arg("sql").arg(run).args([query, "--format", "json"]).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row}"))
}

/// Requests that were alone: while they were under way no other one was.
const ALONE: &str = "request < 3";

#[test]
fn what_is_staged_is_what_the_copies_show() {
    let all =
        sql("SELECT sum(bytes) AS handed, sum(staging_out_bytes) AS out, sum(staging_in_bytes) AS back FROM handoffs");
    let copied = sql(
        "SELECT kind, sum(bytes) AS bytes FROM memcpys WHERE bytes > 1000000 AND kind IN ('DtoH', 'HtoD') GROUP BY 1",
    );
    assert_eq!(copied.len(), 2);
    for row in &copied {
        assert_eq!(number(row, "bytes"), number(&all[0], "handed"), "each byte was copied once each way");
    }
    assert_eq!(
        (number(&all[0], "out"), number(&all[0], "back")),
        (number(&all[0], "handed"), number(&all[0], "handed"))
    );
    let of = |kind: &str, from: &str, until: &str| {
        format!(
            "SELECT r.request, min(c.start_ns) AS start, max(c.start_ns + c.dur_ns) AS stop, sum(c.bytes) AS bytes FROM requests r \
             JOIN handoffs h ON h.request = r.request JOIN memcpys c ON c.kind = '{kind}' AND c.bytes > 1000000 AND c.start_ns > {from} \
             AND c.start_ns < {until} WHERE r.{ALONE} GROUP BY 1 ORDER BY 1"
        )
    };
    let (out, back) =
        (sql(&of("DtoH", "r.sent_ns", "h.made_ns")), sql(&of("HtoD", "h.done_by_ns", "r.first_token_ns")));
    let handoffs = sql(&format!("SELECT * FROM handoffs WHERE {ALONE} ORDER BY request"));
    assert_eq!((out.len(), back.len(), handoffs.len()), (3, 3, 3));
    for ((out, back), handoff) in out.iter().zip(&back).zip(&handoffs) {
        assert_eq!(handoff["staging_method"], "bytes");
        let bytes = ["bytes", "staging_out_bytes", "staging_in_bytes"].map(|column| number(handoff, column));
        assert_eq!(bytes, [number(out, "bytes"); 3]);
        assert_eq!(number(back, "bytes"), bytes[0]);
        assert_eq!(number(handoff, "staging_out_start_ns"), number(out, "start"));
        let (start, ns) = (number(handoff, "staging_in_start_ns"), number(handoff, "staging_in_ns"));
        assert_eq!((start, start + ns), (number(back, "start"), number(back, "stop")));
        // The next chunk is computed between two series.
        assert!(number(handoff, "staging_out_ns") <= number(out, "stop") - number(out, "start"));
    }
}

#[test]
fn paths_lead_over_the_staging_and_decode_begins_after_it() {
    let rows = sql(&format!(
        "SELECT h.request, h.staging_out_ns, h.staging_in_ns, r.decode_start_ns - h.staging_in_start_ns - h.staging_in_ns AS after, \
         (SELECT sum(p.dur_ns) FROM critical_path p WHERE p.request = h.request AND p.category = 'staging_out') AS out, \
         (SELECT sum(p.dur_ns) FROM critical_path p WHERE p.request = h.request AND p.category = 'staging_in') AS back, \
         (SELECT sum(p.dur_ns) FROM critical_path p WHERE p.request = h.request AND p.category = 'copy') AS other \
         FROM handoffs h JOIN requests r ON r.request = h.request WHERE h.{ALONE}"
    ));
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let share = |part: &str, whole: &str| 100 * number(row, part) / number(row, whole);
        // Calls return some time after their copy: that is `sync`.
        assert!((90..=100).contains(&share("out", "staging_out_ns")), "{row}");
        assert!((90..=100).contains(&share("back", "staging_in_ns")), "{row}");
        assert!(number(row, "other") < 1_000_000, "{row}");
        assert!(number(row, "after") > 0, "{row}");
    }
}

#[test]
fn the_report_says_so_and_nothing_is_called_lost() {
    let run = fixture("v1/host-memory");
    let out = kvpath().arg("report").arg(&run).output().expect("kvpath runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let section = text.split("STAGING OF KV THROUGH HOST MEMORY").nth(1).expect("a section");
    assert!(
        section.lines().nth(4).is_some_and(|line| line.contains("786 MB  490 ms     786 MB   276 ms")),
        "{section}"
    );
    let out = kvpath().arg("check").arg(run).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}
