"""Measures where a build of NIXL keeps what the agent reads. `measure.py LIBRARIES` prints one JSON object.

Agents of this process move memory to one another by the wheel's own libraries, and each structure is searched for the
values that were put in. A place counts only if it holds the right value every time: transfers differ in operation,
peer, notification (short, long, none), number and sizes of descriptors, and in whether telemetry is on. Exactly one
place must be left; none or several is an error, and the build is not supported then.
"""

import ctypes
import json
import os
import random
import struct
import sys
import time

import memory
from capi import READ, WRITE, Agent, Capi
from strided import has_strides, prepare

MEMORIES = (0, 1, 3, 4)  # DRAM, VRAM, OBJ, FILE of nixl_mem_t
REGION = 1 << 20
PEERS = ("decode-7", "a-peer-whose-name-is-not-kept-in-place")
NOTIFS = (b"cmpl-1:1", None, b"a notification that is longer than fifteen bytes:2", b"cmpl-20:16", None, b"x" * 300)


class Ambiguous(Exception):
    """Not exactly one place is left."""


def only(what: str, places) -> int:
    places = sorted(places)
    if len(places) != 1:
        raise Ambiguous(f"{what}: {len(places)} places {places[:8]}")
    return places[0]


class Places:
    """Where a value may be: all that have held it every time so far."""

    def __init__(self, what: str):
        self.what, self.left = what, None

    def seen(self, places) -> None:
        self.left = set(places) if self.left is None else self.left & set(places)

    def only(self) -> int:
        return only(self.what, self.left)


def aligned(data: bytes, form: str, value: int) -> list[int]:
    """Where an integer of that form lies in an object, at its natural alignment."""
    size = struct.calcsize(form)
    return [at for at in range(0, len(data) - size + 1, size) if struct.unpack_from(form, data, at)[0] == value]


def lists(capi: Capi, kind: str) -> dict[str, int]:
    """Layout of a descriptor list of its own, and the size of its elements."""
    kinds, vectors = Places(f"type of {kind} list"), Places(f"vector of {kind} list")
    for turn, memory_kind in enumerate(MEMORIES):
        ranges = [(0x10_0000 * (turn + 2) + 0x1000 * i, 100 + 7 * i + turn, 40 + i) for i in range(3 + 2 * turn)]
        address, data = memory.object_behind(capi.list_of(kind, memory_kind, ranges).value)
        kinds.seen(aligned(data, "<i", memory_kind))
        sizes = {at: memory.elements_at(address + at, ranges) for at in range(0, len(data) - 15, 8)}
        vectors.seen((at, size) for at, size in sizes.items() if size)
    begin, element = vectors.only()
    return {"list_memory": kinds.only(), "list_begin": begin, "element": element}


class Handle:
    """What is known of `nixlXferReqH` so far."""

    def __init__(self, layout: dict[str, int]):
        self.layout = layout
        names = ("local", "remote", "peer", "notif", "has_notif", "op", "status", "bytes")
        self.places = {name: Places(name) for name in names}

    def see(self, request: int, op: int, local: list, remote: list, peer: str, notif: bytes | None) -> None:
        address, data = memory.object_behind(request)
        words = range(0, len(data) - 7, 8)
        texts = {at: memory.text_at(address + at) for at in words}
        seen = {
            "local": self.lists(address, words, local),
            "remote": self.lists(address, words, remote),
            "peer": [at for at, text in texts.items() if text == peer.encode()],
            "has_notif": aligned(data, "<B", notif is not None),
            "op": aligned(data, "<i", op),
            "bytes": aligned(data, "<Q", sum(size for _, size, _ in local)),
        }
        if notif is not None:
            seen["notif"] = [at for at, text in texts.items() if text == notif]
        for name, places in seen.items():
            self.places[name].seen(places)

    def see_status(self, request: int, status: int) -> None:
        """What the post or a poll has just said."""
        self.places["status"].seen(aligned(memory.object_behind(request)[1], "<i", status))

    def lists(self, address: int, words: range, ranges: list) -> list[tuple[int, bool, int]]:
        """Offset, whether it holds a pointer to the list (else the list itself), size of its elements."""
        found = []
        for at in words:
            for is_pointer in (False, True):
                base = memory.word(address + at) if is_pointer else address + at
                kind = base and memory.read(base + self.layout["list_memory"], 4)
                size = base and memory.elements_at(base + self.layout["list_begin"], ranges)
                if size and kind == b"\0\0\0\0":
                    found.append((at, is_pointer, size))
        return found

    def found(self) -> dict[str, int]:
        (local, pointer, element), (remote, *same) = self.places["local"].only(), self.places["remote"].only()
        if same != [pointer, element]:
            raise Ambiguous("the two lists are not alike")
        found = {f"handle_{name}": self.places[name].only() for name in ("peer", "notif", "has_notif", "op", "status")}
        found |= {"handle_local": local, "handle_remote": remote, "handle_lists": "pointer" if pointer else "inline"}
        # Some builds fill it in only when telemetry is on; then the agent adds up the descriptors.
        if self.places["bytes"].left:
            found["handle_bytes"] = self.places["bytes"].only()
        return found | {"meta_bytes": element}


def measure(capi: Capi) -> dict[str, int | str]:
    basic, blob = lists(capi, "xfer"), lists(capi, "reg")
    sizes = {"basic_bytes": basic.pop("element"), "blob_bytes": blob.pop("element")}
    if basic != blob:
        raise Ambiguous(f"lists of two kinds differ: {basic} and {blob}")
    handle = Handle(basic)
    for telemetry in (False, True):
        transfers(capi, handle, telemetry)
    layout = handle.found() | basic | sizes
    return layout | strided(capi, layout)


def strided(capi: Capi, layout: dict) -> dict[str, int]:
    """Size of the elements of lists with strides; none in a build that has no such lists. They are given to NIXL as they are
    believed to be, and must come out of it as the blocks that they stand for."""
    if not has_strides(sys.argv[1]):
        return {}
    agent, peer = Agent(capi, "strides", False), Agent(capi, "strides-peer", False)
    (own, base), (far, far_base) = region(agent), region(peer)
    agent.learn(peer)
    row = lambda start, i: (start + 64 + 500_000 * i, 1000, 0, 4096 + 8 * i, 5 + i)
    rows = [[row(start, i) for i in range(2)] for start in (base, far_base)]
    flat = lambda at, size, device, stride, count: [(at + n * stride, size, device) for n in range(count)]
    blocks = [[block for each in side for block in flat(*each)] for side in rows]
    sides = [prepare(sys.argv[1], agent, name, side, layout) for name, side in zip(("", peer.name), rows)]
    count = len(blocks[0])
    request = agent.make(WRITE, sides, count, b"strided")
    address, _ = memory.object_behind(request.value)
    for name, side in zip(("local", "remote"), blocks):
        at = address + layout[f"handle_{name}"]
        at = memory.word(at) if layout["handle_lists"] == "pointer" else at
        if memory.elements_at(at + layout["list_begin"], side) != layout["meta_bytes"]:
            raise Ambiguous("elements with strides are not what they are believed to be")
    fill(own, far, random.Random("strides"))
    finish(agent, request, lambda: None, lambda *_: None)
    if contents(blocks[0]) != contents(blocks[1]):
        raise RuntimeError("strided blocks have not moved")
    # Address, size, device, stride and count.
    return {"strided_bytes": 40}


def transfers(capi: Capi, handle: Handle, telemetry: bool) -> None:
    agent = Agent(capi, f"prefill-{int(telemetry)}", telemetry)
    own, bases = region(agent)
    for name in PEERS:
        peer = Agent(capi, f"{name}-{int(telemetry)}", telemetry)
        far, far_bases = region(peer)
        agent.learn(peer)
        for turn, notif in enumerate(NOTIFS):
            for op in (READ, WRITE):
                pick = random.Random(f"{name} {turn} {op} {telemetry}")
                local, remote = pieces(pick, bases, far_bases)
                fill(own, far, pick)
                request = agent.request(pick.choice(("make", "create")), op, local, remote, peer.name, notif)
                expected = (op, local, remote, peer.name, notif)
                handle.see(request.value, *expected)
                source = contents(remote if op == READ else local)
                finish(agent, request, lambda: handle.see(request.value, *expected), handle.see_status)
                if not source == contents(local) == contents(remote):
                    raise RuntimeError(f"operation {op} has not moved its bytes")
                capi.call("release_xfer_req", agent.handle, request)


def region(agent: Agent) -> tuple[ctypes.Array, int]:
    """Registered memory."""
    buffer = ctypes.create_string_buffer(REGION)
    base = ctypes.addressof(buffer)
    agent.register([(base, REGION, 0)])
    return buffer, base


def pieces(pick: random.Random, base: int, far_base: int) -> tuple[list, list]:
    """Descriptors of both sides, with gaps, so that NIXL merges none."""
    local, remote, at, far = [], [], pick.randrange(64, 512), pick.randrange(4096, 8192)
    for _ in range(pick.randrange(3, 12)):
        size = pick.randrange(1000, 9000)
        local.append((base + at, size, 0))
        remote.append((far_base + far, size, 0))
        at, far = at + size + pick.randrange(64, 512), far + size + pick.randrange(64, 512)
    return local, remote


def fill(own: ctypes.Array, far: ctypes.Array, pick: random.Random) -> None:
    for buffer in (own, far):
        ctypes.memmove(buffer, pick.randbytes(REGION), REGION)


def finish(agent: Agent, request: ctypes.c_void_p, look, see_status) -> None:
    """Posts, looks at the handle as it is then, and waits for the end."""
    status = agent.capi.call("post_xfer_req", agent.handle, request, None, allowed=(0, 1))
    look()
    see_status(request.value, status)
    since = time.monotonic()
    while status == 1:
        if time.monotonic() - since > 30:
            raise RuntimeError("a transfer does not end")
        time.sleep(0.0002)
        status = agent.capi.call("get_xfer_status", agent.handle, request, allowed=(0, 1))
        see_status(request.value, status)


def contents(ranges: list) -> list[bytes]:
    return [ctypes.string_at(address, size) for address, size, _ in ranges]


def loaded() -> list[str]:
    """Libraries of NIXL that are mapped."""
    with open("/proc/self/maps") as maps:
        files = {line.split(maxsplit=5)[5].strip() for line in maps if ".so" in line}
    return sorted(file for file in files if "libnixl.so" in file or "libplugin_UCX" in file)


def main() -> None:
    # UCX's ib module loads the wheel's copy of libnl, which crashes in its exit handler.
    os.environ |= {"UCX_TLS": "tcp", "UCX_MODULES": "^ib", "NIXL_LOG_LEVEL": "ERROR"}
    capi = Capi(f"{sys.argv[1]}/libnixl_capi.so")
    result = {"layout": measure(capi), "loaded": loaded()}
    print(json.dumps(result), flush=True)
    # The libraries' threads and exit handlers have nothing more to say.
    os._exit(0)


if __name__ == "__main__":
    main()
