"""As much of ELF as a build of NIXL needs: its Build ID, and the functions that it exports."""

import struct
from pathlib import Path

SHT_NOTE, SHT_DYNSYM = 7, 11
NT_GNU_BUILD_ID = 3
STT_FUNC = 2


class Elf:
    """A 64-bit little-endian library."""

    def __init__(self, path: Path):
        self.path = path
        self.data = path.read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a 64-bit little-endian ELF file")
        (self.machine,) = struct.unpack_from("<H", self.data, 18)
        offset, size, count = (
            struct.unpack_from("<Q", self.data, 40)[0],
            *struct.unpack_from("<HH", self.data, 58),
        )
        # type, address, file offset, size, link, entry size
        self.sections = []
        for i in range(count):
            head = struct.unpack_from("<IIQQQQIIQQ", self.data, offset + i * size)
            self.sections.append((head[1], head[3], head[4], head[5], head[6], head[9]))

    def build_id(self) -> str | None:
        """The GNU Build ID, hexadecimal."""
        for kind, _, at, size, _, _ in self.sections:
            end = at + size
            while kind == SHT_NOTE and at + 12 <= end:
                names, descs, note = struct.unpack_from("<III", self.data, at)
                desc = at + 12 + (names + 3) // 4 * 4
                if note == NT_GNU_BUILD_ID and self.data[at + 12 : at + 15] == b"GNU":
                    return self.data[desc : desc + descs].hex()
                at = desc + (descs + 3) // 4 * 4
        return None

    def functions(self) -> dict[str, int]:
        """Exported functions that are defined here, and their addresses."""
        found = {}
        for kind, _, at, size, link, entry in self.sections:
            if kind != SHT_DYNSYM:
                continue
            names = self.sections[link][2]
            for symbol in range(at, at + size, entry):
                name, info, _, section, address = struct.unpack_from("<IBBHQ", self.data, symbol)
                if info & 15 == STT_FUNC and section != 0:
                    end = self.data.index(b"\0", names + name)
                    found[self.data[names + name : end].decode()] = address
        return found

    def bytes_at(self, address: int, count: int) -> bytes:
        """The first bytes of a function."""
        for _, start, at, size, _, _ in self.sections:
            if start and start <= address < start + size:
                return self.data[at + address - start :][:count]
        raise ValueError(f"{self.path}: nothing at {address:#x}")


def first_instruction(code: bytes) -> str:
    """What lies under an entry probe."""
    if code[:4] == b"\xf3\x0f\x1e\xfa":
        return "endbr64"
    if 0x50 <= code[0] <= 0x57 or code[0] == 0x41 and 0x50 <= code[1] <= 0x57:
        return "push"
    if code[0] == 0x90 or code[:5] == b"\x0f\x1f\x44\x00\x00":
        return "nop"
    return "other"
