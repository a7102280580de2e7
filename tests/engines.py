#!/usr/bin/env python3
"""What kvpath says of recordings of serving engines, held against who saw it: writes the tables of docs/engines.md to stdout.

    tests/engines.py KVPATH FOLDER...

FOLDER: a recording (FOLDER/run; beside it, where there are any, client.jsonl, told.json and witness/witness-PID.tsv), or a folder of such; the
bundled ones are always looked at. Which engine, version and features a recording is of, and what was started, stands in engines.toml.

Truth comes from the client (client.jsonl), from a witness inside the engine's own Python (steps, posts, ranks) and from what was started, none
of which the analyzer sees but the client's times, which are imported as a user does. Recordings are copied first and stay as they are.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from witnesses import Recording, Step, outer, renamed, witnessed

FIXTURES = Path(__file__).parent / "fixtures"
TOLD = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
# A path's length is the client's own figure: no more than it rounds.
SAME_NS = 2_000
# Of a batch that several requests share.
SAME_SHARE = 0.02
# Of a path's audited time.
AGREES = 0.95
# By how much a pass may begin before the call that the witness wrapped (SGLang prepares a batch before that), and by how much it may last
# longer than between the events that the engine recorded around it.
SLACK_NS = 2_000_000
PATHS = "SELECT * FROM paths"
# Lines of a kind that the table of differences holds for a recording.
EXAMPLES = 3


@dataclass
class Held:
    """One figure of kvpath's against the truth: how many are right, of how many, and what is said where one is not."""

    right: int = 0
    total: int = 0
    unsaid: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, is_right: bool | None, otherwise: str) -> None:
        """`None`: kvpath says that it does not know, which is no wrong answer."""
        self.total += 1
        self.right += bool(is_right)
        self.unsaid += is_right is None
        if is_right is False:
            self.wrong.append(otherwise)

    def __str__(self) -> str:
        if not self.total:
            return "-"
        said = str(self.total) if self.right == self.total else f"{self.right} of {self.total}"
        said += f", {self.unsaid} not said" if self.unsaid else ""
        return f"**{said}**" if self.wrong else said


def sql(run: Path, query: str) -> list[dict]:
    out = subprocess.run([KVPATH, "sql", run, query, "--format", "json"], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{run}: {query}: {out.stderr.strip()}")
    return [json.loads(line) for line in out.stdout.splitlines() if line.strip()]


def recordings(folders: list[Path], scratch: Path):
    """Those that engines.toml knows, each copied, with its client's times imported."""
    found = {}
    for name in TOLD["recording"]:
        if name.startswith("v1/"):
            found[name] = FIXTURES / name
    for folder in folders:
        for case in [folder] if (folder / "run").is_dir() else sorted(folder.iterdir()):
            if (case / "run").is_dir() and case.name in TOLD["recording"]:
                found[case.name] = case
            elif (case / "run").is_dir():
                print(f"{case}: engines.toml has no {case.name}", file=sys.stderr)
    for name, told in TOLD["recording"].items():
        if name not in found:
            print(f"{name}: not among the folders", file=sys.stderr)
            continue
        case, run = found[name], scratch / name
        if name.startswith("v1/"):
            shutil.copytree(case, run)
            log = FIXTURES / "witness" / f"{case.name}.tsv"
            alone = standing(sql(run, PATHS))
            client = imported(name, FIXTURES / "witness" / f"{case.name}-client.jsonl", run)
            yield Recording(name, run, told, client, {}, witnessed([log] if log.exists() else []), alone if client else "-")
            continue
        shutil.copytree(case / "run", run)
        alone = standing(sql(run, PATHS))
        client = imported(name, case / "client.jsonl", run)
        servers = {}
        if (case / "told.json").exists():
            titles = json.loads((case / "told.json").read_text())["titles"]
            servers = {server: {int(line.split()[0]) for line in lines} for server, lines in titles.items()}
        yield Recording(name, run, told, client, servers, witnessed(sorted((case / "witness").glob("witness-*.tsv"))), alone)


def standing(paths: list[dict]) -> str:
    """How much of the paths' time is explained, and how far the audit agrees with them, of how much."""
    time = sum(row["ttft_ns"] for row in paths)
    explained = f"{100 * sum(row['coverage'] * row['ttft_ns'] for row in paths) / time:.0f} %" if time else "-"
    judged = [row for row in paths if row.get("agreement") is not None]
    time = sum(row["judged_ns"] for row in judged)
    agreeing = sum(row["agreement"] * row["judged_ns"] for row in judged)
    return f"{explained} | " + (f"{100 * agreeing / time:.1f} % of {time / 1e6:,.0f} ms" if time else "-")


def imported(name: str, log: Path, run: Path) -> list[dict] | None:
    """What the client's log tells of requests, once kvpath has taken it in."""
    if not log.exists():
        return None
    done = subprocess.run([KVPATH, "import", "client", log, "--run", run], capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: its client's times are not imported: {done.stderr.strip()}", file=sys.stderr)
    return [line for line in map(json.loads, log.read_text().splitlines()) if "request" in line]


def span(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}"


class Case:
    """What kvpath says of a recording, against what is known."""

    def __init__(self, recording: Recording):
        self.recording = recording
        run, told = recording.run, recording.told
        self.stages = sql(run, "SELECT stage_id, role, pp_rank, tp_rank, process_id, name, layers FROM stages")
        self.requests = sql(run, "SELECT * FROM requests")
        self.paths = sql(run, PATHS)
        self.handoffs = sql(
            run,
            "SELECT h.*, r.request_id, s.process_id FROM handoffs h JOIN requests r ON r.request = h.request "
            "JOIN stages s ON s.stage_id = h.stage_id",
        )
        self.chunks = sql(
            run,
            "SELECT c.chunk, c.start_ns, c.dur_ns, c.share, c.process_id, r.request_id FROM chunks c JOIN requests r ON r.request = c.request",
        )
        self.transfers = sql(run, "SELECT process_id, posted_ns, status, bytes, request FROM nixl_transfers WHERE posted_ns IS NOT NULL")
        self.told = told
        self.by_id = {outer(row["request_id"]): row for row in self.requests if row.get("request_id")}

    def processes(self, role: str) -> set[int]:
        named = {process for server, own in self.recording.servers.items() if server.startswith(role) for process in own}
        return named or {row["process_id"] for row in self.stages if row["role"] == role}

    def ranks(self) -> Held:
        """Each rank of each server, with its role, and no other one."""
        held = Held()
        for role in ("prefill", "decode"):
            started = self.told.get(role)
            found = [row for row in self.stages if row["role"] == role]
            if started is not None:
                is_unknown = not found and any(row["role"] == "unknown" for row in self.stages)
                why = f"{len(found)} ranks of {role}, {started['ranks']} were started"
                held.add(None if is_unknown else len(found) == started["ranks"], why)
        for process, (pp, tp) in self.recording.witness.ranks.items():
            row = next((row for row in self.stages if row["process_id"] == process), None)
            role = next((role for role in ("prefill", "decode") if process in self.processes(role)), None)
            said = row and (row["role"], row.get("pp_rank") or 0, row.get("tp_rank") or 0)
            is_unknown = said is not None and said[0] == "unknown"
            held.add(None if is_unknown else said == (role, pp, tp), f"process {process} is {role} PP {pp} TP {tp}, kvpath says {said or 'nothing'}")
        return held

    def layers(self) -> Held:
        held = Held()
        for role in ("prefill", "decode"):
            expected = self.told.get(role, {}).get("layers")
            for row in self.stages if expected else []:
                if row["role"] != role:
                    continue
                true = expected[(row.get("pp_rank") or 0) % len(expected)]
                said = row.get("layers")
                held.add(None if said is None else said == true, f"{role} {row['name']}: {said} layers, {true} are there")
        return held

    def carried(self) -> Held:
        """Hand-offs are of all layers of their sender, and go to those of decode where these follow the stages before."""
        held = Held()
        sent, taken = (self.told.get(role, {}).get("layers") for role in ("prefill", "decode"))
        ranks = {row["process_id"]: row.get("pp_rank") or 0 for row in self.stages}
        for row in self.handoffs if sent and taken else []:
            at = ranks[row["process_id"]] % len(sent)
            said, own = row.get("layers"), span(0, sent[at])
            of = f"{outer(row.get('request_id'))} from {row['process_id']}"
            held.add(None if said is None else said == own, f"{of}: layers {said}, of {own}")
            if len(taken) == 1:
                said, peers = row.get("peer_layers"), span(sum(sent[:at]), sent[at])
                held.add(None if said is None else said == peers, f"{of}: into layers {said}, of {peers}")
        return held

    def asked(self) -> Held:
        """Each request of the client's is there, and no other one."""
        held = Held()
        known = {line["request"] for line in self.recording.client or []}
        for name in sorted(known):
            held.add(name in self.by_id, f"{name}: not there")
        if known:
            known |= set(self.told.get("unlogged", []))
            others = [row for row in self.requests if outer(row.get("request_id")) not in known]
            held.wrong += [f"request {row['request']} ({row.get('request_id')}, {row['state']}) is none of the client's" for row in others]
            held.total += len(others)
        return held

    def states(self) -> Held:
        held = Held()
        for line in self.recording.client or []:
            row = self.by_id.get(line["request"])
            if row:
                is_done = "ttft_s" in line or "total_s" in line
                why = f"{line['request']}: {row['state']}, the client had {'its token' if is_done else 'none'}"
                held.add((row["state"] == "done") == is_done, why)
        return held

    def steps(self, role: str) -> dict[tuple[str, int], list[Step]]:
        """The passes of each request on each process of that role that recorded any kernel."""
        found = defaultdict(list)
        own = self.processes(role) & {row["process_id"] for row in self.stages}
        for step in self.recording.witness.steps:
            for name in step.tokens if step.process in own else []:
                found[name, step.process].append(step)
        return found

    def passes(self) -> tuple[Held, Held]:
        """How many chunks each request has on each rank; and of those that are as many, when each began and its share of the batch."""
        counts, each = Held(), Held()
        said = defaultdict(list)
        for row in self.chunks:
            said[outer(row.get("request_id")), row["process_id"]].append(row)
        for (name, process), steps in sorted(self.steps("prefill").items()):
            chunks = sorted(said.get((name, process), []), key=lambda row: row["chunk"])
            if name not in self.by_id and self.recording.client is None:
                continue
            counts.add(len(chunks) == len(steps), f"{name} on {process}: {len(chunks)} chunks, {len(steps)} passes")
            for chunk, step in zip(chunks, steps) if len(chunks) == len(steps) else []:
                true = step.tokens[name] / sum(step.tokens.values())
                bad = []
                if chunk["start_ns"] < step.start - SLACK_NS:
                    bad.append(f"begins {(step.start - chunk['start_ns']) / 1e6:.1f} ms before its step")
                if step.gpu_ns and chunk["dur_ns"] > 1.1 * step.gpu_ns + SLACK_NS:
                    bad.append(f"{chunk['dur_ns'] / 1e6:.1f} ms, the step's took {step.gpu_ns / 1e6:.1f}")
                if chunk.get("share") is not None and abs(chunk["share"] - true) > SAME_SHARE:
                    bad.append(f"share {chunk['share']:.2f}, {true:.2f} of the tokens")
                each.add(not bad, f"{name} on {process}, chunk {chunk['chunk']}: {', '.join(bad)}")
        return counts, each

    def posted(self) -> tuple[Held, Held]:
        """Every transfer that was posted, with its request and size and whether it ended; and the bytes of each request."""
        held, sizes = Held(), Held()
        if self.told.get("nixl") is False:
            return held, sizes
        seen = 0
        by_request = Counter()
        for post in self.recording.witness.posts:
            rows = [row for row in self.transfers if row["process_id"] == post.process and post.start <= row["posted_ns"] <= post.end]
            why = f"{post.request} posted by {post.process}"
            if len(rows) != 1:
                if self.recording.told.get("cut"):
                    continue
                held.add(False, f"{why}: recorded {len(rows)} times")
                continue
            seen += 1
            row = rows[0]
            bad = []
            if post.request and outer(row.get("request")) != post.request:
                bad.append(f"request {row.get('request')}")
            if post.bytes is not None and row.get("bytes") != post.bytes:
                bad.append(f"{row.get('bytes')} bytes of {post.bytes}")
            if self.recording.witness.ranks and (row["status"] == "done") != bool(post.is_done):
                bad.append(f"{row['status']}, ended: {post.is_done}")
            held.add(not bad, f"{why}: {', '.join(bad)}")
            if post.request and post.bytes is not None:
                by_request[post.request] += post.bytes if post.is_done else 0
        if self.recording.witness.ranks:
            held.add(seen == len(self.transfers), f"{len(self.transfers)} transfers recorded, {seen} of them witnessed")
        for name, true in by_request.items():
            row = self.by_id.get(name)
            said = row and (row.get("handoff_bytes") or 0)
            sizes.add(said == true, f"{name}: {said} bytes handed over, {true} ended")
        return held, sizes

    def ends(self) -> Held:
        """Sender and receiver of each hand-off, by the servers that the client asked; and who asked for the transfers."""
        held = Held()
        way = next((way for way in ("pull", "push") if way in self.told["features"]), None)
        for row in self.handoffs if way and self.told.get("nixl") is not False else []:
            held.add(None if row["way"] == "unknown" else row["way"] == way, f"{outer(row.get('request_id'))}: {row['way']}, it was {way}")
        asked = {line["request"]: line for line in self.recording.client or [] if "p" in line}
        for row in self.handoffs:
            line = asked.get(outer(row.get("request_id")))
            sender, receiver = (self.recording.servers.get(f"{role}{line[at]}") if line else None for role, at in (("prefill", "p"), ("decode", "d")))
            if sender is None or receiver is None:
                continue
            why = f"{line['request']}: from {row['process_id']} to {row.get('peer_process_id')}"
            held.add(row["process_id"] in sender and row.get("peer_process_id") in receiver, why)
        return held

    def arrivals(self) -> Held:
        """When decode's registration reached a stage."""
        held = Held()
        for row in self.handoffs:
            own = self.recording.witness.registered.get((row["process_id"], outer(row.get("request_id"))))
            if own:
                said = row.get("ready_ns")
                why = f"{outer(row['request_id'])} at {row['process_id']}: registered {((said or 0) - own[0]) / 1e6:.1f} ms after it was sent"
                held.add(None if said is None else own[0] <= said <= own[1], f"{why}, taken after {(own[1] - own[0]) / 1e6:.1f}")
        return held

    def batches(self) -> Held:
        """Requests that shared a batch are said to overlap."""
        held = Held()
        own = self.processes("prefill")
        shared = {name for step in self.recording.witness.steps if step.process in own and len(step.tokens) > 1 for name in step.tokens}
        for name in sorted(shared & self.by_id.keys()):
            held.add(self.by_id[name]["overlaps"], f"{name}: shared a batch, and does not overlap another")
        return held

    def order(self) -> Held:
        """What came first: prefill ends before its KV is posted (where the engine hands over whole prompts), decode's first pass of the
        request is the one that its engine began."""
        held = Held()
        first = {}
        for (name, _), steps in self.steps("decode").items():
            first[name] = min([first[name], steps[0]] if name in first else [steps[0]], key=lambda step: step.start)
        made = {}
        for post in self.recording.witness.posts:
            if post.request:
                made[post.request] = max(made.get(post.request, 0), post.start)
        for name, row in self.by_id.items():
            if self.told["engine"] == "vLLM" and row.get("prefill_end_ns") and name in made:
                late = row["prefill_end_ns"] - made[name]
                held.add(late <= 0, f"{name}: prefill ends {late / 1e6:.1f} ms after its KV was posted")
            if row.get("decode_start_ns") and name in first and not self.recording.told.get("kv_both"):
                step = first[name]
                later = [other.start for other in self.recording.witness.steps if other.process == step.process and other.start > step.start]
                is_own = step.start <= row["decode_start_ns"] and (not later or row["decode_start_ns"] < max(later[0], step.end))
                held.add(is_own, f"{name}: `decode_start_ns` is {(row['decode_start_ns'] - step.start) / 1e6:+.1f} ms from its first step")
        return held

    def lengths(self) -> Held:
        """Paths that begin and end with the client are as long as it says."""
        held = Held()
        of = {outer(row.get("request_id")): row for row in self.paths if row["source"] == "client"}
        for line in self.recording.client or []:
            if "ttft_s" in line and line["request"] in self.by_id:
                row = of.get(line["request"])
                true = round(line["ttft_s"] * 1e9)
                said = f"{row['ttft_ns'] / 1e6:.1f} ms" if row else "no path from the client"
                is_same = row is not None and abs(row["ttft_ns"] - true) <= SAME_NS
                held.add(is_same, f"{line['request']}: {said}, {true / 1e6:.1f} by the client")
        return held

    def audited(self) -> Held:
        """Paths that are where the GPUs were: `kvpath check` asks for the same share."""
        held = Held()
        for row in self.paths:
            if row.get("agreement") is not None:
                why = f"{100 * row['agreement']:.1f} % of {row['judged_ns'] / 1e6:.0f} ms, {100 * row['coverage']:.1f} % explained"
                held.add(row["agreement"] >= AGREES, f"{outer(row.get('request_id'))}: {why}")
        return held

    def shape(self) -> str:
        """Which stages there are, with the layers of each."""
        said = defaultdict(list)
        for row in self.stages:
            said[row["role"]].append(str(row["layers"]) if row.get("layers") is not None else "?")
        return "; ".join(f"{role} {' + '.join(said[role])}" for role in ("prefill", "decode", "unknown") if role in said)


# What figures are of: what the agent wrote down; what belongs together; what that shows.
KINDS = {
    "recorded": ("ranks", "transfers"),
    "joined": ("requests", "states", "bytes", "ends", "registered"),
    "resolved": ("layers", "carried", "chunks", "passes", "shared", "order", "length", "audit"),
}


def figures(case: Case) -> dict[str, Held]:
    chunks, passes = case.passes()
    transfers, sizes = case.posted()
    return {
        "ranks": case.ranks(),
        "transfers": transfers,
        "requests": case.asked(),
        "states": case.states(),
        "bytes": sizes,
        "ends": case.ends(),
        "registered": case.arrivals(),
        "layers": case.layers(),
        "carried": case.carried(),
        "chunks": chunks,
        "passes": passes,
        "shared": case.batches(),
        "order": case.order(),
        "length": case.lengths(),
        "audit": case.audited(),
    }


def summed(kind: str, cases: list[dict[str, Held]]) -> str:
    """All figures of a kind, of several recordings."""
    own = [held[what] for held in cases for what in KINDS[kind]]
    total = Held(sum(each.right for each in own), sum(each.total for each in own), sum(each.unsaid for each in own))
    total.wrong = [why for each in own for why in each.wrong]
    return str(total)


def features(found: dict[str, dict[str, Held]]) -> None:
    print("| feature | recorded | joined | resolved | recordings |\n|---|---|---|---|---|")
    for engine in TOLD["engine"]:
        print(f"| **{engine['name']} {engine['version']}** | | | | {engine['recorded']} |")
        for feature in engine["feature"]:
            is_own = lambda told: told["engine"] == engine["name"] and feature["is"] in told["features"]
            # A recording counts once, though a cut of it is bundled.
            own = [name for name in found if is_own(TOLD["recording"][name]) and TOLD["recording"][name].get("of") not in found]
            said = [summed(kind, [found[name] for name in own]) for kind in KINDS] if own else ["", "", ""]
            print(f"| {feature['name']} | {' | '.join(said)} | {', '.join(own) or 'none: ' + feature.get('why', 'not recorded')} |")


def main() -> None:
    rows, found = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for recording in recordings([Path(folder) for folder in sys.argv[2:]], Path(scratch)):
            renamed(recording)
            case = Case(recording)
            own = found[recording.name] = figures(case)
            kinds = " | ".join(summed(kind, [own]) for kind in KINDS)
            stands = f"{standing(case.paths)} | {recording.alone.replace(' | ', '; ')}"
            rows.append(f"| {recording.name} | {len(case.requests)} | {case.shape()} | {kinds} | {stands} |")
    features(found)
    print(f"\n| recording | requests | layers said | {' | '.join(KINDS)} | explained | audit | without the client |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print("\n| recording | what | of | kvpath, and the truth |\n|---|---|---|---|")
    for name, own in found.items():
        for what, held in own.items():
            more = f"; and {len(held.wrong) - EXAMPLES} more" if len(held.wrong) > EXAMPLES else ""
            if held.wrong:
                print(f"| {name} | {what} | {len(held.wrong)} of {held.total} | {'; '.join(held.wrong[:EXAMPLES])}{more} |")


if __name__ == "__main__":
    KVPATH = sys.argv[1]
    main()
