"""Makes the table of Mooncake builds that the agent knows: agent/src/capture/mooncake/builds.toml, and docs/builds-mooncake.md.

    ./x builds mooncake            every release below: downloads its wheels, inspects and measures them, writes table and page
    ./x builds mooncake --check    the same, but says whether table and page are as they should be, and writes nothing

For each wheel: the Build ID and the exported functions are read from `mooncake/engine.so` (elf.py), which function calls which
from its disassembly (functions.py, objdump), and where structures keep what the agent reads is measured in running transfers over
TCP (mooncake_drive.py, mooncake_measure.py: gdb). There is a build for each version of Python; each is measured in that Python,
which must be on the PATH as `python3.N`. CUDA's libraries are not needed: stubs stand in for those that the machine lacks, for
no layout that is measured depends on them. A wheel that fails any of it gives no entry; the page names it, with the reason.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import functions
import pages
from elf import Elf, first_instruction

RELEASES = {
    "0.3.13": ("mooncake-transfer-engine", "mooncake-transfer-engine-cuda13", "mooncake-transfer-engine-non-cuda"),
    "0.3.13.post1": ("mooncake-transfer-engine", "mooncake-transfer-engine-cuda13", "mooncake-transfer-engine-non-cuda"),
    # Of this release the others are not on PyPI.
    "0.3.14": ("mooncake-transfer-engine-cuda13",),
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TABLE = ROOT / "agent/src/capture/mooncake/builds.toml"
PAGE = ROOT / "docs/builds-mooncake.md"

ENGINE = "_ZN8mooncake14TransferEngine"
REQUESTS = "RKSt6vectorINS_9Transport15TransferRequestESaIS3_EE"
# What a hit means to the BPF programs, and the one signature whose arguments they know how to read.
PROBES = [
    ("open", f"{ENGINE}11openSegmentERK{functions.STRING}"),
    ("register", f"{ENGINE}19registerLocalMemoryEPvmRK{functions.STRING}bb"),
    (
        "register_batch",
        f"{ENGINE}24registerLocalMemoryBatchERKSt6vectorINS_9Transport11BufferEntryESaIS3_EERK{functions.STRING}",
    ),
    ("submit", f"{ENGINE}14submitTransferEm{REQUESTS}"),
    ("submit", f"{ENGINE}24submitTransferWithNotifyEm{REQUESTS}NS_16TransferMetadata10NotifyDescE"),
    ("free", f"{ENGINE}11freeBatchIDEm"),
]
# What refuses to free a batch that goes on, by the releases.
FREE = ("_ZN8mooncake14MultiTransport11freeBatchIDE", "_ZN8mooncake14MultiTransport14tryFreeBatchIDE")
# What says that a batch is done.
POLL = ("_ZN8mooncake14MultiTransport22getBatchTransferStatusE",)
FIELDS = [
    "engine_impl",
    "impl_name",
    "request_bytes",
    "request_op",
    "request_source",
    "request_target",
    "request_offset",
    "request_length",
    "batch_tasks",
    "batch_finished",
    "task_bytes",
    "task_failed",
    "task_finished",
    "buffer_bytes",
]
# How often the driver makes each call.
CALLS = {"open": 3, "register": 1, "register_batch": 1, "submit": 8, "free": 8}


@dataclass(frozen=True)
class Wheel:
    """A wheel, unpacked."""

    package: str
    release: str
    python: str
    folder: Path

    @property
    def engine(self) -> Path:
        return self.folder / "mooncake" / "engine.so"

    def __str__(self) -> str:
        return f"{self.package} {self.release} for Python {self.python}"


@dataclass
class Inspected:
    """What there is to know of a wheel."""

    wheel: Wheel
    build_id: str
    costly: list[str]
    layout: dict


def fetch(package: str, release: str, python: str, store: Path) -> Wheel:
    """Downloads a wheel by pip, unless it is there already, and unpacks its libraries."""
    store.mkdir(parents=True, exist_ok=True)
    name = f"{package.replace('-', '_')}-{release}-cp{python.replace('.', '')}-*.whl"
    if not list(store.glob(name)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary=:all:", "--platform", "manylinux_2_28_x86_64", "--implementation", "cp"]
        subprocess.run([*pip, "--python-version", python, "--dest", str(store), f"{package}=={release}"], check=True)
    file = next(iter(store.glob(name)))
    folder = store / file.stem
    if not folder.exists():
        partial = store / f"{file.stem}.partial"
        with zipfile.ZipFile(file) as archive:
            is_needed = re.compile(r"mooncake/(.*\.py|engine\.so|lib[^/]*\.so|_fast_copy[^/]*\.so)|[^/]*\.libs/[^/]*")
            archive.extractall(partial, [name for name in archive.namelist() if is_needed.fullmatch(name)])
        partial.rename(folder)
    return Wheel(package, release, python, folder)


def inspect(wheel: Wheel, measured: dict[str, dict]) -> Inspected:
    elf = Elf(wheel.engine)
    build_id, exported = elf.build_id(), elf.functions()
    if build_id is None:
        raise functions.Refused("a library without Build ID")
    missing = [symbol for _, symbol in PROBES if symbol not in exported]
    if missing:
        raise functions.Refused(f"no {', '.join(missing)}")
    if build_id not in measured:
        for caller, callee in functions.calls(wheel.engine, {symbol for _, symbol in PROBES}):
            raise functions.Refused(f"{caller} calls {callee}: one call would be two hits")
        measured[build_id] = measure(wheel)
    firsts = {kind: first_instruction(elf.bytes_at(exported[symbol], 8)) for kind, symbol in PROBES}
    costly = [kind for kind, first in firsts.items() if first not in ("push", "nop")]
    return Inspected(wheel, build_id, costly, measured[build_id])


def stubs(wheel: Wheel, folder: Path) -> None:
    """Stands in for the libraries that this machine lacks."""
    listed = subprocess.run(["ldd", wheel.engine], check=True, capture_output=True, text=True).stdout
    lacking = re.findall(r"(\S+) => not found", listed)
    symbols = subprocess.run(["nm", "-D", "-u", wheel.engine], check=True, capture_output=True, text=True).stdout
    wanted = sorted(set(re.findall(r"\bU ((?:cu|nvml|mlx5dv)\w+)", symbols)) - {"cudaPointerGetAttributes"})
    code = "#include <string.h>\n" + "".join(f"int {name}(void) {{ return 100; }}\n" for name in wanted)
    # Memory that CUDA does not know: the host's.
    code += "int cudaPointerGetAttributes(void *to, const void *p) { (void)p; memset(to, 0, 24); return 0; }\n"
    (folder / "stub.c").write_text(code)
    for library in lacking:
        command = ["gcc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{library}"]
        subprocess.run([*command, "-o", folder / library, folder / "stub.c"], check=True)


def interpreter(version: str) -> str | None:
    """The program itself, which gdb wants: what is on the PATH may be a script."""
    found = shutil.which(f"python{version}")
    if found is None:
        return None
    told = subprocess.run([found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
    return told.stdout.strip() or None


def measure(wheel: Wheel) -> dict:
    """The layout, by what is found in running transfers."""
    python = interpreter(wheel.python)
    if python is None:
        raise functions.Refused(f"not measured: no python{wheel.python} on the PATH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stubs(wheel, folder)
        told, found = folder / "told", folder / "found"
        told.touch()
        quiet = {"MC_FORCE_TCP": "1", "GLOG_minloglevel": "3", "PYTHONDONTWRITEBYTECODE": "1"}
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MC_", "LD_"))} | quiet
        env |= {"LD_LIBRARY_PATH": str(folder), "TOLD": str(told), "FOUND": str(found)}
        # The function without a notification: it is what the driver calls.
        env["SYMBOLS"] = json.dumps({kind: symbol for kind, symbol in reversed(PROBES)})
        command = ["gdb", "-batch", "-nx", "-x", HERE / "mooncake_measure.py", "--args"]
        command += [python, HERE / "mooncake_drive.py", "drive", wheel.folder, told]
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired:
            raise functions.Refused("measuring takes too long") from None
        if not found.exists():
            raise functions.Refused(f"not measured: {' / '.join(done.stderr.strip().splitlines()[-3:])}")
        result = json.loads(found.read_text())
    if result["end"] != "end" or result["seen"] != CALLS:
        raise functions.Refused(f"not measured: calls {result['seen']}, then {result['end']}")
    return layout(result["of"], wheel)


def layout(of: dict, wheel: Wheel) -> dict:
    """Refuses where several places would do, or none."""

    def only(field: str):
        if len(of[field]) != 1:
            raise functions.Refused(f"{field} may be any of {of[field]}")
        return of[field][0]

    (engine_impl, impl_name), (batch_tasks, task_bytes) = only("name"), only("tasks")
    # Whether a task has ended is what keeps a batch from being freed: of the bytes that are set in all that have, the one that
    # `freeBatchID` looks at.
    ended = set(of[f"finished {batch_tasks} {task_bytes}"]) & bytes_looked_at(wheel.engine, FREE)
    # In the same way that of a batch that is done is the one by which it is said to be.
    done = set(of["batch_finished"]) & bytes_looked_at(wheel.engine, POLL)
    for field, places in (("task_finished", ended), ("batch_finished", done)):
        if len(places) != 1:
            raise functions.Refused(f"{field} may be any of {sorted(places)}")
    found = {
        "engine_impl": engine_impl,
        "impl_name": impl_name,
        "batch_tasks": batch_tasks,
        "task_bytes": task_bytes,
        "task_failed": only(f"failed {batch_tasks} {task_bytes}"),
        "task_finished": ended.pop(),
        "batch_finished": done.pop(),
    }
    return {field: found[field] if field in found else only(field) for field in FIELDS}


def bytes_looked_at(engine: Path, prefixes: tuple[str, ...]) -> set[int]:
    """At which offsets from a pointer functions whose names begin so look at a byte."""
    found: set[int] = set()
    for symbol in (symbol for symbol in Elf(engine).functions() if symbol.startswith(prefixes)):
        command = ["objdump", "--no-show-raw-insn", f"--disassemble={symbol}", str(engine)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        looked = re.findall(r"\t(?:movzbl|cmpb|testb)\s+(?:\$0x\w+,)?(0x[0-9a-f]+)\(%r\w+\)", text)
        found |= {int(offset, 16) for offset in looked}
    return found


TABLE_HEAD = """\
# What is known of Mooncake's builds, by the Build ID of `mooncake/engine.so`. Written by `./x builds mooncake` (tests/builds), from
# the wheels on PyPI; not edited by hand. A build that is not here is never probed.
#
# [abi.layout]: offsets and sizes in bytes, measured in live transfers; what they are says `Layout` in schema/src/wire/mooncake.rs.
# [[abi.probe]]: the functions, by their mangled names. What the kinds mean stands at `ProbeKind` in builds.rs.
"""
PAGE_HEAD = """\
<!-- Written by `./x builds mooncake`; not edited by hand. -->

# Builds of Mooncake that can be recorded

The agent probes Mooncake's transfer engine (`mooncake/engine.so`) only if it knows its Build ID; `kvpath-agent doctor` says which
libraries on a machine it knows. The table is made from the x86-64 wheels on PyPI by `./x builds mooncake`, which runs transfers over
TCP with each build and finds where it keeps what is recorded. Each version of Python has a build of its own.

| release | package | Python | engine.so | layout |
|---|---|---|---|---|
"""
NOT_COVERED = """\
* `mooncake/store.so`, which has the engine within itself: what Mooncake's store moves is not recorded.
* Packages for other devices (`-efa`, `-npu`, `-musa`), and wheels for aarch64: the agent is for x86-64.
* Libraries from anywhere else (container images, own builds): their Build IDs are others. Nothing of them is probed.
"""


def abis(inspected: list[Inspected]) -> list[tuple[str, dict]]:
    """Each layout that differs, named after the first release that has it."""
    found = []
    for each in inspected:
        if each.layout not in [layout for _, layout in found]:
            found.append((each.wheel.release, each.layout))
    return found


def name_of(each: Inspected, known: list[tuple[str, dict]]) -> str:
    return next(name for name, layout in known if layout == each.layout)


def table(inspected: list[Inspected]) -> str:
    """builds.toml."""
    known, text = abis(inspected), TABLE_HEAD
    for name, layout in known:
        text += f"\n[[abi]]\nname = {pages.toml(name)}\n\n[abi.layout]\n"
        text += "".join(f"{field} = {layout[field]}\n" for field in FIELDS)
        for kind, symbol in PROBES:
            text += f"\n[[abi.probe]]\nkind = {pages.toml(kind)}\nsymbol = {pages.toml(symbol)}\n"
    builds: dict[str, list[Inspected]] = {}
    for each in inspected:
        builds.setdefault(each.build_id, []).append(each)
    for build_id, holders in builds.items():
        releases = list(dict.fromkeys(each.wheel.release for each in holders))
        text += f"\n# {holders[0].wheel.package}, Python {holders[0].wheel.python}\n[[build]]\nbuild_id = "
        text += f"{pages.toml(build_id)}\nreleases = {pages.toml(releases)}\nabi = {pages.toml(name_of(holders[0], known))}\n"
    return text


def page(inspected: list[Inspected], refused: dict[str, str]) -> str:
    """docs/builds-mooncake.md."""
    known, text = abis(inspected), PAGE_HEAD
    for each in inspected:
        wheel = each.wheel
        text += pages.row(wheel.release, wheel.package, wheel.python, f"`{each.build_id}`", name_of(each, known))
    text += "\n## Layouts\n\n" + pages.row("field", *(name for name, _ in known)) + "|---" * (len(known) + 1) + "|\n"
    for field in FIELDS:
        text += pages.row(field, *(layout[field] for _, layout in known))
    text += "\nOffsets and sizes in bytes.\n"
    costly = dict.fromkeys(kind for each in inspected for kind in each.costly)
    text += f"\nAll probes sit on a `push`, but for {', '.join(f'`{kind}`' for kind in costly)}, which come once a peer or region.\n"
    text += "\n## Not covered\n\n" + "".join(f"* {wheel}: {why}.\n" for wheel, why in refused.items())
    return text + NOT_COVERED


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="write nothing; fail where something would change")
    default = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "wheels"
    arguments.add_argument("--store", type=Path, default=default, help="where wheels are kept (default: %(default)s)")
    options = arguments.parse_args()
    inspected, refused, measured = [], {}, {}
    for release, packages in RELEASES.items():
        for package in packages:
            for python in PYTHONS:
                wheel = fetch(package, release, python, options.store)
                try:
                    inspected.append(inspect(wheel, measured))
                    print(f"{wheel}: {inspected[-1].build_id}\n  {inspected[-1].layout}", flush=True)
                except functions.Refused as why:
                    refused[str(wheel)] = str(why)
                    print(f"{wheel}: left out: {why}", flush=True)
    stale = []
    for path, text in ((TABLE, table(inspected)), (PAGE, page(inspected, refused))):
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not options.check:
                path.write_text(text)
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'would change' if options.check else 'written'}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
