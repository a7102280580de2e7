"""Calls what sets peers and memory up, well and wrongly, and writes what it did and when. `calls.py LIBRARIES TRUTH`.

Two agents of one process meet, hand something over, and forget each other. Truth: tab-separated lines: the function as NIXL names it,
the agent, the peer that the call names or learns, whether it succeeded, and the times before and after it (`CLOCK_MONOTONIC`, ns).
"""

import ctypes
import os
import sys
import time
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p

from capi import DRAM, WRITE, Agent, Capi

SIZE = 1 << 16
LINES = []


class Caller:
    """An agent, and what it was asked to do."""

    def __init__(self, capi: Capi, name: str):
        self.capi, self.name = capi, name
        self.agent = Agent(capi, name, False)
        self.memory = ctypes.create_string_buffer(SIZE)
        self.range = (ctypes.addressof(self.memory), SIZE, 0)

    def timed(self, function: str, peer: str, name: str, *args) -> bool:
        """Calls a function of the C interface, and says so."""
        before = time.monotonic_ns()
        status = getattr(self.capi.library, f"nixl_capi_{name}")(self.agent.handle, *args)
        after = time.monotonic_ns()
        LINES.append((function, self.name, peer, "ok" if status == 0 else "failed", before, after))
        return status == 0

    def regions(self, kind: str = "reg") -> c_void_p:
        return self.capi.list_of(kind, DRAM, [self.range])

    def metadata(self) -> bytes:
        data, size = c_void_p(), c_size_t()
        self.capi.call("get_local_md", self.agent.handle, byref(data), byref(size))
        return ctypes.string_at(data, size.value)

    def load(self, peer: str, data: bytes) -> None:
        self.timed("loadRemoteMD", peer, "load_remote_md", data, c_size_t(len(data)), byref(c_char_p()))

    def prepare(self, peer: str, blocks: c_void_p) -> c_void_p:
        out = c_void_p()
        self.timed("prepXferDlist", peer, "prep_xfer_dlist", peer.encode(), blocks, byref(out), None)
        return out


def main() -> None:
    os.environ |= {"UCX_TLS": "tcp", "UCX_MODULES": "^ib", "NIXL_LOG_LEVEL": "FATAL"}
    capi = Capi(f"{sys.argv[1]}/libnixl_capi.so")
    one, other = Caller(capi, "calls-one"), Caller(capi, "calls-other")
    for caller in (one, other):
        caller.timed("registerMem", "", "register_mem", caller.regions(), caller.agent.options(None))
    # Knows nobody yet.
    one.timed("makeConnection", other.name, "agent_make_connection", other.name.encode(), None)
    one.load("", b"no metadata at all")
    one.load("", other.metadata()[:40])
    one.load(other.name, other.metadata())
    other.load(one.name, one.metadata())
    one.timed("makeConnection", other.name, "agent_make_connection", other.name.encode(), None)
    # There is neither an address nor a store.
    one.timed("fetchRemoteMD", "nobody", "fetch_remote_md", b"nobody", one.agent.options(None))
    one.timed("sendLocalMD", "", "send_local_md", one.agent.options(None))
    sides = [one.prepare("", one.regions("xfer")), one.prepare(other.name, other.regions("xfer"))]
    one.prepare("nobody", other.regions("xfer"))
    lists = [caller.regions("xfer") for caller in (one, other)]
    request = c_void_p()
    one.timed("createXferReq", "nobody", "create_xfer_req", WRITE, *lists, b"nobody", byref(request), one.agent.options(None))
    one_block, two_blocks = (c_int * 1)(0), (c_int * 2)(0, 0)
    lengths = (sides[0], one_block, c_size_t(1), sides[1], two_blocks, c_size_t(2))
    one.timed("makeXferReq", "", "make_xfer_req", WRITE, *lengths, byref(request), one.agent.options(None))
    # What succeeds is a transfer and no row.
    request = one.agent.make(WRITE, sides, 1, None)
    status = capi.call("post_xfer_req", one.agent.handle, request, None, allowed=(0, 1))
    while status == 1:
        status = capi.call("get_xfer_status", one.agent.handle, request, allowed=(0, 1))
    capi.call("release_xfer_req", one.agent.handle, request)
    one.timed("invalidateRemoteMD", other.name, "invalidate_remote_md", other.name.encode())
    one.timed("invalidateRemoteMD", "nobody", "invalidate_remote_md", b"nobody")
    for _ in range(2):
        one.timed("deregisterMem", "", "deregister_mem", one.regions(), one.agent.options(None))
    with open(sys.argv[2], "w") as file:
        file.writelines("\t".join(map(str, line)) + "\n" for line in LINES)
    # The libraries' threads and exit handlers have nothing more to say.
    os._exit(0)


if __name__ == "__main__":
    main()
