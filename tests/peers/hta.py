"""kvpath beside HTA (Holistic Trace Analysis) on the same Kineto traces: loading, the critical path of one rank, and a
trace whose critical path is known.

    python3 tests/peers/hta.py KVPATH FOLDER [--rounds 3] [--venv DIR] [--hta 'traceinsight==0.6.1']

KVPATH is a binary as `./x dist` builds it, FOLDER holds traces (*.json, *.json.gz). HTA comes from PyPI, into a venv of its
own. Each program runs in a process of its own, in turn; figures are medians over the rounds. README.md says what is
counted.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from known_answer import LENGTH, PROBES, write_probe

ROOT = Path(__file__).resolve().parent
CHILD = ROOT / "hta_child.py"


@dataclass
class Run:
    """One process, run to its end."""

    seconds: float
    # Peak resident memory, MB.
    memory: float
    # What it printed: for HTA an object with figures of its own.
    output: str
    # What it printed on stderr.
    errors: str

    @property
    def said(self) -> dict:
        return json.loads(self.output.strip().splitlines()[-1])

    @property
    def walking(self) -> float:
        """Seconds of `kvpath path --timings` behind the reading of the run."""
        joined, walked = re.search(r"joined in ([0-9.]+) s, [0-9]+ paths walked in ([0-9.]+) s", self.errors).groups()
        return float(joined) + float(walked)


class Failed(Exception):
    """A program that did not do what was asked; the last line it printed."""


# Seconds that a program may take.
LIMIT = 1200


def run(command: list[str]) -> Run:
    """Runs a command, with its wall time and peak memory."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        errors = err.read().decode(errors="replace")
        if process.returncode == -signal.SIGKILL:
            raise Failed(f"not done after {LIMIT} s, or out of memory")
        if process.returncode != 0:
            lines = errors.strip().splitlines()
            raise Failed(lines[-1] if lines else f"exit code {process.returncode}")
        # Linux counts in kB.
        return Run(seconds, usage.ru_maxrss * 1024 / 1e6, out.read().decode(errors="replace"), errors)


def make_venv(folder: Path, package: str) -> str:
    """The Python of a venv with HTA in it."""
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # HTA assigns in ways that pandas 3 no longer allows.
        subprocess.run([python, "-m", "pip", "install", "--quiet", package, "pandas<3"], check=True)
    return str(python)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table of Markdown."""
    print(f"\n## {title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def median(runs: list[Run], figure) -> float:
    return statistics.median(figure(run) for run in runs)


def loading(arguments, python: str, traces: list[Path], scratch: Path) -> list[list[str]]:
    """Loads each trace with both, in turn."""
    rows = []
    for trace in traces:
        theirs, ours = [], []
        for _ in range(arguments.rounds):
            out = scratch / "run"
            shutil.rmtree(out, ignore_errors=True)
            ours.append(run([arguments.kvpath, "import", "kineto", str(trace), "--out", str(out)]))
            theirs.append(run([python, str(CHILD), "load", str(trace)]))
        # In a process of its own as well: Linux counts the memory of a parent into the peak of its children.
        counted = run([python, str(CHILD), "count", str(trace)]).said
        events, size = counted["events"], counted["bytes"]
        mine = median(ours, lambda run: run.seconds)
        loading, process = median(theirs, lambda run: run.said["seconds"]), median(theirs, lambda run: run.seconds)
        my_memory, memory = (median(runs, lambda run: run.memory) for runs in (ours, theirs))
        rows.append([
            trace.name, f"{events:,}", f"{size / 1e6:.1f}", f"{mine:.3f}", f"{loading:.2f}", f"{loading / mine:.0f}",
            f"{process:.2f}", f"{process / mine:.0f}", f"{my_memory:.0f}", f"{memory:.0f}", f"{memory / my_memory:.1f}",
        ])
    return rows


def paths(arguments, python: str, traces: list[Path], scratch: Path) -> list[list[str]]:
    """The critical path of the first ProfilerStep of each trace that has one."""
    rows = []
    for trace in traces:
        out = scratch / "path"
        load = [arguments.kvpath, "import", "kineto", str(trace), "--out", str(out)]
        walk = [arguments.kvpath, "path", str(out), "--json", "--timings", "--range"]
        theirs, loads, ours = [], [], []
        try:
            shutil.rmtree(out, ignore_errors=True)
            run(load)
            first = json.loads(run([*walk, "ProfilerStep"]).output)["requests"][0]["request_id"]
            for _ in range(arguments.rounds):
                shutil.rmtree(out, ignore_errors=True)
                loads.append(run(load))
                ours.append(run([*walk, first]))
                theirs.append(run([python, str(CHILD), "path", str(trace), "ProfilerStep"]))
        except Failed as failed:
            rows.append([trace.name, *["-"] * 11, f"none: {failed}"])
            continue
        said, steps = theirs[0].said, json.loads(ours[0].output)["requests"]
        mine, seconds = median(ours, lambda run: run.walking), median(theirs, lambda run: run.said["seconds"])
        # From the file to the path, as somebody at a prompt waits for it.
        my_all = median(loads, lambda run: run.seconds) + median(ours, lambda run: run.seconds)
        their_all = median(theirs, lambda run: run.seconds)
        rows.append([
            trace.name, f"{said['graph_nodes']:,}", f"{said['path_nodes']:,}", f"{seconds:.2f}",
            f"{median(theirs, lambda run: run.memory):.0f}", str(len(steps)), f"{mine:.4f}",
            f"{median(ours, lambda run: run.memory):.0f}", f"{seconds / mine:.0f}",
            f"{my_all:.3f}", f"{their_all:.2f}", f"{their_all / my_all:.0f}",
            f"{said['length_us'] / 1000:.1f}; {steps[0]['ttft_ns'] / 1e6:.1f}, {steps[0]['coverage']:.0%} explained",
        ])
    return rows


def known_answers(arguments, python: str, scratch: Path) -> list[list[str]]:
    """Paths of traces that are written here, whose answer is known."""
    rows = []
    for probe in PROBES:
        trace = scratch / f"{probe.name}.json"
        known = write_probe(trace, probe)
        out = scratch / probe.name
        run([arguments.kvpath, "import", "kineto", str(trace), "--out", str(out)])
        found = [arguments.kvpath, "path", str(out), "--range", "ProfilerStep", "--by", "name", "--json"]
        ours = json.loads(run(found).output)
        kernels = [row["name"] for row in ours["on_path"] if row["name"] in LENGTH]
        said = run([python, str(CHILD), "path", str(trace), "ProfilerStep"]).said
        rows.append([
            probe.name, f"{known.length_us} us, through {', '.join(known.kernels)}",
            f"{said['length_us']:.0f} us, through {', '.join(said['kernels']) or 'no kernel'}",
            f"{ours['requests'][0]['ttft_ns'] / 1000:.0f} us, through {', '.join(sorted(kernels)) or 'no kernel'}",
        ])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kvpath")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--venv", type=Path, default=Path.home() / ".cache/kvpath/peers/hta")
    parser.add_argument("--hta", default="traceinsight==0.6.1", help="what pip installs")
    arguments = parser.parse_args()
    traces = sorted([*arguments.folder.glob("*.json"), *arguments.folder.glob("*.json.gz")])
    if not traces:
        print(f"hta.py: {arguments.folder}: no *.json and no *.json.gz in it", file=sys.stderr)
        return 2
    python = make_venv(arguments.venv, arguments.hta)
    print(f"HTA: {arguments.hta}; {os.cpu_count()} CPUs; medians of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        print_table(
            "Loading",
            ["trace", "events", "JSON, MB", "kvpath, s", "HTA, s", "HTA / kvpath", "HTA's process, s", "of it / kvpath",
             "kvpath, MB", "HTA, MB", "HTA / kvpath"],
            loading(arguments, python, traces, scratch),
        )
        print_table(
            "Critical path of the first ProfilerStep, after loading; kvpath: of all of its name",
            ["trace", "HTA nodes", "on the path", "HTA, s", "HTA, MB", "kvpath, steps", "kvpath, s", "kvpath, MB",
             "HTA / kvpath", "kvpath from the file, s", "HTA's process, s", "of it / kvpath",
             "length by HTA; by kvpath, ms"],
            paths(arguments, python, traces, scratch),
        )
        print_table(
            "Known answers: kernel C waits for the events behind two kernels",
            ["trace", "known", "HTA", "kvpath"],
            known_answers(arguments, python, scratch),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
