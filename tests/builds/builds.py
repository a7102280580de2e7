"""Makes the table of NIXL builds that the agent knows: agent/src/capture/nixl/builds.toml, and the page docs/builds.md.

    ./x builds            every release below: downloads its wheels, inspects and measures them, writes table and page
    ./x builds --check    the same, but says whether table and page are as they should be, and writes nothing
    ./x builds RELEASE... only these, and only says what it finds

For each wheel: Build IDs and exported functions are read from the files (elf.py), which function calls which from their
disassembly (functions.py, objdump), and where structures keep what the agent reads is measured in a running transfer
(measure.py). A wheel that fails any of it gives no entry; the page names it, with the reason. A new release is added to
RELEASES.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import functions
import pages
import wheel as wheels
from elf import Elf

RELEASES = "0.10.0 0.10.1 1.0.0 1.0.1 1.1.0 1.2.0 1.3.0 1.3.1 1.3.2 1.4.0 1.4.1 1.5.0 1.5.1".split()
ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "agent/src/capture/nixl/builds.toml"
PAGE = ROOT / "docs/builds.md"


@dataclass
class Inspected:
    """What there is to know of a wheel."""

    wheel: wheels.Wheel
    nixl_id: str
    plugin_id: str
    functions: list[functions.Function]
    # None for a wheel without the C interface, by which it would be measured.
    layout: dict | None


def inspect(wheel: wheels.Wheel) -> Inspected:
    ids = [Elf(path).build_id() for path in (wheel.nixl, wheel.plugin)]
    if None in ids:
        raise functions.Refused("a library without Build ID")
    found = functions.of_nixl(wheel.nixl) + functions.of_plugin(wheel.plugin)
    return Inspected(wheel, *ids, found, measure(wheel) if wheel.capi.exists() else None)


def measure(wheel: wheels.Wheel) -> dict:
    """The layout, measured in a process of its own: two builds of NIXL in one would be mixed up."""
    script = Path(__file__).with_name("measure.py")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("NIXL_", "UCX_", "LD_"))}
    try:
        done = subprocess.run(
            [sys.executable, script, wheel.libraries], env=env, capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        raise functions.Refused("measuring takes too long") from None
    if done.returncode != 0:
        raise functions.Refused(f"not measured: {(done.stderr.strip().splitlines() or [done.returncode])[-1]}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["loaded"] != sorted(str(path) for path in (wheel.nixl, wheel.plugin)):
        raise functions.Refused(f"other libraries were loaded: {result['loaded']}")
    return result["layout"]


def fill_in(all_of_them: list[Inspected]) -> dict[str, str]:
    """A wheel that could not be measured has the layout of another one with the same build of libnixl.so; what has none
    then is left out. Wheels that share a build must agree."""
    refused = {}
    measured = {each.nixl_id: each.layout for each in all_of_them if each.layout}
    for each in list(all_of_them):
        each.layout = each.layout or measured.get(each.nixl_id)
        if each.layout is None:
            refused[str(each.wheel)] = "no C interface to measure it by, and no other wheel holds the same build"
            all_of_them.remove(each)
        elif each.layout != measured[each.nixl_id]:
            raise SystemExit(f"{each.wheel}: another layout than that of a wheel with the same build")
    return refused


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("releases", nargs="*", metavar="RELEASE")
    arguments.add_argument("--check", action="store_true", help="write nothing; fail where something would change")
    arguments.add_argument("--python", default="3.12", help="of which Python the wheels are (default: %(default)s)")
    default = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "wheels"
    arguments.add_argument("--store", type=Path, default=default, help="where wheels are kept (default: %(default)s)")
    options = arguments.parse_args()
    inspected, refused = [], {}
    for release in options.releases or RELEASES:
        for package in wheels.PACKAGES:
            wheel = wheels.fetch(package, release, options.python, options.store)
            try:
                inspected.append(inspect(wheel))
                print(f"{wheel}: {pages.summary(inspected[-1])}", flush=True)
            except functions.Refused as why:
                refused[str(wheel)] = str(why)
                print(f"{wheel}: left out: {why}", flush=True)
    for wheel, why in fill_in(inspected).items():
        refused[wheel] = why
        print(f"{wheel}: left out: {why}")
    if options.releases:
        return 1 if refused else 0
    stale = []
    for path, text in ((TABLE, pages.table(inspected)), (PAGE, pages.page(inspected, refused))):
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not options.check:
                path.write_text(text)
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'would change' if options.check else 'written'}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
