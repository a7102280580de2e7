"""Hands KV over by prepared lists, as serving engines do, and writes what it did. `prepared.py LIBRARIES FORM LAYOUT TRUTH`.

FORM: `strided`, a row for the blocks of a layer (NIXL 1.5 and later), or `blocks`, a row for each block. LAYOUT:

* `layers`: two stages of half of the layers each push to decode. All layers of a process lie in one allocation, one after another
  (layer l, block b at offset + l * layer_stride + b * block_stride), each with a gap behind it; one region, one row a layer. Decode
  prepares its own rows too; a stage prepares those of decode's rows that are its layers'. So does vLLM 0.33
  (distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py:2171, 2196, 2333, 2476, 2684).
* `dense`: the same without gaps.
* `pages`: a block holds a page of each layer. A stage has a row for the pages of each of its layers, here and at decode, which
  itself has a row for whole blocks (:1688-1703).
* `rows`: the same, but a row of the list is for whole blocks, of all layers; one stage.
* `buffers`: K of all layers and then V of all, each a buffer and a region of its own; decode prepares nothing. So does SGLang 0.5.23
  (srt/disaggregation/nixl/conn.py:1173-1208).

Each process is a copy of this script under the title that the engine gives it. Truth: tab-separated lines `prepared` pid peer list row
address bytes stride count, `region` pid address bytes, and `post` pid notif layers-here layers-there descriptors.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from ctypes import byref, c_char_p, c_size_t, c_void_p
from dataclasses import dataclass

from capi import DRAM, WRITE, Agent, Capi
from strided import prepare

LAYERS = 8
BLOCKS = 24
PAGE = 4096
# Blocks of each request, here and there: scattered, neighbours, one, and the last and first of a layer. The last one is of a
# stage's second layer alone.
REQUESTS = (
    ([3, 9, 14], [20, 7, 1]),
    ([4, 5, 6, 7], [8, 9, 10, 11]),
    ([11], [2]),
    ([23, 0], [0, 23]),
    ([0, 1, 2, 23], [13, 14, 15, 16]),
)


@dataclass
class Kv:
    """A process's KV: allocations, and rows of blocks (address, bytes, device, stride, count) in the engine's order."""

    buffers: list
    rows: list


def allocate(layout: str, layers: int, given: ctypes.Array | None = None) -> Kv:
    if layout == "buffers":
        buffers = [buffer(BLOCKS * PAGE) for _ in range(2 * layers)]
        return Kv(buffers, [(at(own), PAGE, 0, PAGE, BLOCKS) for own in buffers])
    if layout in ("pages", "rows"):
        own = given or buffer(BLOCKS * PAGE * layers)
        if layout == "rows":
            return Kv([own], [(at(own), PAGE * layers, 0, PAGE * layers, BLOCKS)])
        return Kv([own], [(at(own) + PAGE * layer, PAGE, 0, PAGE * layers, BLOCKS) for layer in range(layers)])
    stride = BLOCKS * PAGE + (PAGE // 2 if layout == "layers" else 0)
    own = buffer(stride * layers)
    return Kv([own], [(at(own) + stride * layer, PAGE, 0, PAGE, BLOCKS) for layer in range(layers)])


def buffer(size: int) -> ctypes.Array:
    return ctypes.create_string_buffer(size)


def at(own: ctypes.Array) -> int:
    return ctypes.addressof(own)


def flat(rows: list) -> list:
    """A descriptor a block."""
    return [(start + n * stride, size, device) for start, size, device, stride, count in rows for n in range(count)]


class Process:
    """One of them, with what it says."""

    def __init__(self):
        libraries, self.form, self.layout = sys.argv[1:4]
        self.capi = Capi(f"{libraries}/libnixl_capi.so")
        self.libraries, self.lists = libraries, 0
        self.name = os.environ["AGENT"]
        self.agent = Agent(self.capi, self.name, False)

    def register(self, layers: int) -> None:
        self.kv = allocate(self.layout, layers)
        ranges = [(at(own), len(own), 0) for own in self.kv.buffers]
        self.agent.register(ranges)
        for start, size, _ in ranges:
            tell("region", os.getpid(), start, size)

    def prepare(self, peer: str, rows: list) -> c_void_p:
        for number, (start, size, _, stride, count) in enumerate(rows):
            tell("prepared", os.getpid(), peer, self.lists, number, start, size, stride, count)
        self.lists += 1
        if self.form == "strided":
            return prepare(self.libraries, self.agent, peer, rows)
        out = c_void_p()
        blocks = self.capi.list_of("xfer", DRAM, flat(rows))
        self.capi.call("prep_xfer_dlist", self.agent.handle, peer.encode(), blocks, byref(out), None)
        return out

    def metadata(self) -> str:
        data, size = c_void_p(), c_size_t()
        self.capi.call("get_local_md", self.agent.handle, byref(data), byref(size))
        return ctypes.string_at(data, size.value).hex()

    def learn(self, metadata: str) -> None:
        data, name = bytes.fromhex(metadata), c_char_p()
        self.capi.call("load_remote_md", self.agent.handle, data, c_size_t(len(data)), byref(name))

    def notify(self, peer: str, text: bytes) -> None:
        self.capi.call("gen_notif", self.agent.handle, peer.encode(), text, c_size_t(len(text)), self.agent.options(None))

    def take(self) -> None:
        """Lets notifications arrive."""
        self.capi.call("get_notifs", self.agent.handle, self.capi.made("create_notif_map"), None)


def tell(*what) -> None:
    print(*what, sep="\t", flush=True)


def hear() -> dict:
    return json.loads(sys.stdin.readline())


def numbers(layers: list[int]) -> str:
    return "-".join(str(layer) for layer in sorted({layers[0], layers[-1]}))


def request_id(number: int) -> str:
    """As vLLM's decode names a request that a proxy has given an id."""
    return f"chatcmpl-{number:08x}-1111-4222-8333-444455556666-{0x1a2b3c00 + number:08x}"


def decode() -> None:
    own = Process()
    own.register(LAYERS)
    if own.layout == "pages":
        own.prepare("", allocate("rows", LAYERS, own.kv.buffers[0]).rows)
    elif own.layout != "buffers":
        own.prepare("", own.kv.rows)
    tell("ready", json.dumps({"metadata": own.metadata(), "rows": own.kv.rows}))
    stages = hear()
    for metadata in stages["metadata"]:
        own.learn(metadata)
    for number, _ in enumerate(REQUESTS):
        identity = request_id(number).encode()
        text = b"PUSH_REG:\x82\xaarequest_id\xd9" + bytes([len(identity)]) + identity
        text += b"\xb0decode_engine_id\xa3abc"
        for stage in stages["names"]:
            own.notify(stage, text)
    tell("registered")
    while "end" not in (said := hear()):
        own.take()
    del said


def stage() -> None:
    number, stages = int(os.environ["STAGE"]), int(os.environ["STAGES"])
    layers = LAYERS // stages
    own, first = Process(), number * layers
    own.register(layers)
    local = own.prepare("", own.kv.rows)
    tell("ready", json.dumps({"metadata": own.metadata()}))
    peer = hear()
    own.learn(peer["metadata"])
    theirs = [tuple(row) for row in peer["rows"]]
    halves = [theirs] if own.layout != "buffers" else [theirs[:LAYERS], theirs[LAYERS:]]
    theirs = [row for half in halves for row in (half if own.layout == "rows" else half[first : first + layers])]
    remote = own.prepare(peer["name"], theirs)
    hear()
    for at_request, (here, there) in enumerate(REQUESTS):
        rows, sent = range(len(own.kv.rows)), list(range(layers))
        if at_request == len(REQUESTS) - 1 and own.layout != "rows":
            rows, sent = range(1, len(own.kv.rows), layers), [1]
        ids = [[row * BLOCKS + block for row in rows for block in blocks] for blocks in (here, there)]
        notif = f"{request_id(at_request)}:1"
        request = own.agent.make_of(WRITE, [local, remote], ids, notif.encode())
        own.take()
        status = own.capi.call("post_xfer_req", own.agent.handle, request, None, allowed=(0, 1))
        until = time.monotonic() + 30
        while status == 1 and time.monotonic() < until:
            time.sleep(0.0002)
            status = own.capi.call("get_xfer_status", own.agent.handle, request, allowed=(0, 1))
        own.capi.call("release_xfer_req", own.agent.handle, request)
        if status != 0:
            raise RuntimeError("a transfer does not end")
        tell("post", os.getpid(), notif, numbers(sent), numbers([first + layer for layer in sent]), len(ids[0]))
    tell("posted")
    hear()


class Child:
    """A process under a title of its own."""

    def __init__(self, title: str, truth: list, **environment: str):
        self.truth, environment = truth, os.environ | environment
        pipe = subprocess.PIPE
        command = [title, __file__, *sys.argv[1:4]]
        self.child = subprocess.Popen(
            command, executable=sys.executable, env=environment, stdin=pipe, stdout=pipe, text=True
        )

    def until(self, what: str) -> dict:
        """Takes what it says up to a word."""
        for line in self.child.stdout:
            kind, *rest = line.rstrip("\n").split("\t")
            if kind == what:
                return json.loads(rest[0]) if rest else {}
            self.truth.append(line)
        raise RuntimeError(f"{self.child.args[0]} ended before it was {what}")

    def say(self, **what) -> None:
        self.child.stdin.write(json.dumps(what) + "\n")
        self.child.stdin.flush()


def main() -> None:
    os.environ |= {"UCX_TLS": "tcp", "UCX_MODULES": "^ib", "NIXL_LOG_LEVEL": "ERROR", "PYTHONDONTWRITEBYTECODE": "1"}
    layout, truth = sys.argv[3], []
    stages = 1 if layout == "rows" else 2
    title = "sglang::scheduler_PP{}" if layout == "buffers" else "VLLM::Worker_PP{}"
    names = [f"{number:08x}-0000-4000-8000-00000000000a" for number in range(stages)]
    receiver = Child(title.format(0).split("_")[0], truth, PART="decode", AGENT="0000dec0-0000-4000-8000-00000000000d")
    senders = [
        Child(title.format(number), truth, PART="stage", AGENT=name, STAGE=str(number), STAGES=str(stages))
        for number, name in enumerate(names)
    ]
    peer = receiver.until("ready") | {"name": "0000dec0-0000-4000-8000-00000000000d"}
    receiver.say(names=names, metadata=[sender.until("ready")["metadata"] for sender in senders])
    for sender in senders:
        sender.say(**peer)
    receiver.until("registered")
    for sender in senders:
        sender.say(go=True)
    for sender in senders:
        sender.until("posted")
    for child in (receiver, *senders):
        child.say(end=True)
        truth.extend(child.child.stdout)
    with open(sys.argv[4], "w") as file:
        file.writelines(truth)


if __name__ == "__main__":
    part = os.environ.pop("PART", None)
    if part is None:
        main()
    else:
        decode() if part == "decode" else stage()
        # The libraries' threads and exit handlers have nothing more to say.
        os._exit(0)
