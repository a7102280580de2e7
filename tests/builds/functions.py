"""Which functions of a build to probe."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from elf import Elf, first_instruction

NIXL, UCX = "libnixl.so", "libplugin_UCX.so"
STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
ARGS = "PK21nixlAgentOptionalArgs"
MAKE = "_ZNK9nixlAgent11makeXferReqE"

# What a hit means to the BPF programs, and the one signature whose arguments they know how to read.
AGENT = {
    "agent": f"_ZN9nixlAgentC1ERK{STRING}RK15nixlAgentConfig",
    "regions": f"_ZN9nixlAgent11registerMemERK12nixlDescListI12nixlBlobDescE{ARGS}",
    "make_span": f"{MAKE}14nixl_xfer_op_tRK10nixlDlistHSt4spanIKiLm18446744073709551615EES3_S6_RP12nixlXferReqH{ARGS}",
    "make_vector": f"{MAKE}RK14nixl_xfer_op_tPK10nixlDlistHRKSt6vectorIiSaIiEES5_SA_RP12nixlXferReqH{ARGS}",
    "create": f"_ZNK9nixlAgent13createXferReqERK14nixl_xfer_op_tRK12nixlDescListI13nixlBasicDescES7_RK{STRING}"
    f"RP12nixlXferReqH{ARGS}",
    "post": f"_ZNK9nixlAgent11postXferReqEP12nixlXferReqH{ARGS}",
    "status": "_ZNK9nixlAgent13getXferStatusEP12nixlXferReqH",
    "release": "_ZNK9nixlAgent14releaseXferReqEP12nixlXferReqH",
    "notif_sent": f"_ZNK9nixlAgent8genNotifERK{STRING}S7_{ARGS}",
    "notif_taken": f"_ZN9nixlAgent9getNotifsERSt13unordered_mapI{STRING}St6vectorIS6_SaIS6_EESt4hashIS6_ESt8equal_toIS6_E"
    f"SaISt4pairIKS6_S9_EEE{ARGS}",
}
# Those without which a build is recorded all the same.
PREPARE = f"_ZNK9nixlAgent13prepXferDlistERK{STRING}RK12nixlDescListI%sERP10nixlDlistH{ARGS}"
MORE = {
    "prepare": PREPARE % "13nixlBasicDesc",
    "prepare_strided": PREPARE % "14nixlStrideDesc",
    "load_md": f"_ZN9nixlAgent12loadRemoteMDERK{STRING}RS5_",
    "connect": f"_ZN9nixlAgent14makeConnectionERK{STRING}{ARGS}",
    "fetch_md": f"_ZN9nixlAgent13fetchRemoteMDE{STRING}{ARGS}",
    "send_md": f"_ZNK9nixlAgent11sendLocalMDE{ARGS}",
    "invalidate_md": f"_ZN9nixlAgent18invalidateRemoteMDERK{STRING}",
    "deregister": f"_ZN9nixlAgent13deregisterMemERK12nixlDescListI12nixlBlobDescE{ARGS}",
}
# The engines of the UCX plugin; a string by value is passed as a pointer, like one by reference.
ENGINES = ("nixlUcxEngine", "nixlUcxThreadEngine", "nixlUcxThreadPoolEngine")
APPEND_NOTIF = re.compile(rf"_ZN\d+(\w+?)11appendNotifE(?:{STRING}S5_|O{STRING}S6_)")


class Refused(Exception):
    """Why a build is left out of the table."""


@dataclass(frozen=True, order=True)
class Function:
    """A function to probe."""

    library: str
    kind: str
    symbol: str
    first: str

    def is_cheap(self) -> bool:
        """Whether a probe at its entry is: the kernel emulates these instructions and must step over all others."""
        return self.first in ("push", "nop")


def of_nixl(path: Path) -> list[Function]:
    """Those of libnixl.so."""
    elf = Elf(path)
    exported = elf.functions()
    wanted = dict(AGENT)
    # Where both are there, the one with vectors calls the one with spans.
    wanted.pop("make_vector" if wanted["make_span"] in exported else "make_span")
    wanted |= {kind: symbol for kind, symbol in MORE.items() if symbol in exported}
    missing = [kind for kind, symbol in wanted.items() if symbol not in exported]
    if missing:
        raise Refused(f"no {', '.join(missing)} of a known signature")
    for caller, callee in calls(path, set(wanted.values())):
        raise Refused(f"{caller} calls {callee}: one call would be two hits")
    return [function(elf, exported, NIXL, kind, symbol) for kind, symbol in wanted.items()]


def of_plugin(path: Path) -> list[Function]:
    """Those of libplugin_UCX.so: where its engines queue a notification that has arrived."""
    elf = Elf(path)
    exported = elf.functions()
    found = {}
    for symbol in exported:
        if "appendNotif" in symbol:
            engine = APPEND_NOTIF.fullmatch(symbol)
            if not engine or engine[1] not in ENGINES:
                raise Refused(f"an unknown {symbol}")
            found[symbol] = engine[1]
    if ENGINES[0] not in found.values():
        raise Refused("no appendNotif")
    passing = set()
    for caller, callee in calls(path, set(found)):
        if found[callee] != ENGINES[0]:
            raise Refused(f"{caller} calls {callee}, which is not the base's")
        passing.add(caller)
    kinds = {symbol: "notif_passed" if symbol in passing else "notif_arrived" for symbol in found}
    in_order = sorted(found, key=lambda symbol: ENGINES.index(found[symbol]))
    return [function(elf, exported, UCX, kinds[symbol], symbol) for symbol in in_order]


def function(elf: Elf, exported: dict[str, int], library: str, kind: str, symbol: str) -> Function:
    return Function(library, kind, symbol, first_instruction(elf.bytes_at(exported[symbol], 8)))


def calls(path: Path, symbols: set[str]) -> list[tuple[str, str]]:
    """Which of these functions call which others of them, by the disassembly; a jump to the start is a call too."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    label = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
    call = re.compile(r"\t(?:call|jmp)\S* .*<([^>+@]+)(?:@plt)?>$")
    found, inside = set(), None
    for line in text.splitlines():
        if start := label.match(line):
            inside = start[1].removesuffix(".cold")
        elif inside in symbols and (target := call.search(line.rstrip())) and target[1] in symbols - {inside}:
            found.add((inside, target[1]))
    return sorted(found)
