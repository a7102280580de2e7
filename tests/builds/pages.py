"""What is written of the wheels that were inspected: the agent's table and the page about it."""

FIELDS = [
    "handle_lists",
    "handle_local",
    "handle_remote",
    "handle_peer",
    "handle_notif",
    "handle_has_notif",
    "handle_op",
    "handle_status",
    "handle_bytes",
    "list_memory",
    "list_begin",
    "meta_bytes",
    "basic_bytes",
    "strided_bytes",
    "blob_bytes",
]
TABLE = """\
# What is known of NIXL builds, by the Build ID of each library. Written by `./x builds` (tests/builds), from the wheels
# on PyPI; not edited by hand.
#
# [abi.layout]: offsets and sizes in bytes, measured in live transfers of the wheels' own libraries.
#   handle_*  in nixlXferReqH. handle_lists says whether handle_local and handle_remote are lists or pointers to them.
#             Without handle_bytes, a build fills in the size only when telemetry is on; the agent adds it up then.
#   list_*    in nixlDescList<T>.
#   *_bytes   elements: nixlMetaDesc (in handles), nixlBasicDesc (createXferReq, prepXferDlist), nixlStrideDesc
#             (prepXferDlist from 1.5 on), nixlBlobDesc (registerMem). Each starts with address, size and device, 8 bytes
#             each; in nixlStrideDesc stride and count follow.
# [[abi.probe]]: the functions, by their mangled names. What the kinds mean stands at `ProbeKind` in builds.rs.
"""
PAGE = """\
<!-- Written by `./x builds`; not edited by hand. -->

# Builds of NIXL that can be recorded

The agent knows these builds by their Build IDs; `kvpath-agent doctor` says which libraries on a machine it knows. Others
are recorded [by the release that they name](record.md#builds-that-are-in-no-table), if that is one of these. The table is made from the x86-64 wheels of `nixl-cu12` and `nixl-cu13` on PyPI by `./x builds`, which runs
transfers with each wheel's own libraries and measures where they keep what is recorded. These were the wheels for
Python 3.12. Those for other versions of Python held the same builds where it was looked up (2026-11-20): 0.10.1 for
3.13; 1.0.1, 1.2.0 and 1.5.1 for 3.11; 1.3.2 for 3.10; 1.4.1 for 3.14.

| release | wheels | libnixl.so | libplugin_UCX.so | layout |
|---|---|---|---|---|
"""
UNMEASURED = "Without a C interface to measure them by, but the same builds as others"
UNSIZED = """
Offsets and sizes in bytes. Without `handle_bytes` the size of a transfer is the sum of its descriptors, and is not
known of one with more than 65,536. Without `strided_bytes` prepared lists have an element a block, and layers without a
gap between them are one row of `nixl_prepared`.
"""
SLOW = """
All probes sit on a `push`, but for these, where the kernel must step over another instruction, which costs more:

"""
NOT_COVERED = """\
* Releases before 0.10.0: their wheels have no C interface to measure them by (0.7.1 and 0.9.0 were looked at).
* Wheels for aarch64: the agent is for x86-64.
* `nixl` on PyPI: has held no library since 0.7.1; it depends on the two packages above.
* `nixl_cu12.libs/nixl/libplugin_UCX.so`, a second build of the plugin in each wheel: `libnixl.so` loads the one in
  `plugins/` beside itself, unless `NIXL_PLUGIN_DIR` says otherwise.
"""


def abi_of(each) -> tuple[dict, list]:
    """What makes builds the same to the agent: layout and functions."""
    layout = {field: each.layout[field] for field in FIELDS if field in each.layout}
    return layout, [(function.library, function.kind, function.symbol) for function in each.functions]


def abis(inspected) -> list[tuple[str, tuple]]:
    """Each that differs, named after the first release that has it."""
    found = []
    for each in inspected:
        if abi_of(each) not in [abi for _, abi in found]:
            found.append((each.wheel.release, abi_of(each)))
    return found


def name_of(each, known) -> str:
    return next(name for name, abi in known if abi == abi_of(each))


def builds(inspected, known) -> dict[tuple[str, str], dict]:
    """Each library once, with what holds it. The first release that does says its ABI."""
    found = {}
    for each in inspected:
        for library, build_id in (("libnixl.so", each.nixl_id), ("libplugin_UCX.so", each.plugin_id)):
            new = {"abi": name_of(each, known), "releases": [], "packages": []}
            entry = found.setdefault((library, build_id), new)
            for key, value in (("releases", each.wheel.release), ("packages", each.wheel.package)):
                if value not in entry[key]:
                    entry[key].append(value)
    return found


def table(inspected) -> str:
    """builds.toml."""
    known = abis(inspected)
    text = TABLE
    for name, (layout, probes) in known:
        text += f"\n[[abi]]\nname = {toml(name)}\n\n[abi.layout]\n"
        text += "".join(f"{field} = {toml(value)}\n" for field, value in layout.items())
        for probe in probes:
            text += "\n[[abi.probe]]\n"
            text += "".join(f"{key} = {toml(value)}\n" for key, value in zip(("library", "kind", "symbol"), probe))
    for (library, build_id), entry in builds(inspected, known).items():
        text += f"\n# {', '.join(entry['packages'])}\n[[build]]\n"
        text += f"library = {toml(library)}\nbuild_id = {toml(build_id)}\n"
        text += f"releases = {toml(entry['releases'])}\nabi = {toml(entry['abi'])}\n"
    return text


def toml(value: int | str | list[str]) -> str:
    """A value as TOML has it; no text here needs escapes."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def page(inspected, refused: dict[str, str]) -> str:
    """docs/builds.md."""
    known = abis(inspected)
    rows = {}
    for each in inspected:
        key = (each.wheel.release, f"`{each.nixl_id}`", f"`{each.plugin_id}`", name_of(each, known))
        rows.setdefault(key, []).append(each.wheel.package)
    text = PAGE
    for (release, *rest), packages in rows.items():
        text += row(release, ", ".join(packages), *rest)
    unmeasured = dict.fromkeys(each.wheel.release for each in inspected if not each.wheel.capi.exists())
    if unmeasured:
        text += f"\n{UNMEASURED}: {', '.join(unmeasured)}.\n"
    text += "\n## Layouts\n\n" + row("field", *(name for name, _ in known)) + "|---" * (len(known) + 1) + "|\n"
    for field in FIELDS:
        text += row(field, *(layout.get(field, "-") for _, (layout, _) in known))
    text += UNSIZED + slow(inspected) + "\n## Not covered\n\n"
    text += "".join(f"* {wheel}: {why}.\n" for wheel, why in refused.items())
    return text + NOT_COVERED


def row(*cells) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def slow(inspected) -> str:
    """Probes that cost more than others."""
    found = {}
    for each in inspected:
        for function in each.functions:
            if not function.is_cheap():
                found.setdefault(function.symbol, {})[each.wheel.release] = None
    lines = (f"* `{symbol}` of {', '.join(releases)}\n" for symbol, releases in found.items())
    return SLOW + "".join(lines) if found else ""


def summary(each) -> str:
    """One wheel, for the terminal."""
    slow_ones = [function.kind for function in each.functions if not function.is_cheap()]
    layout = each.layout or "not measured: no libnixl_capi.so"
    return f"{each.nixl_id} {each.plugin_id}\n  {layout}\n  costly entries: {', '.join(slow_ones) or 'none'}"
