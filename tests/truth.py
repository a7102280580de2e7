#!/usr/bin/env python3
"""How far paths and joins agree with what is known otherwise: writes the tables of docs/truth.md to stdout.

    tests/truth.py KVPATH [MORE]      MORE: a folder of recordings, each CASE/run with CASE/witness/witness-PID.tsv

Paths are held against the audit (`paths.agreement`); joins against what a witness inside the recorded programs logged of NIXL calls and
engine steps (tests/fixtures/PROVENANCE.md), which the analyzer never sees."""

import json
import re
import subprocess
import sys
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


main()
