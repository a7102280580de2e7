"""NIXL's C interface (libnixl_capi.so of a wheel; nixl-sys's wrapper.h declares it), as much as measuring needs."""

import ctypes
from ctypes import byref, c_bool, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

DRAM = 0
READ, WRITE = 0, 1


class AgentConfig(ctypes.Structure):
    """`nixl_capi_agent_config_t`."""

    _fields_ = [
        ("enable_prog_thread", c_bool),
        ("enable_listen_thread", c_bool),
        ("listen_port", c_int),
        ("thread_sync", c_int),
        ("num_workers", c_uint),
        ("pthr_delay_us", c_uint64),
        ("lthr_delay_us", c_uint64),
        ("capture_telemetry", c_bool),
    ]


class Capi:
    """The library. Every call must succeed."""

    def __init__(self, path: str):
        self.library = ctypes.CDLL(path)

    def call(self, name: str, *args, allowed: tuple[int, ...] = (0,)) -> int:
        status = getattr(self.library, f"nixl_capi_{name}")(*args)
        if status not in allowed:
            raise RuntimeError(f"nixl_capi_{name}: status {status}")
        return status

    def made(self, name: str, *args) -> c_void_p:
        """Calls a function whose last argument takes what it makes."""
        out = c_void_p()
        self.call(name, *args, byref(out))
        return out

    def list_of(self, kind: str, memory: int, ranges: list[tuple[int, int, int]]) -> c_void_p:
        """A descriptor list: `xfer` ones are of nixlBasicDesc, `reg` ones of nixlBlobDesc."""
        handle = self.made(f"create_{kind}_dlist", memory)
        more = (b"", c_size_t(0)) if kind == "reg" else ()
        for address, size, device in ranges:
            self.call(f"{kind}_dlist_add_desc", handle, c_uint64(address), c_size_t(size), c_uint64(device), *more)
        return handle


class Agent:
    """An agent with its UCX backend."""

    def __init__(self, capi: Capi, name: str, telemetry: bool, has_thread: bool = True, rest_us: int = 100):
        self.capi, self.name = capi, name
        config = AgentConfig(
            enable_prog_thread=has_thread, num_workers=1, pthr_delay_us=rest_us, capture_telemetry=telemetry
        )
        self.handle = capi.made("create_configured_agent", name.encode(), byref(config))
        memories, params = c_void_p(), c_void_p()
        capi.call("get_plugin_params", self.handle, b"UCX", byref(memories), byref(params))
        self.backend = capi.made("create_backend", self.handle, b"UCX", params)

    def options(self, notif: bytes | None) -> c_void_p:
        options = self.capi.made("create_opt_args")
        self.capi.call("opt_args_add_backend", options, self.backend)
        if notif is not None:
            self.capi.call("opt_args_set_notif_msg", options, notif, c_size_t(len(notif)))
            self.capi.call("opt_args_set_has_notif", options, c_bool(True))
        return options

    def register(self, ranges: list[tuple[int, int, int]]) -> None:
        regions = self.capi.list_of("reg", DRAM, ranges)
        self.capi.call("register_mem", self.handle, regions, self.options(None))

    def learn(self, other: "Agent") -> None:
        """Makes another agent known to this one."""
        data, size, name = c_void_p(), c_size_t(), c_char_p()
        self.capi.call("get_local_md", other.handle, byref(data), byref(size))
        self.capi.call("load_remote_md", self.handle, data, size, byref(name))

    def request(self, way: str, op: int, local: list, remote: list, peer: str, notif: bytes | None) -> c_void_p:
        """Makes a request handle: from plain lists (`create`) or from prepared ones (`make`)."""
        capi, request = self.capi, c_void_p()
        lists = [capi.list_of("xfer", DRAM, ranges) for ranges in (local, remote)]
        options = self.options(notif)
        if way == "create":
            capi.call("create_xfer_req", self.handle, op, *lists, peer.encode(), byref(request), options)
            return request
        prepared = []
        for name, ranges in zip(("", peer), lists):
            out = c_void_p()
            capi.call("prep_xfer_dlist", self.handle, name.encode(), ranges, byref(out), None)
            prepared.append(out)
        return self.make(op, prepared, len(local), notif)

    def make(self, op: int, prepared: list, blocks: int, notif: bytes | None) -> c_void_p:
        """Makes a request handle of the first blocks of two prepared lists."""
        return self.make_of(op, prepared, [list(range(blocks))] * 2, notif)

    def make_of(self, op: int, prepared: list, blocks: list[list[int]], notif: bytes | None) -> c_void_p:
        """The same of some blocks of each."""
        request, sides = c_void_p(), []
        for side, numbers in zip(prepared, blocks):
            sides += [side, (c_int * len(numbers))(*numbers), c_size_t(len(numbers))]
        self.capi.call("make_xfer_req", self.handle, op, *sides, byref(request), self.options(notif))
        return request
