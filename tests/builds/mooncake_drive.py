"""Transfers that mooncake_measure.py looks at: says before each call what it is, then makes it.

    mooncake_drive.py drive FOLDER TOLD    FOLDER holds the package `mooncake`
    mooncake_drive.py serve FOLDER         a peer
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

SIZE = 1 << 16


def engine(folder):
    sys.path.insert(0, folder)
    from mooncake.engine import TransferEngine

    made = TransferEngine()
    if made.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") != 0:
        sys.exit("the engine does not start")
    return made, f"127.0.0.1:{made.get_rpc_port()}"


def serve(folder):
    made, name = engine(folder)
    memory = ctypes.create_string_buffer(SIZE)
    assert made.register_memory(ctypes.addressof(memory), SIZE) == 0
    print(json.dumps({"name": name, "address": ctypes.addressof(memory)}), flush=True)
    sys.stdin.read()


def drive(folder, told):
    out = open(told, "a", buffering=1)

    def say(call, **what):
        out.write(json.dumps({"call": call, **what}) + "\n")

    def peer():
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return server, json.loads(server.stdout.readline())

    peers = [peer(), peer(), peer()]
    made, name = engine(folder)
    memory = [ctypes.create_string_buffer(SIZE) for _ in range(4)]
    addresses = [ctypes.addressof(each) for each in memory]
    # The library is in memory: breakpoints can be set.
    os.kill(os.getpid(), signal.SIGUSR1)
    say("register", own=name, buffers=[[addresses[0], SIZE]])
    assert made.register_memory(addresses[0], SIZE) == 0
    buffers = [[address, SIZE - i] for i, address in enumerate(addresses[1:])]
    say("register_batch", own=name, buffers=buffers)
    assert made.batch_register_memory([each[0] for each in buffers], [each[1] for each in buffers]) == 0
    for op, at, count in [(1, 0, 5), (0, 0, 3), (1, 1, 1), (0, 1, 5), (1, 0, 3), (1, 2, 2)]:
        there = peers[at][1]
        entries = [[addresses[i % 4] + 256 * i, there["address"] + 512 * i, 64 + 8 * i] for i in range(count)]
        say("submit", op=op, peer=there["name"], entries=entries, ok=True)
        call = made.batch_transfer_sync_write if op else made.batch_transfer_sync_read
        assert call(there["name"], *map(list, zip(*entries))) == 0
    # A peer that was opened and is gone.
    server, there = peers[2]
    server.kill()
    server.wait()
    time.sleep(0.5)
    for count in (2, 1):
        entries = [[addresses[i], there["address"] + 512 * i, 64 + 8 * i] for i in range(count)]
        say("submit", op=1, peer=there["name"], entries=entries, ok=False)
        assert made.batch_transfer_sync_write(there["name"], *map(list, zip(*entries))) != 0
    for server, _ in peers[:2]:
        server.kill()
    say("end")
    # Without destructors: nothing of them is looked at.
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1] == "serve" else drive(*sys.argv[2:])
