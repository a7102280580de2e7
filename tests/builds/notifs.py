"""Sends notifications to an agent that polls a transfer meanwhile, so that they arrive by whichever thread looks first.
`notifs.py LIBRARIES thread|plain` prints how many were sent and how many taken; with `plain`, no agent has a progress
thread.

In builds before 1.2 the engine with a thread passes those that the polling thread finds on to its base class, and all
others not: each of the two ways must be recorded once.
"""

import ctypes
import os
import sys
import time
from ctypes import byref, c_size_t, c_void_p

from capi import WRITE, Agent, Capi

BYTES = 1 << 24
NOTIFS = 50


def take(agent: Agent, sender: str) -> int:
    """How many notifications of that sender have come since the last call."""
    capi, count = agent.capi, c_size_t()
    found = capi.made("create_notif_map")
    capi.call("get_notifs", agent.handle, found, None)
    # Not found: none has come.
    status = capi.call("notif_map_get_notifs_size", found, sender.encode(), byref(count), allowed=(0, -1, -6))
    capi.call("destroy_notif_map", found)
    return count.value if status == 0 else 0


def send(agent: Agent, peer: str, text: bytes) -> None:
    agent.capi.call("gen_notif", agent.handle, peer.encode(), text, c_size_t(len(text)), agent.options(None))


def main() -> None:
    os.environ |= {"UCX_TLS": "tcp", "UCX_MODULES": "^ib", "NIXL_LOG_LEVEL": "ERROR"}
    capi, has_thread = Capi(f"{sys.argv[1]}/libnixl_capi.so"), sys.argv[2] == "thread"
    # A thread that rests for long leaves arrivals to the one that polls.
    near, far = (Agent(capi, name, False, has_thread, 2_000_000) for name in ("near", "far"))
    ranges = []
    for agent in (near, far):
        buffer = ctypes.create_string_buffer(BYTES)
        agent.buffer = buffer
        ranges.append([(ctypes.addressof(buffer), BYTES, 0)])
        agent.register(ranges[-1])
    near.learn(far)
    far.learn(near)
    sent, taken, until = 0, 0, time.monotonic() + 30
    while taken < NOTIFS and time.monotonic() < until:
        request = near.request("create", WRITE, *ranges, far.name, None)
        status = capi.call("post_xfer_req", near.handle, request, None, allowed=(0, 1))
        until_here = min(sent + 5, NOTIFS)
        while status == 1:
            if sent < until_here:
                send(far, near.name, f"notification {sent}".encode())
                sent += 1
            status = capi.call("get_xfer_status", near.handle, request, allowed=(0, 1))
            # Without a thread of its own, the other side moves on only here.
            take(far, near.name)
        capi.call("release_xfer_req", near.handle, request)
        taken += take(near, far.name)
    print(f"{sent} sent, {taken} taken", flush=True)
    # The libraries' threads and exit handlers have nothing more to say.
    os._exit(0 if taken == NOTIFS else 1)


if __name__ == "__main__":
    main()
