"""A prefill and a decode that hand over KV by Mooncake's transfer engine, in host memory over TCP, and say what they did.

    handoff.py --wheel FOLDER --truth FILE [--op write|read] [--requests N] [--layers N] [--blocks N] [--chunks N]
               [--block BYTES] [--fail] [--may-fail]

Each of the two is a process of its own with one engine. KV is two buffers a layer, of blocks that lie scattered at both ends.
A request is handed over in chunks, a batch each, and then in one more batch of rows of 64 bytes, the last of which starts with
the request's number, as SGLang does it. With `--op read` decode pulls the chunks, and there are no such rows. With `--fail`
there come a peer that was never there, and one that is killed once it was opened. With `--may-fail` a hand-off may fail: Mooncake's
TCP does not bear thousands of pieces at once.

The truth has the columns of the workload's (tests/workload): pid, tid, agent, what, start_ns, end_ns, request, peer, result,
bytes, descriptors, detail. Actions: `agent`, `register` (detail: address), `submit` (detail: the way, then `local:remote:bytes`
for each piece; result: what the call returned), `unopened`.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time

ROW = 64
COLUMNS = "pid tid agent what start_ns end_ns request peer result bytes descriptors detail".split()


class Side:
    """An engine with its memory."""

    def __init__(self, options):
        sys.path.insert(0, options.wheel)
        from mooncake.engine import TransferEngine

        self.options, self.truth = options, open(options.truth, "a", buffering=1)
        self.engine = TransferEngine()
        start = time.monotonic_ns()
        if self.engine.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") != 0:
            sys.exit("the engine does not start")
        self.name = f"127.0.0.1:{self.engine.get_rpc_port()}"
        self.say("agent", start)
        size = options.blocks * options.chunks * 2 * options.block
        self.kept = [ctypes.create_string_buffer(size) for _ in range(2 * options.layers)]
        self.kept.append(ctypes.create_string_buffer(3 * ROW * options.requests))
        self.addresses = [ctypes.addressof(buffer) for buffer in self.kept]
        # One by one and as a list: both are to be seen.
        first = self.addresses[0]
        start = time.monotonic_ns()
        assert self.engine.register_memory(first, size) == 0
        self.say("register", start, size=size, detail=hex(first))
        sizes = [len(buffer) for buffer in self.kept]
        start = time.monotonic_ns()
        assert self.engine.batch_register_memory(self.addresses[1:], sizes[1:]) == 0
        end = time.monotonic_ns()
        for address, size in zip(self.addresses[1:], sizes[1:]):
            self.say("register", start, end, size=size, detail=hex(address))

    def say(self, what, start, end=None, request="", peer="", result="", size="", count="", detail=""):
        end = end or time.monotonic_ns()
        fields = [os.getpid(), threading.get_native_id(), self.name, what, start, end, request, peer, result, size, count]
        self.truth.write("\t".join(map(str, [*fields, detail])) + "\n")

    def move(self, op, request, peer, pieces):
        """One batch; gives what the call returned."""
        call = self.engine.batch_transfer_sync_write if op == "WRITE" else self.engine.batch_transfer_sync_read
        own, remote, sizes = map(list, zip(*pieces))
        start = time.monotonic_ns()
        result = call(peer, own, remote, sizes)
        end = time.monotonic_ns()
        detail = op + " " + ",".join(f"{a:x}:{b:x}:{size}" for a, b, size in pieces)
        self.say("submit", start, end, request, peer, result, sum(sizes), len(sizes), detail)
        return result

    def hand_over(self, op, other):
        """All requests, to or from the other side."""
        options, layers, size = self.options, 2 * self.options.layers, self.options.block
        for number in range(options.requests):
            room = 1_000_000 + number
            for chunk in range(options.chunks):
                # Every second block here, from the end there: nothing is to be merged.
                own = [2 * (chunk * options.blocks + block) for block in range(options.blocks)]
                there = [2 * (options.blocks * options.chunks - 1) - block for block in own]
                pieces = [
                    (self.addresses[layer] + a * size, other["addresses"][layer] + b * size, size)
                    for layer in range(layers)
                    for a, b in zip(own, there)
                ]
                assert self.move(op, room, other["name"], pieces) == 0 or options.may_fail
            if op == "READ":
                continue
            rows = [3 * number + row for row in range(3)]
            ctypes.c_uint64.from_address(self.addresses[-1] + rows[-1] * ROW).value = room
            pieces = [(self.addresses[-1] + row * ROW, other["addresses"][-1] + row * ROW, ROW) for row in rows]
            assert self.move(op, room, other["name"], pieces) == 0


def serve(options):
    """Waits, with memory that others may read and write."""
    side = Side(options)
    print(json.dumps({"name": side.name, "addresses": side.addresses}), flush=True)
    sys.stdin.read()


def post(options):
    """Posts all that is posted."""
    side = Side(options)
    other = json.loads(sys.stdin.readline())
    side.hand_over(options.op.upper(), other)
    if not options.fail:
        return
    nobody = "127.0.0.1:1"
    start = time.monotonic_ns()
    assert side.engine.transfer_sync_write(nobody, side.addresses[0], 0x1000, options.block) != 0
    side.say("unopened", start, peer=nobody)
    doomed = json.loads(sys.stdin.readline())
    piece = [(side.addresses[at], doomed["addresses"][at], options.block) for at in range(2)]
    assert side.move("WRITE", "before", doomed["name"], piece) == 0
    os.kill(doomed["pid"], signal.SIGKILL)
    time.sleep(0.5)
    assert side.move("WRITE", "after", doomed["name"], piece) != 0


def run(options):
    """Starts them, and hands on what they say of themselves."""
    with open(options.truth, "w") as truth:
        truth.write("\t".join(COLUMNS) + "\n")
    quiet = {**os.environ, "MC_FORCE_TCP": "1", "MC_LOG_LEVEL": "ERROR", "GLOG_minloglevel": "3"}

    def start(role):
        command = [sys.executable, __file__, *sys.argv[1:], "--role", role]
        return subprocess.Popen(command, env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    servers = [start("serve") for _ in range(2 if options.fail else 1)]
    poster = start("post")
    for server in servers:
        told = {**json.loads(server.stdout.readline()), "pid": server.pid}
        poster.stdin.write(json.dumps(told) + "\n")
    poster.stdin.flush()
    code = poster.wait()
    for server in servers:
        server.stdin.close()
        server.wait()
    return code


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheel", required=True)
    arguments.add_argument("--truth", required=True)
    arguments.add_argument("--op", choices=("write", "read"), default="write")
    arguments.add_argument("--requests", type=int, default=4)
    arguments.add_argument("--layers", type=int, default=4)
    arguments.add_argument("--blocks", type=int, default=8)
    arguments.add_argument("--chunks", type=int, default=2)
    arguments.add_argument("--block", type=int, default=4096)
    arguments.add_argument("--fail", action="store_true")
    arguments.add_argument("--may-fail", action="store_true")
    arguments.add_argument("--role", choices=("run", "serve", "post"), default="run")
    options = arguments.parse_args()
    return {"run": run, "serve": serve, "post": post}[options.role](options)


if __name__ == "__main__":
    sys.exit(main())
