"""The faults that vLLM allows, each against a clean pair: layers of stages, chunks, KV blocks, transports, requests at once.

usage: faults.py OUT [--stages N] [--only NAME,...] [--requests N] [--tokens N] [--agent AGENT]
  OUT      folder for logs and, with --agent, a recording of each (OUT/NAME/run)
  --stages prefill stages, one GPU each, and one more decodes [2]; if there is none more, the last stage's decodes too

OUT/NAME/client.jsonl holds what the client measured, a line a request (ns on CLOCK_MONOTONIC).

Prints a table. Exits with 0, 1 where a request failed, 77 (skipped) without the GPUs.
"""
import argparse
import concurrent.futures
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import pair
from recording import Agent, environment, gpus, level

LAYERS = 36


def uneven(stages):
    """The first stage has twice as many layers as the others."""
    rest = LAYERS // (stages + 1)
    return [LAYERS - rest * (stages - 1)] + [rest] * (stages - 1)


def kinds(stages):
    """Name -> options of the pair, requests at once."""
    return {
        "clean": ({}, 1),
        "concurrency": ({}, 3),
        "uneven": ({"partition": uneven(stages)}, 1),
        "chunks": ({"chunk": 2048}, 1),
        "blocks": ({"block": 128}, 1),
        "tcp": ({"tls": "tcp,cuda_copy,self"}, 1),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--requests", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=32000)
    parser.add_argument("--agent")
    options = parser.parse_args()
    if gpus() < max(2, options.stages):
        print(f"skipped: {max(2, options.stages)} GPUs are needed")
        return 77
    shared = gpus() == options.stages
    known = kinds(options.stages)
    wanted = options.only.split(",") if options.only else list(known)
    print("| fault | options | requests | prefill p50, ms | TTFT p50, ms | most, ms | up after, s |\n|---|---|---|---|---|---|---|")
    failed, servers, running = False, None, None
    for name in wanted:
        settings, at_once = known[name]
        out = options.out / name
        out.mkdir(parents=True, exist_ok=True)
        recording = Agent(options.agent, out / "run", None) if options.agent else None
        # The same servers where only the requests differ.
        if servers is None or settings != running:
            if servers:
                servers.stop()
            variables = environment(options.agent, None, out) if options.agent else {}
            servers, running = pair.Pair(out, options.stages, LAYERS, shared=shared, environment=variables, **settings), settings
            up = servers.wait(250)
            for seed in range(2):
                pair.request(f"warm-{name}-{seed}", options.tokens, 100 + seed)
        if recording:
            level(options.agent, "launch")
        try:
            with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
                told = list(pool.map(lambda seed: pair.request(f"req-{name}-{seed}", options.tokens, seed), range(options.requests)))
            (out / "client.jsonl").write_text("".join(json.dumps(request) + "\n" for request in told))
            of = lambda key: [1e3 * request[key] for request in told]
            times = f"{statistics.median(of('prefill_s')):.0f} | {statistics.median(of('ttft_s')):.0f} | {max(of('ttft_s')):.0f}"
        except OSError as error:
            failed, times = True, f"{error} | - | -"
        print(f"| {name} | {settings or '-'} {f'{at_once} at once' if at_once > 1 else ''} | {options.requests} | {times} | {up:.0f} |", flush=True)
        if recording:
            (rss, core), code, said = recording.stop()
            print(f"  recorded: exit code {code}, {rss:.0f} MB, {core:.1f} % of a core; {said[-1] if said else ''}", flush=True)
            level(options.agent, "off")
    if servers:
        servers.stop()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
