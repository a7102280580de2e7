"""Moves what is no hand-off beside one that is: `storage.py LIBRARIES TRUTH`.

Decode is given KV by a stage, writes some of it to a file and into its own host memory, and reads the file back: so do engines that
offload (KVBM, LMCache). Each process is a copy of this script under the title that vLLM gives it. Truth: tab-separated lines `hand_off`,
`file` or `own`, pid, `WRITE` or `READ`, bytes; `file` is left out where the wheel has no POSIX plugin that works here.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from ctypes import byref, c_size_t, c_void_p

from capi import DRAM, READ, WRITE, Agent, Capi

FILE = 4
SIZE = 1 << 16
BLOCK = 1 << 12


def finish(capi: Capi, agent: Agent, request: c_void_p) -> None:
    status = capi.call("post_xfer_req", agent.handle, request, None, allowed=(0, 1))
    while status == 1:
        status = capi.call("get_xfer_status", agent.handle, request, allowed=(0, 1))
    capi.call("release_xfer_req", agent.handle, request)


def posix(capi: Capi, agent: Agent) -> c_void_p | None:
    """A backend for files, if there is one."""
    memories, params, backend = c_void_p(), c_void_p(), c_void_p()
    library = capi.library
    if library.nixl_capi_get_plugin_params(agent.handle, b"POSIX", byref(memories), byref(params)) != 0:
        return None
    made = library.nixl_capi_create_backend(agent.handle, b"POSIX", params, byref(backend))
    return backend if made == 0 else None


def options(capi: Capi, backend: c_void_p) -> c_void_p:
    made = capi.made("create_opt_args")
    capi.call("opt_args_add_backend", made, backend)
    return made


def tell(*what) -> None:
    print(*what, sep="\t", flush=True)


def store(capi: Capi, agent: Agent, memory: ctypes.Array) -> None:
    """To a file, to other memory of the same agent, and from the file."""
    at, name = ctypes.addressof(memory), os.environ["AGENT"].encode()
    backend = posix(capi, agent)
    if backend is not None:
        with tempfile.NamedTemporaryFile() as file:
            os.ftruncate(file.fileno(), SIZE)
            use = options(capi, backend)
            for kind, ranges in ((DRAM, [(at, SIZE, 0)]), (FILE, [(0, SIZE, file.fileno())])):
                capi.call("register_mem", agent.handle, capi.list_of("reg", kind, ranges), use)
            for op, name_of in ((WRITE, "WRITE"), (READ, "READ")):
                own = capi.list_of("xfer", DRAM, [(at, BLOCK, 0), (at + 2 * BLOCK, BLOCK, 0)])
                there = capi.list_of("xfer", FILE, [(0, BLOCK, file.fileno()), (BLOCK, BLOCK, file.fileno())])
                request = c_void_p()
                capi.call("create_xfer_req", agent.handle, op, own, there, name, byref(request), use)
                finish(capi, agent, request)
                tell("file", os.getpid(), name_of, 2 * BLOCK)
    host = ctypes.create_string_buffer(SIZE)
    agent.register([(ctypes.addressof(host), SIZE, 0)])
    request = agent.request("create", WRITE, [(at, BLOCK, 0)], [(ctypes.addressof(host), BLOCK, 0)], name.decode(), None)
    finish(capi, agent, request)
    tell("own", os.getpid(), "WRITE", BLOCK)


def part(libraries: str, role: str) -> None:
    capi = Capi(f"{libraries}/libnixl_capi.so")
    agent, memory = Agent(capi, os.environ["AGENT"], False), ctypes.create_string_buffer(SIZE)
    agent.register([(ctypes.addressof(memory), SIZE, 0)])
    data, size = c_void_p(), c_size_t()
    capi.call("get_local_md", agent.handle, byref(data), byref(size))
    tell("ready", ctypes.string_at(data, size.value).hex(), ctypes.addressof(memory))
    metadata, name, there = sys.stdin.readline().split()
    loaded = bytes.fromhex(metadata)
    capi.call("load_remote_md", agent.handle, loaded, c_size_t(len(loaded)), byref(ctypes.c_char_p()))
    if role == "stage":
        own = ctypes.addressof(memory)
        for number in range(3):
            notif = f"cmpl-{number}-0-0a0b0c{number:02x}:1".encode()
            request = agent.request("create", WRITE, [(own, SIZE, 0)], [(int(there), SIZE, 0)], name, notif)
            finish(capi, agent, request)
            tell("hand_off", os.getpid(), "WRITE", SIZE)
    else:
        store(capi, agent, memory)
    tell("done")
    sys.stdin.readline()
    # The libraries' threads and exit handlers have nothing more to say.
    os._exit(0)


class Child:
    """A process under a title of its own."""

    def __init__(self, role: str, title: str):
        self.name, pipe = f"{role}-agent", subprocess.PIPE
        environment = os.environ | {"ROLE": role, "AGENT": self.name}
        command = [title, __file__, *sys.argv[1:]]
        self.child = subprocess.Popen(
            command, executable=sys.executable, env=environment, stdin=pipe, stdout=pipe, text=True
        )
        _, self.metadata, self.memory = self.child.stdout.readline().split()

    def say(self, text: str) -> None:
        self.child.stdin.write(f"{text}\n")
        self.child.stdin.flush()


def main() -> None:
    os.environ |= {"UCX_TLS": "tcp,self", "UCX_MODULES": "^ib", "NIXL_LOG_LEVEL": "FATAL", "PYTHONDONTWRITEBYTECODE": "1"}
    stage, decode = Child("stage", "VLLM::Worker_PP0"), Child("decode", "VLLM::EngineCore")
    truth = []
    for own, other in ((stage, decode), (decode, stage)):
        own.say(f"{other.metadata} {other.name} {other.memory}")
        while (line := own.child.stdout.readline()) != "done\n":
            truth.append(line)
    for own in (stage, decode):
        own.say("end")
        own.child.wait()
    with open(sys.argv[2], "w") as file:
        file.writelines(truth)


if __name__ == "__main__":
    role = os.environ.pop("ROLE", None)
    main() if role is None else part(sys.argv[1], role)
