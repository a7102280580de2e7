"""Lists with strides, which NIXL's C interface does not have: by the C++ function that Python's binding calls."""

import ctypes
import struct
from ctypes import c_void_p

import memory
from capi import DRAM, Agent
from functions import MORE

# In nixlDescList<T>: memory type and vector, as measured of the lists that the C interface makes.
LIST_MEMORY, LIST_BEGIN = 8, 16


class PreparedSide:
    """A prepared list as the C interface hands one out: a struct that points to it."""

    def __init__(self, address: int):
        self.struct = (c_void_p * 2)(address, None)
        self._as_parameter_ = c_void_p(ctypes.addressof(self.struct))


def has_strides(libraries: str) -> bool:
    return hasattr(ctypes.CDLL(f"{libraries}/libnixl.so"), MORE["prepare_strided"])


def prepare(libraries: str, agent: Agent, peer: str, rows: list, layout: dict | None = None) -> PreparedSide:
    """Prepares rows, each address, bytes, device, stride and count."""
    layout = layout or {"list_memory": LIST_MEMORY, "list_begin": LIST_BEGIN}
    call = getattr(ctypes.CDLL(f"{libraries}/libnixl.so"), MORE["prepare_strided"])
    call.argtypes, call.restype = [c_void_p] * 5, ctypes.c_int
    elements = b"".join(struct.pack("<QQQQQ", *row) for row in rows)
    vector = ctypes.create_string_buffer(elements, len(elements))
    at = ctypes.addressof(vector)
    data = bytearray(layout["list_begin"] + 24)
    struct.pack_into("<i", data, layout["list_memory"], DRAM)
    struct.pack_into("<QQQ", data, layout["list_begin"], at, at + len(elements), at + len(elements))
    text, out = ctypes.create_string_buffer(peer.encode()), c_void_p()
    string = struct.pack("<QQQQ", ctypes.addressof(text), len(peer), len(peer), 0)
    status = call(memory.word(agent.handle.value), string, bytes(data), ctypes.addressof(out), None)
    if status != 0:
        raise RuntimeError(f"a list with strides is refused: status {status}")
    return PreparedSide(out.value)
