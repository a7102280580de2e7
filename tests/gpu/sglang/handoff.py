"""Records a real SGLang prefill (PP=2) and decode pair, and holds every hand-off against what the engine was asked for and, with a
witness, against what NIXL's callers saw.

usage: handoff.py AGENT OUT [--witness DIR]
  AGENT    kvpath-agent, with libkvpath_inject.so beside it
  OUT      folder for results: OUT/run is the recording
  DIR      folder whose sitecustomize logs NIXL calls to WITNESS_DIR (columns: tests/fixtures/PROVENANCE.md)

Each chunk of each request is handed over by each stage: the transfers must name the room, every chunk and every stage, their
bytes must be those of the prompt's KV, and the GPU's peer copies the same. SGLang's transfer threads poll without pause, which the
agent must see and leave alone.

Needs root, four GPUs, SGLang 0.5.17 with NIXL, pyarrow. Without GPUs it says `skipped` and exits with 77.
"""
import argparse
import json
import math
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import pair
from recording import Agent, Check, Tee, environment, gpus, level, rows, witnessed

STAGES, LAYERS, CHUNK = 2, 36, 8192
# K and V, 8 heads of 128 values of 2 bytes: model.py.
BYTES_A_TOKEN_AND_LAYER = 2 * 8 * 128 * 2
PROMPTS = [1000, 32000, 32000, 65000]


def named(transfer):
    """The transfer with what its notif names: room, chunk, rank of the sender."""
    fields = re.match(r"(?P<request>\d+)_(kv_(?P<chunk>\d+)_\d_(?P<sender_rank>\d+)|aux|state|stg)", transfer["notif"] or "")
    found = fields.groupdict() if fields else dict.fromkeys(("request", "chunk", "sender_rank"))
    number = lambda text: None if text is None else int(text)
    return transfer | {"request": found["request"], "chunk": number(found["chunk"]), "sender_rank": number(found["sender_rank"])}


def handed_over(run, told, check):
    transfers = [named(transfer) for transfer in rows(run, "nixl_transfers")]
    arrived = {n["message"] for n in rows(run, "nixl_notifs", ["direction", "message"]) if n["direction"] == "arrived"}
    check.line(f"{len(transfers)} transfers", bool(transfers))
    rooms = {request["room"] for request in told}
    posting = sorted({t["process_id"] for t in transfers if t["chunk"] is not None})
    check.line(f"{len(posting)} processes post chunks", len(posting) == STAGES)
    for request in told:
        chunks = math.ceil(request["tokens"] / CHUNK)
        for process in posting:
            own = [t for t in transfers if t["request"] == request["room"] and t["process_id"] == process]
            mine = [t for t in own if t["chunk"] is not None]
            ranks = {t["sender_rank"] for t in mine}
            seen = sorted({t["chunk"] for t in mine})
            total = sum(t["bytes"] or 0 for t in mine)
            wanted = request["tokens"] * LAYERS // STAGES * BYTES_A_TOKEN_AND_LAYER
            late = sum(t["notif"] not in arrived for t in own)
            posts = sum(t["post_end_ns"] - t["posted_ns"] for t in mine) / 1e6
            done = all(t["status"] == "done" for t in own)
            check.line(
                f"{request['tokens']} tokens, process {process}, rank {ranks}: chunks {seen}, {total} bytes of {wanted}, "
                f"{sum(t['descriptors'] or 0 for t in mine)} descriptors, posts {posts:.1f} ms, {late} of {len(own)} notifs missing",
                seen == list(range(chunks)) and total == wanted and late == 0 and done and len(ranks) == 1,
            )
    copies = rows(run, "memcpys", ["process_id", "bytes", "kind"])
    for process in posting:
        from_gpu = [t for t in transfers if t["process_id"] == process and t["local_memory"] == "VRAM" and t["request"] in rooms]
        sent = sum(t["bytes"] or 0 for t in from_gpu)
        copied = [c["bytes"] for c in copies if c["process_id"] == process and c["kind"] == "PtoP"]
        check.line(f"process {process}: transfers from VRAM {sent} bytes, {len(copied)} peer copies {sum(copied)} bytes", sent == sum(copied))
    polled = sum(t["pending_polls"] is not None for t in transfers)
    print(f"  polls of {polled} of {len(transfers)} transfers were all recorded")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("agent")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--witness")
    options = parser.parse_args()
    if gpus() < 2 * STAGES:
        print("skipped: four GPUs are needed")
        return 77
    options.out.mkdir(parents=True, exist_ok=True)
    sys.stdout = Tee(options.out / "report.txt")
    variables = environment(options.agent, options.witness, options.out)
    check = Check()
    recording = Agent(options.agent, options.out / "run", None)
    servers = pair.Pair(options.out / "pair", STAGES, LAYERS, CHUNK, environment=variables)
    try:
        print(f"both servers are up, recorded, after {servers.wait():.0f} s", flush=True)
        pair.request(1000, 100)
        level(options.agent, "launch")
        recording.mark()
        told = [pair.request(tokens, seed) for seed, tokens in enumerate(PROMPTS)]
        for request in told:
            print("  " + json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in request.items()}))
        time.sleep(1)
        (rss, core), code, said = recording.stop()
        check.line(f"agent: exit code {code}, {rss:.1f} MB, {core:.2f} % of a core; {' '.join(said)}", code == 0 and rss <= 100 and core <= 5)
        handed_over(options.out / "run", told, check)
    finally:
        servers.stop()
    if options.witness:
        witnessed(options.out, options.out / "run", check)
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
