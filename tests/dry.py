"""Where do prefill GPUs run dry? By kernels and launching calls alone, without paths: what an audit by GPUs disputes of a path on a thread.

usage: dry.py KVPATH RUN...

Of each run, over the time of its requests in which one prefill stage alone computes (kernels less than 100 us apart count as one): the share in
which a kernel runs; of that, in which it had been launched less than 1 ms before it began, so that the thread was hardly ahead of the GPU;
and in which the GPU is idle and the next kernel starts within 20 us of its launching call, so that it waited for the thread. Where the last
two are large, the stage computes as fast as its thread launches, and a path that asks for what was waited for last is on the thread.
Needs launching calls: recordings at level `launch`, or imports.
"""
import bisect
import json
import subprocess
import sys

NEAR, SOON, AHEAD = 100_000, 20_000, 1_000_000


def rows(kvpath, run, query):
    out = subprocess.run([kvpath, "sql", run, query, "--format", "json"], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.strip()]


def union(spans, near=0):
    found = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1] + near:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return found


def overlap(spans, start, end):
    at = max(bisect.bisect_left(spans, [start, start]) - 1, 0)
    total = 0
    while at < len(spans) and spans[at][0] < end:
        total += max(0, min(spans[at][1], end) - max(spans[at][0], start))
        at += 1
    return total


def of(kvpath, run):
    stages = rows(kvpath, run, "SELECT process_id AS p, coalesce(stage, stage_id) AS s FROM stages WHERE role = 'prefill'")
    stage_of = {row["p"]: row["s"] for row in stages}
    listed = ",".join(map(str, stage_of)) or "0"
    kernels = rows(kvpath, run, f"""SELECT k.process_id AS p, k.start_ns AS s, k.start_ns + k.dur_ns AS e, a.start_ns + a.dur_ns AS launched
        FROM kernels k LEFT JOIN api_calls a ON a.process_id = k.process_id AND a.correlation_id = k.correlation_id
        WHERE k.process_id IN ({listed}) AND lower(k.name) NOT LIKE '%nccl%' ORDER BY k.start_ns""")
    windows = union((row["s"], row["e"]) for row in rows(kvpath, run, "SELECT request, min(start_ns) AS s, max(start_ns + dur_ns) AS e FROM critical_path GROUP BY request"))
    busy, short, dry, computes = {}, {}, {}, {}
    for stage in set(stage_of.values()):
        own = [k for k in kernels if stage_of[k["p"]] == stage]
        busy[stage] = union((k["s"], k["e"]) for k in own)
        short[stage] = union((k["s"], k["e"]) for k in own if k["launched"] is not None and k["s"] - k["launched"] < AHEAD)
        computes[stage] = union(((k["s"], k["e"]) for k in own), NEAR)
        dry[stage], end = [], None
        for k in own:
            if end is not None and k["s"] > end and k["launched"] is not None and end < k["launched"] and k["s"] - k["launched"] <= SOON:
                dry[stage].append([end, k["s"]])
            end = max(end or k["e"], k["e"])
    edges = sorted({edge for spans in [*computes.values(), windows] for span in spans for edge in span})
    alone = runs = tight = waits = 0
    for start, end in zip(edges, edges[1:]):
        on = [stage for stage, spans in computes.items() if overlap(spans, start, end)]
        if len(on) == 1 and overlap(windows, start, end):
            alone += end - start
            runs += overlap(busy[on[0]], start, end)
            tight += overlap(short[on[0]], start, end)
            waits += overlap(dry[on[0]], start, end)
    return alone, runs, tight, waits


def main():
    print("| recording | one stage alone | a kernel runs | launched less than 1 ms before | idle, waits for its launch |\n|---|---|---|---|---|")
    for run in sys.argv[2:]:
        alone, runs, tight, waits = of(sys.argv[1], run)
        share = lambda part: f"{100 * part / alone:.1f} %" if alone else "-"
        name = [part for part in run.rstrip("/").split("/") if part != "run"][-1]
        print(f"| {name} | {alone / 1e6:,.0f} ms | {share(runs)} | {share(tight)} | {share(waits)} |")


if __name__ == "__main__":
    main()
