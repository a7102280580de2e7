"""What recording costs a real vLLM prefill (PP=2) and decode pair, and whether the recording is whole.

usage: overhead.py AGENT OUT [--requests N] [--tokens N] [--witness DIR]
  AGENT    kvpath-agent, with libkvpath_inject.so beside it
  OUT      folder for results: OUT/run is the recording of the last phase
  DIR      folder whose sitecustomize logs NIXL calls to WITNESS_DIR (columns: tests/fixtures/PROVENANCE.md)

The servers start with the injected library loaded and off. Then blocks of requests of one length, in this order:
  never        nothing was ever recorded
  B E X A A X E B  twice: B records NIXL by eBPF and the GPU at level launch, E NIXL alone, X NIXL and all that --with names,
               A nothing
  kernel       eBPF, and the GPU at level kernel
A's own halves, compared with each other, say what a difference of nothing looks like. Then the servers start anew, recorded
from the first moment on: six requests of several lengths with all there is, and the bytes of peer copies held against those of
transfers. At last a prefill worker is killed while it works: how much of its end is missing. With a witness, every recording is held
against it.

Needs root, three GPUs, vLLM with NIXL, pyarrow. Without GPUs it says `skipped` and exits with 77.
"""
import argparse
import glob
import json
import os
import pathlib
import signal
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import pair
from recording import Agent, Check, Tee, environment, gpus, level, rows, witnessed

MIXED = [1000, 32000, 32000, 65000, 32000, 32000]


def measure(agent, out, count, tokens, check):
    ttft, prefill = {}, {}

    def block(arm, size):
        for _ in range(size):
            seed = 1000 + sum(map(len, ttft.values()))
            told = pair.request(f"req-{arm}-{seed}", tokens, seed)
            ttft.setdefault(arm, []).append(told["ttft_s"])
            prefill.setdefault(arm, []).append(told["prefill_s"])

    for seed in range(4):
        pair.request(f"warm-{seed}", tokens, seed)
    block("never", count)
    costs = {"B": [], "E": [], "X": []}
    for turn, arm in enumerate("BEXAAXEB" * 2):
        if arm == "A":
            block("A1" if turn % 8 == 3 else "A2", count // 2)
            continue
        more = ["--with", "ucx,sockets,sched"] if arm == "X" else []
        recording = Agent(agent, out / f"block-{turn}", "launch" if arm == "B" else None, *more)
        recording.mark()
        block(arm, count // 2)
        cost, code, said = recording.stop()
        costs[arm].append(cost)
        if arm == "X" or code != 0:
            check.line(f"recording {turn}: exit code {code}, {' '.join(said)}", code == 0)
        level(agent, "off")
    recording = Agent(agent, out / "block-kernel", "kernel")
    block("kernel", count)
    recording.stop()
    level(agent, "off")
    off = ttft["A1"] + ttft["A2"]
    base = statistics.median(off)
    print(f"\n## TTFT of {tokens} tokens, one request at a time\n\n| arm | requests | p50, ms | mean, ms | p50 against off |")
    print("|---|---|---|---|---|")
    arms = [("never recorded", ttft["never"]), ("off, first halves", ttft["A1"]), ("off, second halves", ttft["A2"])]
    arms += [("off", off), ("eBPF", ttft["E"]), ("eBPF --with ucx,sockets,sched", ttft["X"]), ("eBPF + CUPTI launch", ttft["B"]), ("eBPF + CUPTI kernel", ttft["kernel"])]
    for name, values in arms:
        p50 = statistics.median(values)
        mean = statistics.mean(values)
        print(f"| {name} | {len(values)} | {1e3 * p50:.1f} | {1e3 * mean:.1f} | {100 * (p50 / base - 1):+.2f} % |")
    noise = abs(statistics.median(ttft["A1"]) / statistics.median(ttft["A2"]) - 1)
    for arm in "BEX":
        cost = abs(statistics.median(ttft[arm]) / base - 1)
        check.line(f"{arm}: difference {100 * cost:.2f} %, A/A {100 * noise:.2f} %", cost < max(0.01, noise))
        rss, core = (max(cost[i] for cost in costs[arm]) for i in (0, 1))
        check.line(f"{arm}: agent at most {rss:.1f} MB, {core:.2f} % of a core", rss <= 100 and core <= 5)
    modes(ttft)
    json.dump({"ttft_s": ttft, "prefill_s": prefill}, open(out / "times.json", "w"))


def modes(ttft):
    """The same, for the two kinds of requests that such a row has: blocks of KV in one piece, or scattered (a copy each)."""
    split = statistics.mean(value for values in ttft.values() for value in values)
    print("\n| arm | contiguous | p50, ms | scattered | p50, ms |\n|---|---|---|---|---|")
    for arm, values in ttft.items():
        low, high = ([v for v in values if (v < split) == side] for side in (True, False))
        cells = [f"{len(part)} | {1e3 * statistics.median(part):.1f}" if part else "0 | -" for part in (low, high)]
        print(f"| {arm} | {' | '.join(cells)} |")


def whole(agent, out, recording, check):
    run = out / "run"
    level(agent, "launch")
    recording.mark()
    print("\n## A recording of six requests with all there is\n")
    for seed, tokens in enumerate(MIXED):
        told = pair.request(f"req-{seed}-{tokens}", tokens, seed)
        print("  " + json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in told.items()}))
    time.sleep(1)
    (rss, core), code, said = recording.stop()
    level(agent, "off")
    check.line(f"agent: exit code {code}, {rss:.1f} MB, {core:.2f} % of a core; {' '.join(said)}", code == 0 and rss <= 100 and core <= 5)
    transfers = rows(run, "nixl_transfers", ["process_id", "bytes", "status"])
    copies = rows(run, "memcpys", ["process_id", "bytes", "kind"])
    for process in sorted({t["process_id"] for t in transfers}):
        sent = sum(t["bytes"] or 0 for t in transfers if t["process_id"] == process)
        copied = sum(c["bytes"] for c in copies if c["process_id"] == process and c["kind"] == "PtoP")
        count = sum(1 for c in copies if c["process_id"] == process and c["kind"] == "PtoP")
        check.line(f"process {process}: transfers {sent} bytes, {count} peer copies {copied} bytes", sent == copied and sent > 0)
    files = glob.glob(f"{run}/node=*/source=*/kernels-*.parquet")
    kernels = len(rows(run, "kernels", ["start_ns"]))
    each = sum(os.path.getsize(path) for path in files) / max(kernels, 1)
    check.line(f"{kernels} kernels, {each:.1f} bytes each on disk", kernels > 0 and each <= 12)
    lost = {}
    for drop in rows(run, "drops"):
        key = (drop["table_name"], drop["reason"])
        lost[key] = lost.get(key, 0) + drop["count"]
    print("  lost:", lost or "nothing")
    total = sum(os.path.getsize(path) for path in glob.glob(f"{run}/**/*.parquet", recursive=True))
    print(f"  {total / 1e6:.2f} MB in all")


def killed(agent, out, servers, check):
    print("\n## A prefill worker is killed while it works\n")
    run = out / "killed"
    recording = Agent(agent, run, "kernel")
    # The same once before: while the driver loads a function that was never launched, CUPTI gives nothing.
    pair.request("req-before", 100_000, 8)
    stages = [(pid, title) for pid, title in servers.workers().items() if "Worker" in title and "PP" in title.upper()]
    pid, title = (stages or sorted(servers.workers().items()))[0]
    begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    threading.Thread(target=lambda: ignore(lambda: pair.request("req-killed", 100_000, 7)), daemon=True).start()
    time.sleep(2.0)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    os.kill(pid, signal.SIGKILL)
    time.sleep(2)
    recording.stop()
    ends = [k["start_ns"] + k["dur_ns"] for k in rows(run, "kernels", ["start_ns", "dur_ns", "process_id"]) if k["process_id"] == pid and k["start_ns"] > begun]
    if not ends:
        check.line(f"{pid} ({title}): no kernel was recorded", False)
        return
    lost = (before - max(ends)) / 1e6
    check.line(f"{pid} ({title}): its last kernel of {len(ends)} ended {lost:.1f} ms before it was killed", lost <= 100)


def ignore(body):
    try:
        body()
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("agent")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=32000)
    parser.add_argument("--witness")
    parser.add_argument("--only-whole", action="store_true", help="leave the blocks out")
    options = parser.parse_args()
    if gpus() < 3:
        print("skipped: three GPUs are needed")
        return 77
    options.out.mkdir(parents=True, exist_ok=True)
    # Whoever started this may see only the end of what it prints.
    sys.stdout = Tee(options.out / "report.txt")
    variables = environment(options.agent, options.witness, options.out)
    check = Check()
    if not options.only_whole:
        servers = pair.Pair(options.out / "pair", environment=variables)
        try:
            print(f"both servers are up after {servers.wait():.0f} s", flush=True)
            measure(options.agent, options.out, options.requests, options.tokens, check)
        finally:
            servers.stop()
    recording = Agent(options.agent, options.out / "run", None)
    servers = pair.Pair(options.out / "recorded-pair", environment=variables)
    try:
        print(f"both servers are up again, recorded, after {servers.wait():.0f} s", flush=True)
        whole(options.agent, options.out, recording, check)
        killed(options.agent, options.out, servers, check)
    finally:
        servers.stop()
    if options.witness:
        print("\n## Against the witness\n")
        for run in sorted(options.out.glob("block-*[0-9]")) + [options.out / "run"]:
            witnessed(options.out, run, check)
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
