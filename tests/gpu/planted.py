"""Is every planted fault the top item of the difference to the clean run? Over the recordings of `workload.py --only faults`.

usage: planted.py KVPATH RUNS
  KVPATH  the analyzer
  RUNS    folder with NAME/run and NAME/truth.tsv of each fault, and of `clean`

Writes NAME/client.jsonl from the router's lines of the truth file and imports it into NAME/run (once). Prints a table. Exits with 0, 1
where another item is on top or the paths do not end with the router's first token, 2 where a recording is missing.
"""
import json
import pathlib
import subprocess
import sys

# Fault -> what it lengthens, as any of (stage, category).
PLANTED = {
    "slow-layer": {("prefill 1", "compute")},
    # The pause comes before the first launch: until then the request waits in the queue.
    "host-pause": {("prefill 0", "queue"), ("prefill 0", "host")},
    "late-registration": {(stage, "ready_wait") for stage in ("prefill 0", "prefill 1", "prefill 2")},
    "slow-poll": {(stage, category) for stage in ("prefill 0", "prefill 1", "prefill 2", "decode (3)") for category in ("notify", "schedule")},
    "scatter": {(stage, "wire") for stage in ("prefill 0", "prefill 1", "prefill 2")},
    "tcp": {(stage, "wire") for stage in ("prefill 0", "prefill 1", "prefill 2")},
    "uneven": {("prefill 0", "compute")},
}


def told(folder):
    """What the router saw: request -> (arrival, first token), ns; in the log of a client."""
    lines = [line.split("\t") for line in (folder / "truth.tsv").read_text().splitlines()]
    seen = {line[6]: (int(line[4]), int(line[5])) for line in lines if line[3] == "ttft"}
    log = folder / "client.jsonl"
    log.write_text("".join(json.dumps({"request": request, "start_ns": start, "ttft_ns": end - start}) + "\n" for request, (start, end) in seen.items()))
    return log, seen


def path(kvpath, run, *more):
    return json.loads(subprocess.run([kvpath, "path", run, "--json", *more], check=True, capture_output=True, text=True).stdout)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    kvpath, runs = sys.argv[1], pathlib.Path(sys.argv[2])
    folders = {name: runs / name for name in ("clean", *PLANTED) if (runs / name / "run").is_dir()}
    if "clean" not in folders or len(folders) < 2:
        print(f"{runs}: no recordings of faults beside `clean`", file=sys.stderr)
        return 2
    seen, wrong = {}, []
    for name, folder in folders.items():
        log, seen[name] = told(folder)
        if not list((folder / "run").rglob("spans-*.parquet")):
            subprocess.run([kvpath, "import", "client", log, "--run", folder / "run"], check=True, capture_output=True)
    print("| fault | TTFT against clean, ms | top item | it, ms | explained, least | paths that end at the router's token |\n|---|---|---|---|---|---|")
    for name, folder in folders.items():
        requests = path(kvpath, folder / "run")["requests"]
        exact = sum((request["source_ns"], request["end_ns"]) in seen[name].values() for request in requests)
        least = min(request["coverage"] for request in requests)
        whole = f"{100 * least:.1f} % | {exact} of {len(seen[name])}"
        if exact != len(seen[name]):
            wrong.append(f"{name}: {exact} of {len(seen[name])} paths run from the router's arrival to its first token")
        if name == "clean":
            print(f"| clean | - | - | - | {whole} |")
            continue
        found = path(kvpath, folder / "run", "--against", folders["clean"] / "run")
        top = found["on_path"][0]
        at = (top["stage"], top["category"])
        print(f"| {name} | {found['difference_ns'] / 1e6:+.1f} | {' '.join(at)} | {top['difference_ns'] / 1e6:+.1f} | {whole} |")
        if at not in PLANTED[name]:
            wrong.append(f"{name}: the top item is {' '.join(at)}")
    for line in wrong:
        print(f"  WRONG: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
