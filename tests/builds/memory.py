"""This process's memory, read so that a wild pointer is an answer and not a crash."""

import ctypes
import os
import struct

_SELF = os.open("/proc/self/mem", os.O_RDONLY)
_SIZE = ctypes.CDLL(None).malloc_usable_size
_SIZE.argtypes, _SIZE.restype = [ctypes.c_void_p], ctypes.c_size_t


def read(address: int, count: int) -> bytes | None:
    """Bytes, or none if they are not all there."""
    if not 4096 <= address < 1 << 47:
        return None
    try:
        data = os.pread(_SELF, count, address)
    except OSError:
        return None
    return data if len(data) == count else None


def word(address: int) -> int | None:
    data = read(address, 8)
    return None if data is None else struct.unpack("<Q", data)[0]


def object_behind(handle: int) -> tuple[int, bytes]:
    """The C interface hands out structs whose first member points to the object: its address and all its bytes."""
    address = word(handle)
    size = _SIZE(address) if address else 0
    data = read(address, size) if 16 <= size <= 4096 else None
    if data is None:
        raise RuntimeError(f"no object behind {handle:#x}")
    return address, data


def text_at(address: int) -> bytes | None:
    """A `std::string`: pointer, then length."""
    head = read(address, 16)
    if head is None:
        return None
    pointer, size = struct.unpack("<QQ", head)
    return read(pointer, size) if 0 < size <= 4096 else None


def elements_at(address: int, ranges: list[tuple[int, int, int]]) -> int | None:
    """The element size of a vector at `address` (begin, end) that holds just these ranges, each as address, size and
    device of 8 bytes; none if no such vector is there."""
    head = read(address, 16)
    begin, end = struct.unpack("<QQ", head) if head else (0, 0)
    size, rest = divmod(end - begin, len(ranges))
    if rest or not 24 <= size <= 256:
        return None
    found = (read(begin + i * size, 24) for i in range(len(ranges)))
    return size if all(data and struct.unpack("<QQQ", data) == each for data, each in zip(found, ranges)) else None
