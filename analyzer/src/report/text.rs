//! The report as text.

use std::fmt::Write as _;

use kvpath_analysis::handoffs::SMALL_PIECE_BYTES;
use kvpath_analysis::number::float;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{CeilingMethod, Completeness, Handoff, RequestMethod};

use super::ranks::{Names, number_apart};
use super::table::Table;
use super::title::short;
use super::units::{bytes, count, or_dash, rate, share, time};
use super::{Report, clocks, contacts, others, parallel, step_section};

/// The whole report.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    out.push_str(&parallel::line(report));
    list(&mut out, "CLOCKS", &clocks::lines(&report.analysis.clocks));
    stages(&mut out, report);
    requests(&mut out, report);
    if report.analysis.steps.is_empty() {
        per_stage(&mut out, report);
    } else {
        step_section::render(&mut out, report);
    }
    if report.only.is_some() {
        layers(&mut out, report);
    }
    handoffs(&mut out, report);
    nixl(&mut out, report);
    contacts::render(&mut out, report);
    others::render(&mut out, report);
    list(&mut out, "FINDINGS", &report.sentences());
    list(&mut out, "MISSING DATA", &report.missing());
    out
}

fn head(out: &mut String, report: &Report) {
    let mut rows: std::collections::BTreeMap<&str, i64> = std::collections::BTreeMap::new();
    for segment in &report.run.segments {
        *rows.entry(segment.meta.table.as_str()).or_default() += segment.rows;
    }
    let clocks: std::collections::BTreeSet<&str> =
        report.run.segments.iter().map(|segment| segment.meta.clock.as_str()).collect();
    let clocks: Vec<&str> = clocks.into_iter().collect();
    let _ = writeln!(out, "{}: host {}, clock {}", report.run.name, report.run.hosts().join(", "), clocks.join(", "));
    let events = ["kernels", "memcpys", "nvtx_ranges", "nixl_transfers", "nixl_notifs", "drops"];
    let counts: Vec<String> =
        events.iter().filter_map(|name| Some(format!("{} {name}", count(*rows.get(name)?)))).collect();
    let _ = writeln!(out, "{}", counts.join(", "));
}

/// A titled list; nothing for no lines.
pub(crate) fn list(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for line in lines {
        let _ = writeln!(out, "  * {line}");
    }
}

/// Marks a figure that is too low because records are missing.
fn at_least(lacks: bool, text: String) -> String {
    if lacks { format!(">= {text}") } else { text }
}

/// Whether a hand-off of the request lacks copies.
fn lacking(report: &Report, request: i32) -> bool {
    let handoffs = &report.analysis.handoffs;
    (0..handoffs.len())
        .any(|row| handoffs.request[row] == request && handoffs.completeness[row] == Completeness::Incomplete)
}

fn stages(out: &mut String, report: &Report) {
    let stages = &report.analysis.stages;
    let _ = writeln!(out, "\nSTAGES");
    let headings = [
        "stage",
        "rank",
        "stage_id",
        "role",
        "process",
        "title",
        "PP",
        "TP",
        "device",
        "kernels",
        "layers",
        "regions",
        "layer p50",
        "found by",
    ];
    let mut table = Table::new(6, &headings);
    let names = Names::of(stages);
    // Each process counts those that it sees.
    let own = if number_apart(stages, &report.analysis.handoffs) { "own " } else { "" };
    for row in 0..stages.len() {
        table.row(vec![
            if stages.stage[row] == stages.stage_id[row] { stages.stage[row].to_string() } else { String::new() },
            names.rank(stages.stage_id[row]),
            names.id(stages.stage_id[row]),
            stages.role[row].to_string(),
            stages.process_id[row].to_string(),
            short(&stages.name[row]),
            or_dash(stages.pp_rank[row], |rank| rank.to_string()),
            or_dash(stages.tp_rank[row], |rank| rank.to_string()),
            or_dash(stages.device_id[row], |device| format!("{own}{device}")),
            if stages.kernels[row] == 0 { "-".to_owned() } else { count(stages.kernels[row]) },
            or_dash(stages.layers[row], |layers| layers.to_string()),
            or_dash(stages.regions[row], |regions| regions.to_string()),
            or_dash(stages.layer_median_ns[row], time),
            stages.method[row].to_string(),
        ]);
    }
    out.push_str(&table.render());
}

fn requests(out: &mut String, report: &Report) {
    let requests = &report.analysis.requests;
    let by_activity = requests.method.iter().filter(|method| **method == RequestMethod::Activity).count();
    let overlap = requests.overlaps.iter().any(|overlaps| *overlaps);
    let how = match by_activity {
        0 => String::new(),
        all if all == requests.len() => " (told apart by activity: the recording holds no request ids)".to_owned(),
        some => format!(" ({some} of them told apart by activity: no record names them)"),
    };
    let _ = writeln!(out, "\nREQUESTS: {}{how}", requests.len());
    if requests.is_empty() && !report.analysis.steps.is_empty() {
        let _ = writeln!(out, "  none: no hand-off was recorded; what repeats instead is below");
        return;
    }
    if requests.is_empty() {
        let _ = writeln!(
            out,
            "  none: no hand-off was recorded; `kvpath check {}` says what was recorded of each process, `kvpath-agent doctor` \
             what can be recorded on this host",
            report.run.name
        );
        return;
    }
    let zero = requests.start_ns.iter().copied().min().unwrap_or(0);
    let headings = [
        "request",
        "id",
        "start",
        "prefill",
        "hand-off",
        "after prefill",
        "to decode kernel",
        "chunks",
        "KV",
        "stages",
    ];
    let mut table = Table::new(2, &headings);
    for row in (0..requests.len()).filter(|row| report.shows(requests.request[*row])) {
        let gap = requests.handoff_end_ns[row].zip(requests.decode_start_ns[row]).map(|(from, to)| to - from);
        let mark = if requests.incomplete[row] { " incomplete" } else { "" };
        table.row(vec![
            requests.request[row].to_string(),
            or_dash(requests.request_id[row].as_ref(), Clone::clone),
            format!("+{}", time(requests.start_ns[row] - zero)),
            or_dash(requests.prefill_ns[row], time),
            or_dash(requests.handoff_ns[row], time),
            or_dash(requests.handoff_exposed_ns[row], time),
            or_dash(gap, time),
            or_dash(requests.chunks[row], |chunks| chunks.to_string()),
            or_dash(requests.handoff_bytes[row], |kv| at_least(lacking(report, requests.request[row]), bytes(kv))),
            format!("{}{mark}", requests.handoffs[row]),
        ]);
    }
    out.push_str(&table.render());
    if overlap {
        let _ = writeln!(
            out,
            "  requests overlap: a forward pass is given to the request handed over next, and may have served others too"
        );
    }
}

fn per_stage(out: &mut String, report: &Report) {
    let bubbles = &report.analysis.bubbles;
    if bubbles.is_empty() {
        let kernels = report.analysis.stages.kernels.iter().any(|kernels| *kernels > 0);
        let why = if kernels { "no recorded kernel belongs to a request" } else { "no GPU kernels were recorded" };
        let _ = writeln!(out, "\nPREFILL BY STAGE: unknown, {why}");
        return;
    }
    let _ = writeln!(out, "\nPREFILL BY STAGE (bubble: not computing, from the request's first to last kernel)");
    let headings = [
        "request",
        "stage",
        "rank",
        "chunks",
        "layers",
        "compute",
        "bubble",
        "share",
        "of it in P2P",
        "of it in collectives",
        "P2P busy",
        "note",
    ];
    let names = Names::of(&report.analysis.stages);
    let mut table = Table::new(0, &headings);
    for row in (0..bubbles.len()).filter(|row| report.shows(bubbles.request[*row])) {
        let lacks = bubbles.incomplete[row];
        let mark = |text: String| at_least(lacks, text);
        table.row(vec![
            bubbles.request[row].to_string(),
            names.stage(bubbles.stage_id[row]),
            names.rank(bubbles.stage_id[row]),
            mark(bubbles.chunks[row].to_string()),
            or_dash(bubbles.layers[row], |layers| layers.to_string()),
            mark(time(bubbles.compute_ns[row])),
            or_dash(bubbles.idle_ns[row], time),
            or_dash(bubbles.idle_ns[row].zip(bubbles.window_ns[row]), |(idle, all)| share(float(idle), float(all))),
            or_dash(bubbles.p2p_wait_ns[row], time),
            or_dash(bubbles.collective_wait_ns[row].filter(|ns| *ns > 0), time),
            mark(time(bubbles.p2p_ns[row])),
            if bubbles.shared[row] { "shared".to_owned() } else { "-".to_owned() },
        ]);
    }
    out.push_str(&table.render());
}

/// Layers by stage, the median over the request's chunks.
fn layers(out: &mut String, report: &Report) {
    let layers = &report.analysis.layers;
    let mut times: std::collections::BTreeMap<(i32, i32), Vec<i64>> = std::collections::BTreeMap::new();
    for row in (0..layers.len()).filter(|row| report.shows(layers.request[*row])) {
        times.entry((layers.stage_id[row], layers.layer[row])).or_default().push(layers.dur_ns[row]);
    }
    if times.is_empty() {
        return;
    }
    let unit = if report.analysis.steps.is_empty() { "request" } else { "step" };
    let _ = writeln!(out, "\nLAYERS (over the {unit}'s chunks; mined from the repeating kernel sequence)");
    let names = Names::of(&report.analysis.stages);
    let mut table = Table::new(0, &["stage", "rank", "layer", "chunks", "first chunk", "last chunk", "sum"]);
    for ((stage, layer), times) in times {
        table.row(vec![
            names.stage(stage),
            names.rank(stage),
            layer.to_string(),
            times.len().to_string(),
            time(times[0]),
            time(times[times.len() - 1]),
            time(times.iter().sum()),
        ]);
    }
    out.push_str(&table.render());
}

fn handoffs(out: &mut String, report: &Report) {
    let handoffs = &report.analysis.handoffs;
    if handoffs.is_empty() {
        return;
    }
    let ceiling = match handoffs.ceiling_method.first() {
        Some(CeilingMethod::Given) => "as given",
        Some(CeilingMethod::BestCopy) => {
            &format!("the best single copy of {} or more in this run", bytes(SMALL_PIECE_BYTES))
        }
        Some(CeilingMethod::BestTransfer) => "the best hand-off in this run",
        _ => "unknown",
    };
    let given = or_dash(handoffs.ceiling_bytes_per_s.first().copied().flatten(), rate);
    let _ = writeln!(out, "\nHAND-OFFS (ceiling {given}: {ceiling})");
    let headings = [
        "request",
        "stage",
        "rank",
        "to",
        "KV",
        "asked",
        "descriptors",
        "regions",
        "copies",
        "piece p50",
        &format!("in pieces <{}", bytes(SMALL_PIECE_BYTES)),
        "span",
        "rate",
        "of ceiling",
        "re-layout",
        "finding",
    ];
    let names = Names::of(&report.analysis.stages);
    let mut table = Table::new(0, &headings);
    for row in (0..handoffs.len()).filter(|row| report.shows(handoffs.request[*row])) {
        let h: Handoff = handoffs.row(row);
        table.row(vec![
            h.request.to_string(),
            names.stage(h.stage_id),
            names.rank(h.stage_id),
            names.receiver(h.peer_process_id),
            at_least(h.completeness == Completeness::Incomplete, bytes(h.bytes)),
            or_dash(h.made_descriptors, count),
            or_dash(h.descriptors, count),
            or_dash(h.regions, |regions| regions.to_string()),
            or_dash(h.copies, count),
            or_dash(h.piece_median_bytes, bytes),
            or_dash(h.small_piece_bytes, |small| share(float(small), float(h.bytes))),
            or_dash(h.span_ns, time),
            or_dash(h.rate_bytes_per_s, rate),
            or_dash(h.rate_bytes_per_s.zip(h.ceiling_bytes_per_s), |(rate, ceiling)| share(rate, ceiling)),
            or_dash(h.relayout_ns, time),
            h.finding.to_string(),
        ]);
    }
    out.push_str(&table.render());
    staging(out, report);
}

/// What KV that is handed over from host memory took between there and the GPUs, where any copy shows it.
fn staging(out: &mut String, report: &Report) {
    let handoffs = &report.analysis.handoffs;
    let is_staged = |row: &usize| report.shows(handoffs.request[*row]) && handoffs.staging_method[*row].is_some();
    let staged: Vec<Handoff> = (0..handoffs.len()).filter(is_staged).map(|row| handoffs.row(row)).collect();
    if staged.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\nSTAGING OF KV THROUGH HOST MEMORY (from the sender's GPU before the hand-off, to the receiver's after it)"
    );
    let headings = ["request", "stage", "rank", "to", "copied out", "in", "copied in", "in", "found by"];
    let names = Names::of(&report.analysis.stages);
    let mut table = Table::new(0, &headings);
    for h in staged {
        table.row(vec![
            h.request.to_string(),
            names.stage(h.stage_id),
            names.rank(h.stage_id),
            names.receiver(h.peer_process_id),
            or_dash(h.staging_out_bytes, bytes),
            or_dash(h.staging_out_ns, time),
            or_dash(h.staging_in_bytes, bytes),
            or_dash(h.staging_in_ns, time),
            h.staging_method.map_or_else(|| "-".to_owned(), |method| method.to_string()),
        ]);
    }
    out.push_str(&table.render());
}

/// The life cycle of each hand-off in NIXL, where any of it was recorded; times from the post.
fn nixl(out: &mut String, report: &Report) {
    let handoffs = &report.analysis.handoffs;
    let known: Vec<Handoff> = (0..handoffs.len())
        .filter(|row| report.shows(handoffs.request[*row]) && handoffs.posted_ns[*row].is_some())
        .map(|row| handoffs.row(row))
        .collect();
    if known.is_empty() {
        return;
    }
    let _ =
        writeln!(out, "\nNIXL LIFE CYCLE (completion is an interval: after the last pending poll, by the done poll)");
    let headings = [
        "request",
        "stage",
        "rank",
        "to",
        "ready to make",
        "make",
        "make to post",
        "post",
        "post to done",
        "notif after done",
    ];
    let names = Names::of(&report.analysis.stages);
    let mut table = Table::new(0, &headings);
    for h in known {
        let posted = h.posted_ns.unwrap_or_default();
        let done =
            h.done_after_ns.zip(h.done_by_ns).map(|(lo, hi)| format!("({}, {}]", time(lo - posted), time(hi - posted)));
        table.row(vec![
            h.request.to_string(),
            names.stage(h.stage_id),
            names.rank(h.stage_id),
            names.receiver(h.peer_process_id),
            or_dash(h.ready_ns.zip(h.made_ns), |(ready, made)| time(made - ready)),
            or_dash(h.make_ns, time),
            or_dash(h.made_ns, |made| time(posted - made - h.make_ns.unwrap_or(0))),
            or_dash(h.post_ns, time),
            done.unwrap_or_else(|| "not seen".to_owned()),
            or_dash(h.notif_arrived_ns.zip(h.done_by_ns), |(notif, done)| time(notif - done)),
        ]);
    }
    out.push_str(&table.render());
}
