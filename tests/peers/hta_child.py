"""What runs inside HTA's venv, one thing a process: prints one object of JSON with its figures."""

import gzip
import json
import sys
import time
from pathlib import Path


def count(trace: str) -> dict:
    """Events of a trace (descriptions of processes left aside, as kvpath does), and bytes of its JSON."""
    data = Path(trace).read_bytes()
    if trace.endswith(".gz"):
        data = gzip.decompress(data)
    events = json.loads(data)["traceEvents"]
    return {"events": sum(event.get("ph") != "M" for event in events), "bytes": len(data)}


def load(trace: str):
    """The trace in HTA, and how long that took without the start of Python."""
    from hta.common.trace import Trace

    start = time.perf_counter()
    loaded = Trace(trace_files={0: trace}, trace_dir="/")
    loaded.load_traces(use_memory_profiling=False, use_multiprocessing=False)
    return loaded, time.perf_counter() - start


def path(trace: str, annotation: str) -> dict:
    """The critical path of the first instance of an annotation."""
    from hta.analyzers.critical_path_analysis import CriticalPathAnalysis

    loaded, _ = load(trace)
    start = time.perf_counter()
    found = CriticalPathAnalysis.critical_path_analysis(loaded, 0, annotation, 0)
    seconds = time.perf_counter() - start
    if found is None or not found[1]:
        raise SystemExit(f"HTA finds no `{annotation}`, or no path in it")
    graph = found[0]
    names = loaded.symbol_table.get_sym_table()
    frame = loaded.get_trace(0)
    on_path = frame.loc[[event for event in graph.critical_path_events_set if event in frame.index]]
    kernels = on_path[on_path["stream"] >= 0]["name"].map(lambda name: names[int(name)])
    return {
        "seconds": seconds,
        "graph_nodes": len(graph.nodes),
        "path_nodes": len(graph.critical_path_nodes),
        "length_us": float(sum(edge.weight for edge in graph.critical_path_edges_set)),
        "kernels": sorted(set(kernels)),
    }


def main() -> None:
    import logging
    import warnings

    # Else `hta` would be the script beside this one.
    sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    what, trace, *more = sys.argv[1:]
    trace = str(Path(trace).resolve())
    if what == "count":
        said = count(trace)
    elif what == "path":
        said = path(trace, *more)
    else:
        loaded, seconds = load(trace)
        said = {"seconds": seconds, "rows": len(loaded.get_trace(0))}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
