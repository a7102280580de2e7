"""What was seen of a recording from elsewhere: by a witness inside the engines' own Python, and by the client."""

import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Step:
    """A forward pass that the engine began, with the tokens of each request in it."""

    process: int
    start: int
    end: int
    tokens: dict[str, int]
    # How long it took on the GPU by two CUDA events, waiting in it included.
    gpu_ns: float | None = None


@dataclass
class Post:
    """A transfer that the engine posted."""

    process: int
    start: int
    end: int
    request: str | None
    bytes: int | None
    is_done: bool | None


@dataclass
class Witness:
    """What was seen from inside the engines."""

    steps: list[Step] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    # When decode's registration was on its way to a process, by that and its request: sent after, taken before.
    registered: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    # PP and TP rank of a process.
    ranks: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Recording:
    """One, with all that is known of it otherwise."""

    name: str
    run: Path
    told: dict
    client: list[dict] | None
    # Processes of each server, by its name: `prefill0`, `decode0`.
    servers: dict[str, set[int]]
    witness: Witness
    # How paths stand without the client's times.
    alone: str = "-"


def outer(request: str | None) -> str | None:
    """The id that the client gave: without what the engine puts around it."""
    return re.sub(r"^cmpl-|-0$", "", re.sub(r"-[0-9a-f]{8}$", "", request)) if request else request


def cells(log: Path) -> list[list[str]]:
    """The lines of a log, each with its process first."""
    own = re.fullmatch(r"witness-(\d+)", log.stem)
    lines = [line.split("\t") for line in log.read_text(errors="replace").splitlines()]
    return [[own[1], *line] for line in lines] if own else lines


def registrations(text: str) -> list[str]:
    """Requests that the messages in a line of a log register (vLLM's push): the id is msgpack, written as Python shows bytes."""
    found = []
    for shown in re.finditer(r"""b(['"])PUSH_REG:(?:\\.|(?!\1).)*\1""", text):
        _, is_there, value = ast.literal_eval(shown[0]).partition(b"request_id")
        if is_there:
            begin, size = (2, value[1]) if value[0] == 0xD9 else (1, value[0] & 0x1F)
            found.append(outer(value[begin : begin + size].decode()))
    return found


def witnessed(logs: list[Path]) -> Witness:
    found = Witness()
    made, last_made, open_posts, gpu, sent = {}, {}, {}, {}, {}
    for line in (line for log in logs for line in cells(log)):
        try:
            process, what, at = int(line[0]), line[1], line[2:]
            match what:
                case "rank":
                    found.ranks[process] = int(at[0]), int(at[1])
                case "step":
                    parts = [part.rsplit(":", 1) for part in (at[3] if len(at) > 3 else "").split(";") if ":" in part]
                    tokens = {outer(name): int(count) for name, count in parts if not name.startswith(("_", "HEALTH_CHECK"))}
                    if tokens:
                        found.steps.append(Step(process, int(at[0]), int(at[1]), tokens))
                case "make" | "made" | "initialize":
                    text = next((cell for cell in reversed(at) if cell.startswith("b'")), "")
                    # SGLang's room, or vLLM's id with its suffix and the number of consumers.
                    request = re.sub(r"_(kv|aux|state)(_.*)?$", "", text[2:-1]) if "_" in text else outer(text[2:-1].rsplit(":", 1)[0])
                    made[process, at[3]] = last_made[process] = request or None, int(at[6]) if what == "made" else None
                case "gpu":
                    gpu[process, int(at[0])] = float(at[2]) * 1e6
                case "raised" if at[2] == "transfer":
                    found.posts.append(Post(process, int(at[0]), int(at[1]), *last_made[process], False))
                case "post":
                    request, size = made.get((process, at[3]), (None, None))
                    result = at[4] if len(at) > 4 else ""
                    post = Post(process, int(at[0]), int(at[1]), request, size, True if result == "DONE" else None)
                    found.posts.append(post)
                    open_posts[process, at[3]] = post
                case "notif_send":
                    for request in registrations(line[-1]):
                        sent[request] = min(int(at[0]), sent.get(request, sys.maxsize))
                case "notif_recv":
                    for request in registrations(line[-1]):
                        found.registered.setdefault((process, request), (0, int(at[1])))
                case "state":
                    post = open_posts.get((process, at[3]))
                    if post and post.is_done is None and at[4] != "PROC":
                        post.is_done = at[4] == "DONE"
        except (ValueError, IndexError):
            # A log that ended in the middle of a line, and lines of other kinds.
            continue
    found.registered = {(process, request): (sent.get(request, 0), taken) for (process, request), (_, taken) in found.registered.items()}
    for step in found.steps:
        step.gpu_ns = gpu.get((step.process, step.start))
    found.steps.sort(key=lambda step: step.start)
    return found


def renamed(recording: Recording) -> None:
    """Gives steps the client's ids where the engine has its own (SGLang): by when they came and how long they are."""
    if not recording.client or any(step.tokens.keys() & {line["request"] for line in recording.client} for step in recording.witness.steps):
        return
    of, first = Counter(), {}
    for step in recording.witness.steps:
        for name, tokens in step.tokens.items():
            of[step.process, name] += tokens
            first.setdefault((step.process, name), step.start)
    names = {}
    for line in sorted(recording.client, key=lambda line: line["start_ns"]):
        for (process, name), tokens in sorted(of.items(), key=lambda own: first[own[0]]):
            if tokens == line["tokens"] and name not in names and first[process, name] > line["start_ns"]:
                names[name] = line["request"]
                break
    for step in recording.witness.steps:
        step.tokens = {names.get(name, name): tokens for name, tokens in step.tokens.items()}
