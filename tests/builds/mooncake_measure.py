"""Finds where Mooncake keeps what the agent reads, by looking at the transfers of mooncake_drive.py; runs within gdb.

No offset is known here: each is where, in every call that was seen, the memory holds what the call was told. Candidates that
remain are written as JSON; the caller refuses a build that has none for a field, or several.

Environment: TOLD (what the driver says), FOUND (where to write), SYMBOLS (JSON, by kind).
"""

import json
import os
import struct

import gdb

MOST = 512


def read(address, size):
    try:
        return bytes(gdb.selected_inferior().read_memory(address, size))
    except gdb.MemoryError:
        return None


def number(address, size=8):
    data = read(address, size)
    return None if data is None else int.from_bytes(data, "little")


def register(name):
    return int(gdb.parse_and_eval(f"${name}")) & (1 << 64) - 1


class Candidates:
    """For each field the offsets that no call has ruled out."""

    def __init__(self):
        self.of = {}

    def keep(self, field, found):
        found = set(found)
        self.of[field] = self.of[field] & found if field in self.of else found


found, segments, batches = Candidates(), {}, {}
seen = {}


def told():
    with open(os.environ["TOLD"]) as lines:
        return json.loads(lines.readlines()[-1])


def own_name(engine, name):
    # By where the name is: the pointer to what keeps count of an object leads to the same place as that to the object.
    text, chains = name.encode(), {}
    for first in range(0, 64, 8):
        inner = number(engine + first)
        if not inner or read(inner, 8) is None:
            continue
        for second in range(0, MOST, 8):
            if number(inner + second + 8) == len(text) and read(number(inner + second) or 0, len(text)) == text:
                chains.setdefault(inner + second, (first, second))
    found.keep("name", chains.values())


def on_register():
    call = told()
    own_name(register("rdi"), call["own"])
    assert [register("rsi"), register("rdx")] == call["buffers"][0], "arguments of registerLocalMemory"


def elements(vector, count):
    """Start and size of the elements of a vector of so many."""
    begin, end = number(vector), number(vector + 8)
    return (begin, (end - begin) // count) if begin and end > begin and (end - begin) % count == 0 else (0, 0)


def on_register_batch():
    call = told()
    own_name(register("rdi"), call["own"])
    begin, size = elements(register("rsi"), len(call["buffers"]))
    same = all(
        struct.unpack("<QQ", read(begin + size * i, 16)) == tuple(buffer) for i, buffer in enumerate(call["buffers"])
    )
    found.keep("buffer_bytes", [size] if same else [])


def on_open():
    text = read(number(register("rsi")), number(register("rsi") + 8)).decode()

    class Return(gdb.Breakpoint):
        def stop(self):
            segments[text] = register("rax")
            # Other calls return to the same place.
            self.enabled = False
            return False

    Return(f"*{number(register('rsp')):#x}", internal=True)


def on_submit():
    call = told()
    entries, batch = call["entries"], register("rdx")
    begin, size = elements(register("rcx"), len(entries))
    found.keep("request_bytes", [size])
    data = [read(begin + size * i, size) for i in range(len(entries))]

    def where(form, step, values):
        width = struct.calcsize(form)
        places = range(0, size - width + 1, step)
        return [at for at in places if all(struct.unpack_from(form, d, at)[0] == v for d, v in zip(data, values))]

    found.keep("request_op", where("<i", 4, [call["op"]] * len(data)))
    found.keep("request_target", where("<Q", 8, [segments[call["peer"]]] * len(data)))
    for field, column in (("request_source", 0), ("request_offset", 1), ("request_length", 2)):
        found.keep(field, where("<Q", 8, [entry[column] for entry in entries]))
    fresh = read(batch, 128)
    found.keep("batch_finished", [at for at, byte in enumerate(fresh) if byte == 0])
    batches[batch] = call


def on_free():
    batch = register("rdx")
    call = batches.pop(batch)
    count, data = len(call["entries"]), read(batch, 128)
    found.keep("batch_finished", [at for at, byte in enumerate(data) if byte == int(call["ok"])])
    vectors = set()
    for at in range(0, 112, 8):
        begin, size = elements(batch + at, count)
        if 48 <= size <= MOST and read(begin, size * count) is not None:
            vectors.add((at, size))
    found.keep("tasks", vectors)
    for at, size in vectors:
        begin, _ = elements(batch + at, count)
        tasks = [read(begin + size * i, size) for i in range(count)]
        words = list(zip(*(struct.unpack_from(f"<{size // 8}Q", task) for task in tasks)))
        # The first that fails ends a batch; others may go on.
        is_right = (lambda of: not any(of)) if call["ok"] else (lambda of: any(of) and max(of) < 1000)
        places = [8 * word for word, of in enumerate(words) if is_right(of)]
        found.keep(f"failed {at} {size}", places)
        if call["ok"]:
            found.keep(f"finished {at} {size}", [at for at in range(size) if all(task[at] == 1 for task in tasks)])


HANDLERS = {
    "open": on_open,
    "register": on_register,
    "register_batch": on_register_batch,
    "submit": on_submit,
    "free": on_free,
}


class Call(gdb.Breakpoint):
    """On the first instruction of a function."""

    def __init__(self, kind, symbol):
        # Not the function's name: gdb would go past what it takes for the start of it.
        address = int(gdb.parse_and_eval(f"(long)&'{symbol}'"))
        super().__init__(f"*{address:#x}", internal=True)
        self.kind = kind

    def stop(self):
        seen[self.kind] = seen.get(self.kind, 0) + 1
        HANDLERS[self.kind]()
        return False


for command in (
    "set pagination off",
    "set follow-fork-mode parent",
    "set detach-on-fork on",
    "set print thread-events off",
    "handle SIGUSR1 stop nopass",
    "run",
):
    gdb.execute(command)
for kind, symbol in json.loads(os.environ["SYMBOLS"]).items():
    Call(kind, symbol)
gdb.execute("continue")
with open(os.environ["FOUND"], "w") as out:
    json.dump({"seen": seen, "end": told()["call"], "of": {key: sorted(value) for key, value in found.of.items()}}, out)
