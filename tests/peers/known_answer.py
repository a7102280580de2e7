"""Kineto traces whose critical path is known, because it is written here."""

import json
from dataclasses import dataclass
from pathlib import Path

PID = 100
DAY = 1_694_000_000_000_000


@dataclass(frozen=True)
class Probe:
    """Kernel C waits for an event behind A and one behind B, in this order."""

    name: str
    waits: tuple[str, str]


@dataclass(frozen=True)
class Known:
    """The path that is right."""

    length_us: int
    kernels: list[str]


PROBES = [Probe("long_wait_first", ("A", "B")), Probe("long_wait_last", ("B", "A"))]
LENGTH = {"A": 1000, "B": 100, "C": 100}
STREAM = {"A": 7, "B": 8, "C": 9}
EVENT = {"A": 1, "B": 2}


class Writer:
    """Events of a trace, one thread that calls CUDA every 10 us."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.now = 100
        self.correlation = 0
        self.records: dict[str, int] = {}

    def add(self, category: str, name: str, pid: int, tid: int, ts: int, dur: int, **args) -> None:
        self.events.append(
            {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid, "ts": DAY + ts, "dur": dur, "args": args}
        )

    def arrow(self, phase: str, pid: int, tid: int, ts: int) -> None:
        arrow = {"ph": phase, "id": self.correlation, "pid": pid, "tid": tid, "ts": DAY + ts, "cat": "ac2g", "name": "ac2g"}
        self.events.append(arrow | ({"bp": "e"} if phase == "f" else {}))

    def call(self, name: str, dur: int = 5) -> int:
        """A call of the CUDA runtime; returns when it starts."""
        self.correlation += 1
        start = self.now
        self.add("cuda_runtime", name, PID, PID, start, dur, cbid=1, correlation=self.correlation)
        self.now = start + max(dur + 5, 10)
        return start

    def kernel(self, name: str, start: int) -> None:
        launch = self.call("cudaLaunchKernel")
        stream = STREAM[name]
        self.arrow("s", PID, PID, launch)
        self.add(
            "kernel", name, 0, stream, start, LENGTH[name], queued=0, device=0, context=1, stream=stream,
            correlation=self.correlation, grid=[1, 1, 1], block=[32, 1, 1],
        )
        self.arrow("f", 0, stream, start)

    def record(self, after: str) -> None:
        self.call("cudaEventRecord")
        self.records[after] = self.correlation

    def wait(self, stream: int, after: str) -> None:
        start = self.call("cudaStreamWaitEvent")
        self.sync("Stream Wait Event", stream, start + 1, 2, {
            "wait_on_stream": STREAM[after],
            "wait_on_cuda_event_record_corr_id": self.records[after],
            "wait_on_cuda_event_id": EVENT[after],
        })

    def sync(self, kind: str, stream: int, start: int, dur: int, waited: dict) -> None:
        self.add(
            "cuda_sync", kind, 0, stream, start, dur, cuda_sync_kind=kind, stream=stream,
            correlation=self.correlation, device=0, context=1, **waited,
        )


def write_probe(path: Path, probe: Probe) -> Known:
    """Writes the trace of a probe, and returns its right answer: the launch of A, A, C, the end of the step."""
    writer = Writer()
    begin = writer.now
    start_a = begin + 20
    writer.kernel("A", start_a)
    writer.record("A")
    writer.kernel("B", writer.now + 10)
    writer.record("B")
    for after in probe.waits:
        writer.wait(STREAM["C"], after)
    start_c = start_a + LENGTH["A"] + 2
    writer.kernel("C", start_c)
    end_c = start_c + LENGTH["C"]
    synced = writer.now
    writer.call("cudaDeviceSynchronize", end_c + 5 - synced)
    writer.sync("Context Sync", -1, synced + 1, end_c + 3 - synced, {})
    end = end_c + 10
    op = {"External id": 1, "Ev Idx": 0}
    writer.add("user_annotation", "ProfilerStep#1", PID, PID, begin - 10, end + 10 - begin, **op)
    writer.add("cpu_op", "op", PID, PID, begin - 5, end - begin, **op)
    document = {
        "schemaVersion": 1,
        "deviceProperties": [{"id": 0, "name": "none", "totalGlobalMem": 0}],
        "distributedInfo": {"rank": 0},
        "traceEvents": sorted(writer.events, key=lambda event: event["ts"]),
    }
    path.write_text(json.dumps(document, indent=1))
    return Known(end - begin, ["A", "C"])
