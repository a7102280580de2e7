"""Holds a recording against witness logs: every NIXL transfer's calls, descriptors, notif and completion.

usage: check_witness.py RUN WITNESS_DIR      exit code 0 if everything agrees, 1 if not

The witness wraps Python's calls, so a recorded time must lie inside the witnessed one; the difference of the two durations is what
Python and the binding add. Calls before or after the recording do not count. Columns of the witness: tests/fixtures/PROVENANCE.md.
"""
import ast
import glob
import re
import statistics
import sys

import pyarrow.parquet as pq


def rows(run, table):
    found = []
    for path in glob.glob(f"{run}/node=*/source=*/{table}-*.parquet"):
        found += pq.ParquetFile(path).read().to_pylist()
    return found


def witness(folder, began, ended):
    """process -> calls between two times, in order: (what, start, end, rest)"""
    calls = {}
    for path in glob.glob(f"{folder}/witness-*.tsv"):
        process = int(re.search(r"witness-(\d+)", path)[1])
        for line in open(path, encoding="utf-8", errors="replace"):
            what, *rest = line.rstrip("\n").split("\t")
            known = what in ("make", "initialize", "post", "state", "release", "register")
            if known and began <= int(rest[0]) and int(rest[1]) <= ended:
                calls.setdefault(process, []).append((what, int(rest[0]), int(rest[1]), rest[2:]))
    return calls


def next_of(calls, what, handle, after):
    """The next such call with that handle (handles are reused at once)."""
    return next((call for call in calls if call[0] in what and call[3][1] == handle and call[1] >= after), None)


def pairs_of(calls, transfers):
    """Each post of a process with its make, its end, its release, and the recorded transfer of that text and time."""
    calls = sorted(calls, key=lambda call: call[1])
    for post in (call for call in calls if call[0] == "post"):
        handle = post[3][1]
        made = [call for call in calls if call[0] in ("make", "initialize") and call[3][1] == handle and call[2] <= post[1]]
        if not made:
            # Made before the recording.
            continue
        make = made[-1]
        # Columns after the handle: make op, descriptors, text; initialize op, peer, text, descriptors.
        op, count, text = (make[3][2], make[3][3], make[3][4]) if make[0] == "make" else (make[3][2], make[3][5], make[3][4])
        notif = ast.literal_eval(text)
        told = {"op": op, "descriptors": int(count), "notif": notif.decode() if notif is not None else None}
        ends = [c for c in calls if c[0] == "state" and c[3][1] == handle and c[3][2] == "DONE" and c[1] >= post[1]]
        inside = [t for t in transfers if t["posted_ns"] and post[1] <= t["posted_ns"] <= post[2] and t["notif"] == told["notif"]]
        yield post, make, told, ends[0] if ends else None, next_of(calls, ("release",), handle, post[2]), inside


def main(run, folder):
    transfers, problems = rows(run, "nixl_transfers"), []
    post_diff, post_share, checked = [], [], 0
    said = {row["key"]: row["value"] for row in rows(run, "capture_info") if row["source"] == "capture"}
    calls = witness(folder, int(said["started_ns"]), int(said["ended_ns"]))
    for process, seen in sorted(calls.items()):
        own = [t for t in transfers if t["process_id"] == process]
        regions = [r for r in rows(run, "nixl_regions") if r["process_id"] == process]
        wanted = sum(int(call[3][1]) for call in seen if call[0] == "register")
        if len(regions) != wanted:
            problems.append(f"{process}: {len(regions)} regions recorded, {wanted} registered")
        for post, make, told, end, release, found in pairs_of(seen, own):
            name = f"{process}: {told['notif']}"
            if len(found) != 1:
                problems.append(f"{name}: posted once, recorded {len(found)} times")
                continue
            t = found[0]
            inside = lambda at, call: at is not None and call[1] <= at <= call[2]
            expect = {
                "made inside its call": inside(t["made_ns"], make),
                "posted inside its call": inside(t["posted_ns"], post) and inside(t["post_end_ns"], post),
                "op": t["op"] == told["op"],
                "descriptors asked": t["made_descriptors"] == told["descriptors"],
                "status": t["status"] == "done",
                # Polls that came too often for the budget were not recorded, which the row says.
                "done by the witnessed poll": t["done_poll_ns"] is None
                and t["pending_polls"] is None
                or t["done_poll_ns"] is not None
                and (inside(t["done_poll_ns"], post) if post[3][2] == "DONE" else end is not None and t["done_poll_ns"] <= end[2]),
                "released inside its call": inside(t["released_ns"], release) if release else True,
                "bytes": bool(t["bytes"]) and t["bytes"] > 0,
            }
            problems += [f"{name}: {what}: {t}" for what, ok in expect.items() if not ok]
            ours, theirs = t["post_end_ns"] - t["posted_ns"], post[2] - post[1]
            post_diff.append(theirs - ours)
            post_share.append(abs(theirs - ours) / theirs)
            if abs(theirs - ours) > max(0.05 * theirs, 1_000_000):
                problems.append(f"{name}: post took {ours} ns, witnessed {theirs} ns")
            checked += 1
    drops = rows(run, "drops")
    print(f"witness: {checked} transfers of {sum(1 for c in calls.values() if any(x[0] == 'post' for x in c))} processes agree"
          if not problems else f"witness: {len(problems)} disagreements")
    if post_diff:
        print(f"witness: post lasts {statistics.median(post_diff) / 1e3:.0f} us longer seen from Python (median; "
              f"largest {max(post_diff) / 1e3:.0f} us, at most {100 * max(post_share):.1f} %)")
    print(f"drops: {sum(d['count'] for d in drops)} records in {len(drops)} rows")
    unpolled = sum(1 for t in transfers if t["status"] == "done" and t["done_poll_ns"] is None)
    if unpolled:
        print(f"polls of {unpolled} transfers were not recorded")
    for line in problems[:3]:
        print("  *", line[:300])
    return 1 if problems or not checked else 0


sys.exit(main(*sys.argv[1:3]))
