"""Runs kvpath-workload on GPUs: real layers, real KV over NIXL, every byte compared, and each knob moves the time to first token by its size.

usage: workload.py WORKLOAD OUT --nixl DIR [--agent AGENT] [--contexts 8192,32768,131072] [--only PART,...]
  WORKLOAD  kvpath-workload
  OUT       folder for truth files and, with --agent, a recording of one run
  DIR       folder that a NIXL wheel (CUDA 13) was installed into
  AGENT     kvpath-agent, with libkvpath_inject.so beside it
  PART      contexts, knobs, recorded (a recording with its truth), faults (a recording of each fault, with its truth, in OUT/NAME)

Two GPUs serve a stage and a decode worker, four three stages and one. Exits with 0 (right), 1 (wrong), 77 (skipped: fewer than two GPUs). CUDA's cuBLAS
and NVRTC must be found by LD_LIBRARY_PATH.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

from recording import Check, gpus, rows

LAYERS, CHUNK, BLOCK = 24, 8192, 16
TLS = "cuda_ipc,cuda_copy,tcp,sm"


class Runs:
    """Starts the workload and reads its truth."""

    def __init__(self, options):
        self.options, self.count = options, 0

    def arguments(self, truth, stages, context, more):
        each = [str(LAYERS // stages)]
        shape = ["--device", "cuda", "--stages", str(stages), "--layers", *each, "--blocks", str(context // BLOCK), "--block-kib", str(4 * BLOCK)]
        shape += ["--chunks", str(max(1, context // CHUNK)), "--tls", TLS, "--nixl", self.options.nixl, "--truth", truth]
        # What is said last holds.
        given = {}
        words = [*shape, *more]
        at = 0
        while at < len(words):
            has_value = at + 1 < len(words) and not str(words[at + 1]).startswith("--")
            given[words[at]] = words[at + 1] if has_value else None
            at += 1 + has_value
        return [str(word) for pair in given.items() for word in pair if word is not None]

    def run(self, stages, context, *more, before=(), ends=0):
        self.count += 1
        truth = self.options.out / f"truth-{self.count}.tsv"
        command = [*map(str, before), self.options.workload, "run", *self.arguments(truth, stages, context, more)]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != ends:
            raise RuntimeError(f"{' '.join(map(str, more))}: exit code {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
        lines = [line.split("\t") for line in truth.read_text().splitlines()[1:]]
        return Truth(lines, time.monotonic() - start)


class Truth:
    def __init__(self, lines, took):
        self.lines, self.took = lines, took

    def of(self, what):
        """start, end (ns), agent, result, bytes, descriptors, detail"""
        return [(int(f[4]), int(f[5]), f[2], f[8], int(f[9] or 0), int(f[10] or 0), f[11]) for f in self.lines if f[3] == what]

    def ttft(self):
        """ms, of the last request: the first warms up."""
        return max((end, (end - start) / 1e6) for start, end, *_ in self.of("ttft"))[1]

    def verified(self):
        return sum(row[4] for row in self.of("verified"))

    def exposed(self):
        """From the end of the last chunk to the first token, ms."""
        end = max(end for _, end, *_ in self.of("ttft"))
        return (end - max(row[1] for row in self.of("chunk"))) / 1e6


def contexts(runs, check, stage_counts, sizes):
    print("\n| GPUs | stages | context | hand-off | TTFT, ms | after prefill, ms | transfers | GB verified | run, s |\n|---|---|---|---|---|---|---|---|---|")
    for stages in stage_counts:
        for context in sizes:
            for each in ("request", "chunk", "layer"):
                if context > 100_000 and each == "chunk":
                    continue
                requests = 2
                truth = runs.run(stages, context, "--requests", requests, "--handoff", each)
                wanted = requests * context * LAYERS // stages * stages * 4096
                good = truth.verified() == wanted
                cells = [stages + 1, stages, context, each, f"{truth.ttft():.1f}", f"{truth.exposed():.1f}", len(truth.of("post"))]
                print(f"| {' | '.join(map(str, cells))} | {truth.verified() / 1e9:.2f} | {truth.took:.1f} |", flush=True)
                if not good:
                    check.line(f"{truth.verified()} bytes verified of {wanted}", False)


def knobs(runs, check, stages):
    context, chunks = 32768, 4
    clean = [runs.run(stages, context, "--requests", 3).ttft() for _ in range(2)]
    base = statistics.mean(clean)
    print(f"\nClean, {stages} stages, {context} tokens: TTFT {' and '.join(f'{ms:.1f}' for ms in clean)} ms\n")
    print("| knob | TTFT, ms | more than clean | planted | run, s |\n|---|---|---|---|---|")

    def shown(text, planted, *more):
        truth = runs.run(stages, context, "--requests", 3, *more)
        moved = truth.ttft() - base
        print(f"| `{text}` | {truth.ttft():.1f} | {moved:+.1f} | {planted if planted is not None else '-'} | {truth.took:.1f} |", flush=True)
        if planted is not None and abs(moved - planted) > 8:
            check.line(f"{text}: moved by {moved:.1f} ms, planted {planted} ms", False)
        return truth

    last = stages - 1
    shown("--slow-layer 0:2:20000", chunks * 20, "--slow-layer", "0:2:20000")
    if last > 0:
        # Chunks grow by more than that: the last stage waits for each but the first, and only its last delay is left.
        shown(f"--slow-layer {last}:2:20000", 20, "--slow-layer", f"{last}:2:20000")
    shown("--host-pause 0:20000", chunks * 20, "--host-pause", "0:20000")
    shown("--late-registration-ms 1500", None, "--late-registration-ms", "1500")
    shown("--poll-us 50000", None, "--poll-us", "50000")
    shown("--scatter", None, "--scatter")
    shown("--kv split", None, "--kv", "split", "--block-kib", 4 * BLOCK)
    shown("--chunking dynamic", None, "--chunking", "dynamic")
    shown("--graphs", None, "--graphs")
    if stages == 3:
        shown("--layers 10,8,6", None, "--layers", "10,8,6")
    shown("--op read", None, "--op", "read")
    shown("--tls tcp,cuda_copy", None, "--tls", "tcp,cuda_copy,self")
    failed = shown("--fail-request 1", None, "--fail-request", "1")
    lost = [row for row in failed.of("post") if row[3] == "failed"]
    check.line(f"--fail-request: {len(lost)} posts failed and were made again", len(lost) == stages)
    killed = runs.run(stages, context, "--requests", 3, "--kill-decode", "1", ends=2)
    check.line(f"--kill-decode: {len(killed.of('fault'))} faults, {len(killed.of('ttft'))} request ended", len(killed.of("fault")) >= 1 and len(killed.of("ttft")) == 1)


def recorded(runs, check, stages):
    out = runs.options.out / "run"
    before = [runs.options.agent, "record", "--gpu", "launch", "--out", out, "--"]
    truth = runs.run(stages, 32768, "--requests", 4, "--handoff", "chunk", "--end-delay-ms", "200", before=before)
    transfers = rows(out, "nixl_transfers", ["bytes", "status", "local_memory"])
    posted = truth.of("post")
    same = sorted(t["bytes"] for t in transfers) == sorted(row[4] for row in posted)
    kernels = rows(out, "kernels", ["name", "process_id"])
    copies = sum(c["bytes"] for c in rows(out, "memcpys", ["bytes", "kind"]) if c["kind"] == "PtoP")
    check.line(f"recorded: {len(transfers)} transfers of {len(posted)}, {sum(t['bytes'] for t in transfers)} bytes, {copies} bytes of peer copies, {len(kernels)} kernels", same and len(kernels) > 0)


FAULTS = {
    "clean": [],
    "slow-layer": ["--slow-layer", "1:2:20000"],
    "host-pause": ["--host-pause", "0:20000"],
    "late-registration": ["--late-registration-ms", "1500"],
    "slow-poll": ["--poll-us", "50000"],
    "scatter": ["--scatter"],
    "tcp": ["--tls", "tcp,cuda_copy,self"],
    "uneven": ["--layers", "12,6,6"],
}


def faults(runs, check, stages):
    print("\n| recorded | TTFT, ms | transfers | kernels |\n|---|---|---|---|")
    for name, more in FAULTS.items():
        out = runs.options.out / name
        out.mkdir(parents=True, exist_ok=True)
        before = [runs.options.agent, "record", "--gpu", "launch", "--out", out / "run", "--"]
        truth = runs.run(stages, 16384, "--requests", 4, "--end-delay-ms", "200", *more, before=before)
        (runs.options.out / f"truth-{runs.count}.tsv").rename(out / "truth.tsv")
        transfers, kernels = (len(rows(out / "run", table, ["start_ns" if table == "kernels" else "bytes"])) for table in ("nixl_transfers", "kernels"))
        print(f"| {name} | {truth.ttft():.1f} | {transfers} of {len(truth.of('post'))} | {kernels} |", flush=True)
        check.line(f"{name}: every transfer is recorded", transfers == len(truth.of("post")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--nixl", required=True)
    parser.add_argument("--agent")
    parser.add_argument("--contexts", default="8192,32768,131072")
    parser.add_argument("--only", default="contexts,knobs,recorded,faults")
    options = parser.parse_args()
    count = gpus()
    if count < 2:
        print("skipped: two GPUs are needed")
        return 77
    options.out.mkdir(parents=True, exist_ok=True)
    check, runs = Check(), Runs(options)
    stage_counts = [1, 3] if count >= 4 else [1]
    wanted = options.only.split(",")
    if "contexts" in wanted:
        contexts(runs, check, stage_counts, [int(size) for size in options.contexts.split(",")])
    if "knobs" in wanted:
        knobs(runs, check, stage_counts[-1])
    if "recorded" in wanted and options.agent:
        recorded(runs, check, stage_counts[-1])
    if "faults" in wanted and options.agent:
        faults(runs, check, stage_counts[-1])
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
