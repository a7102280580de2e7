"""Writes a Kineto trace several times over: as if the profiler had gone on through as many profiles of the same steps.

    python3 tests/peers/larger.py TRACE.json.gz TIMES OUT.json

Times, correlation ids, ids of arrows and of operators, and the numbers of profiler steps go on from copy to copy; all else,
the way it is written included, stays as it is. Copies are told apart by nothing else, so that a program that keys by any of
these ids sees as many events, and no event twice.
"""

import argparse
import gzip
import re
import sys
from pathlib import Path

OPENING = '"traceEvents": ['
# What counts on from copy to copy, each with its number as a group.
TIME = re.compile(r'"ts": (\d+)')
IDS = re.compile(
    r'("(?:correlation|External id|external id|id|Ev Idx|wait_on_cuda_event_record_corr_id|Sequence number)": )(\d+)'
)
STEP = re.compile(r'(ProfilerStep#)(\d+)')
# Where GPUs and CPUs are described, at the end of Kineto's events.
DESCRIPTION = re.compile(r'"ph": "M"')


def read(path: Path) -> str:
    """The JSON of a trace."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def largest(pattern: re.Pattern, group: int, text: str) -> int:
    """The largest number that a pattern meets; 0 if none."""
    return max((int(found[group]) for found in pattern.finditer(text)), default=0)


def counted_on(events: str, copy: int, step_us: int, step_id: int, step_step: int) -> str:
    """The events of a copy."""
    if copy == 0:
        return events
    events = TIME.sub(lambda found: f'"ts": {int(found[1]) + copy * step_us}', events)
    events = IDS.sub(lambda found: f"{found[1]}{int(found[2]) + copy * step_id}", events)
    return STEP.sub(lambda found: f"{found[1]}{int(found[2]) + copy * step_step}", events)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("times", type=int)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    text = read(arguments.trace)
    begin, end = text.find(OPENING) + len(OPENING), text.rfind("\n  ],")
    if begin < len(OPENING) or end < begin:
        print(f"larger.py: {arguments.trace}: not written as Kineto writes", file=sys.stderr)
        return 2
    events = text[begin:end]
    times = [int(found[1]) for found in TIME.finditer(events)]
    # A millisecond of nothing between copies.
    step_us = max(times) - min(time for time in times if time > 0) + 1_000
    step_id, step_step = largest(IDS, 2, events) + 1, largest(STEP, 2, events) + 1
    # Descriptions have times as well, and are the same for all copies.
    lines = re.split(r"(?<=\n  \}),", events)
    described = [line for line in lines if DESCRIPTION.search(line)]
    acting = ",".join(line for line in lines if not DESCRIPTION.search(line))
    with arguments.out.open("w") as out:
        out.write(text[:begin] + ",".join(described))
        for copy in range(arguments.times):
            out.write("," + counted_on(acting, copy, step_us, step_id, step_step))
        out.write(text[end:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
