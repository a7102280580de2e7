#!/usr/bin/env python3
"""How far paths and joins agree with what is known otherwise: writes the tables of docs/truth.md to stdout.

    tests/truth.py KVPATH [MORE]      MORE: a folder of recordings, each CASE/run with CASE/witness/witness-PID.tsv

The last table needs pyarrow: it holds what copies of these recordings without names tell against the whole ones.

Paths are held against the audit (`paths.agreement`); joins against what a witness inside the recorded programs logged of NIXL calls and
engine steps (tests/fixtures/PROVENANCE.md), which the analyzer never sees."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

KVPATH = sys.argv[1]
FIXTURES = Path(__file__).parent / "fixtures"


def rows(run, query):
    out = subprocess.run([KVPATH, "sql", run, query, "--format", "json"], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{run}: {query}: {out.stderr.strip()}")
    return [json.loads(line) for line in out.stdout.splitlines() if line.strip()]


def witness_of(text, process=None):
    """Lines as (process, what, start, end, rest)."""
    for line in text.splitlines():
        cells = line.split("\t")
        try:
            cells = [process, *cells] if process else [int(cells[0]), *cells[1:]]
            yield cells[0], cells[1], int(cells[2]), int(cells[3]), cells[4:]
        except (ValueError, IndexError):
            continue


def recordings():
    for name in ["vllm-full", "sglang", "workload-gpu", "taken", "even", "uneven"]:
        log = FIXTURES / "witness" / f"{name}.tsv"
        known = list(witness_of(log.read_text())) if log.exists() else []
        yield name, FIXTURES / "v1" / name, known
    for case in sorted(Path(sys.argv[2]).iterdir()) if len(sys.argv) > 2 else []:
        if (case / "run").is_dir():
            logs = (case / "witness").glob("witness-*.tsv")
            known = [seen for log in logs for seen in witness_of(log.read_text(), int(log.stem.split("-")[1]))]
            yield case.name, case / "run", known


def base(request):
    """An engine's id without the suffix that each server adds."""
    return re.sub(r"-[0-9a-f]{8}$", "", request or "")


def transfers(run, known):
    """(confidence, right) of each transfer that was joined with a request and that the witness saw."""
    found = rows(run, "SELECT t.process_id AS process, t.posted_ns AS posted, j.request_confidence AS confidence, r.request_id AS id "
                      "FROM transfer_joins j JOIN nixl_transfers t ON t.transfer_id = j.transfer_id AND t.process_id = j.process_id "
                      "JOIN requests r ON r.request = j.request WHERE r.request_id IS NOT NULL")
    made, posts = {}, []
    for process, what, start, end, rest in sorted(known, key=lambda seen: seen[2]):
        if what in ("make", "initialize"):
            made[process, rest[1]] = next((cell for cell in reversed(rest) if cell.startswith("b'")), "")
        elif what == "post" and len(rest) > 1 and (process, rest[1]) in made:
            posts.append((process, start, end, made[process, rest[1]]))
    for row in found:
        seen = [text for process, start, end, text in posts if process == row["process"] and start <= row["posted"] <= end]
        if len(seen) == 1:
            yield row["confidence"], base(row["id"]) in seen[0]


def segments(run, known):
    """(confidence, right) of each compute segment of a path: the engine had begun that chunk of that request on that process."""
    found = rows(run, "SELECT c.process_id AS process, c.start_ns AS start, c.chunk, c.confidence, r.request_id AS id FROM critical_path c "
                      "JOIN requests r ON r.request = c.of_request JOIN stages s ON s.process_id = c.process_id "
                      "WHERE c.category = 'compute' AND c.chunk IS NOT NULL AND s.role = 'prefill'")
    steps = {}
    for process, what, start, _end, rest in sorted(known, key=lambda seen: seen[2]):
        for part in rest[1].split(";") if what == "step" and len(rest) > 1 else []:
            steps.setdefault((process, base(part.rsplit(":", 1)[0])), []).append(start)
    for row in found:
        own = steps.get((row["process"], base(row["id"])))
        if own:
            yield row["confidence"], row["chunk"] < len(own) and own[row["chunk"]] <= row["start"]


def share(right):
    right = list(right)
    return f"{100 * sum(right) / len(right):.1f} % of {len(right):,}" if right else "-"


# What a copy lacks: segments by table, columns of the others.
LACKS = {
    "agents": (("nixl_agents", "nixl_regions"), ("agent",)),
    "texts": ((), ("notif", "notif_bytes", "request", "chunk", "sender_rank", "message", "message_raw")),
    "agents, messages": (("nixl_agents", "nixl_regions", "nixl_notifs"), ("agent",)),
    "agents, texts": (("nixl_agents", "nixl_regions"),
                      ("agent", "notif", "notif_bytes", "request", "chunk", "sender_rank", "message", "message_raw")),
}


def copy_without(run, to, tables, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(run, to)
    for file in to.rglob("*.parquet"):
        table = file.name.split("-")[0]
        if table in tables:
            file.unlink()
        elif table in ("nixl_transfers", "nixl_notifs"):
            source = pq.ParquetFile(file)
            rows_of, footer = source.read(), source.metadata.metadata
            for at, field in enumerate(rows_of.schema):
                if field.name in columns:
                    empty = pa.nulls(len(rows_of), field.type) if field.nullable else pa.array([""] * len(rows_of)).cast(field.type)
                    rows_of = rows_of.set_column(at, field, empty)
            own = {key: value for key, value in footer.items() if key != b"ARROW:schema"}
            pq.write_table(rows_of.replace_schema_metadata(own), file)


def joined(run):
    """Request and peer of each transfer, each with its confidence, and when it was posted."""
    found = rows(run, "SELECT t.process_id AS process, t.posted_ns AS posted, j.request, j.request_confidence, j.peer_process_id AS peer, "
                      "j.peer_confidence, r.request_id AS id, r.method FROM transfer_joins j JOIN nixl_transfers t "
                      "ON t.transfer_id = j.transfer_id AND t.process_id = j.process_id LEFT JOIN requests r ON r.request = j.request "
                      "WHERE t.posted_ns IS NOT NULL")
    return {(row["process"], row["posted"]): row for row in found}


def lacking(run, lacks, found):
    """Adds (kind, confidence): [right, ...] of what a copy without names tells."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        copy_without(run, copy, *LACKS[lacks])
        whole, own = joined(run), joined(copy)
    votes, unknown = defaultdict(Counter), Counter()
    for key, row in own.items():
        if row.get("request") is not None:
            votes[row["request"]][whole[key].get("request")] += 1
    # A request of the copy is that of the whole which most of its transfers are of; of several with the same one the largest.
    means, taken = {}, set()
    for request, of in sorted(votes.items(), key=lambda own: -max(own[1].values())):
        meant = of.most_common(1)[0][0]
        if meant not in taken:
            taken.add(meant)
            means[request] = meant
    for key, row in own.items():
        for kind in ("request", "peer"):
            if whole[key].get(kind) is None:
                continue
            if row.get(kind) is None:
                unknown[kind] += 1
                continue
            meant = means.get(row["request"], -1) if kind == "request" else row[kind]
            found[f"transfer to {kind}", row[f"{kind}_confidence"]].append(meant == whole[key][kind])
        if row.get("method") == "client" and row.get("id") and whole[key].get("id"):
            found["request to client's report", None].append(row["id"] in whole[key]["id"])
    return unknown


def calibration():
    print("\n| lacks | join | confidence | right | unknown |\n|---|---|---|---|---|")
    for lacks in LACKS:
        found, unknown = defaultdict(list), Counter()
        for name, run, _ in every_recording():
            unknown += lacking(run, lacks, found)
        for (kind, confidence), right in sorted(found.items(), key=lambda own: (own[0][0], -(own[0][1] or 0))):
            said = "-" if confidence is None else f"{confidence:.1f}"
            print(f"| {lacks} | {kind} | {said} | {share(right)} | {unknown[kind.split()[-1]] or '-'} |")


def every_recording():
    """Those that hold transfers with names."""
    yield from (own for own in recordings() if own[0] not in ("even", "uneven"))
    for name in ("pull", "decode-tp", "prefill-tp", "shared-gpu"):
        yield name, FIXTURES / "v1" / name, []


def main():
    audit, joins = [], []
    for name, run, known in recordings():
        paths = rows(run, "SELECT agreement, judged_ns, ttft_ns, coverage FROM paths")
        judged = [path for path in paths if path.get("agreement") is not None]
        total = sum(path["judged_ns"] for path in judged)
        agreeing = sum(path["agreement"] * path["judged_ns"] for path in judged)
        time = sum(path["ttft_ns"] for path in paths) or 1
        explained = sum(path["coverage"] * path["ttft_ns"] for path in paths) / time
        said = f"{100 * agreeing / total:.1f} % of {total / 1e6:,.0f} ms" if total else "-"
        low = sum(path["agreement"] < 0.95 for path in judged)
        audit.append(f"| {name} | {len(paths)} | {100 * explained:.1f} % | {said} | {low} |")
        of = {"transfers": list(transfers(run, known)), "compute": list(segments(run, known))}
        if any(of.values()):
            cells = [share(right for confidence, right in of[kind] if is_sure == (confidence >= 0.9))
                     for kind in of for is_sure in (True, False)]
            joins.append(f"| {name} | " + " | ".join(cells) + " |")
    print("| recording | paths | explained | audit | below 95 % |\n|---|---|---|---|---|\n" + "\n".join(audit))
    print("\n| recording | transfers to requests, sure | others | compute on paths, sure | others |\n|---|---|---|---|---|\n"
          + "\n".join(joins))
    calibration()


main()
