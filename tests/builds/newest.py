"""Are there releases of engines and NIXL that nobody has looked at, and do they still say what kvpath relies on?

    python3 tests/builds/newest.py              newest releases against tests/builds/newest.toml; reads in those that are new
    python3 tests/builds/newest.py --all        reads in all of the newest, new or not
    python3 tests/builds/newest.py --offline    asks no index: whether newest.toml, the table of builds and the code agree
    python3 tests/builds/newest.py --only vllm  this project alone; may be given several times

The index is pip's own (PIP_INDEX_URL, its configuration, else PyPI). Of wheels only the files that newest.toml names are fetched.
Exit code 0: nothing to do; 1: each line that begins with `!` says what is new or has moved, and what to do; 2: the index cannot be
reached, or newest.toml cannot be read. What was looked at is written into newest.toml by hand, by who looked.
"""

import argparse
import fnmatch
import functools
import http.client
import re
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from elf import Elf
from index import Index, Unreachable, newest, order

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).with_name("newest.toml")
PROJECT = {"name": str, "version": str, "released": object, "looked": object, "how": str}
TEXT = {"file": str, "what": str, "code": str}
LIBRARY = {"file": str, "what": str}


class Malformed(Exception):
    """What is wrong with newest.toml."""


def load(text: str) -> list[dict]:
    """The projects of a data file."""
    try:
        projects = tomllib.loads(text)["project"]
        for project in projects:
            need(project, PROJECT, str(project.get("name", "a project")))
            if order(project["version"]) is None:
                raise Malformed(f"{project['name']}: {project['version']} is no final version")
            for rule in project.get("text", []):
                need(rule, TEXT, f"{project['name']}, {rule.get('file', 'a text')}")
                if ("has" in rule) == ("has_not" in rule):
                    raise Malformed(f"{project['name']}, {rule['file']}: `has` or `has_not`, one of them")
                re.compile(rule.get("has") or rule["has_not"])
            for rule in project.get("library", []):
                need(rule, LIBRARY, f"{project['name']}, {rule.get('file', 'a library')}")
    except (tomllib.TOMLDecodeError, KeyError, TypeError, re.error) as why:
        raise Malformed(str(why)) from None
    return projects


def need(table: dict, keys: dict, where: str) -> None:
    for key, kind in keys.items():
        if not isinstance(table.get(key), kind):
            raise Malformed(f"{where}: no `{key}`")


def matching(names: list[str], pattern: str) -> list[str]:
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def moved_texts(rules: list[dict], names: list[str], read) -> list[str]:
    """What texts of a release are not as they were; `read` gives a file's bytes."""
    found = []
    for rule in rules:
        where, files = rule["file"], matching(names, rule["file"])
        todo = f"({rule['what']}); see what it says now, then {rule['code']}"
        if not files:
            found.append(f"{where} is gone {todo}")
            continue
        pattern = re.compile(rule.get("has") or rule["has_not"], re.MULTILINE)
        is_there = any(pattern.search(read(file).decode(errors="replace")) for file in files)
        if is_there != ("has" in rule):
            found.append(f"{where} {'now has' if is_there else 'has no longer'} /{pattern.pattern}/ {todo}")
    return found


def moved_libraries(rules: list[dict], names: list[str], inspect, table) -> list[str]:
    """What libraries of a release are not known; `inspect` gives a file's Build ID and functions, `table` what a file of builds
    holds: Build IDs, and the symbols that its newest interface needs of a library."""
    found = []
    for rule in rules:
        files = matching(names, rule["file"])
        if not files:
            found.append(f"{rule['file']} is gone ({rule['what']})")
        for file in files:
            build_id, functions = inspect(file)
            wanted, todo = list(rule.get("symbols", [])), rule.get("todo", "look at the library")
            if "table" in rule:
                known, symbols = table(rule["table"], Path(file).name)
                if build_id in known:
                    continue
                found.append(f"{file}: Build ID {build_id} is not in {rule['table']} ({rule['what']}): {todo}")
                wanted += symbols
            gone = [symbol for symbol in wanted if symbol not in functions]
            found += [f"{file}: {symbol} is gone ({rule['what']}): {todo}" for symbol in gone]
    return found


def builds(path: str, library: str) -> tuple[set[str], list[str]]:
    """Of a table of builds: the Build IDs of a library, and the symbols that its last interface needs."""
    table = tomllib.loads((ROOT / path).read_text())
    ids = {build["build_id"] for build in table["build"] if build.get("library", library) == library}
    probes = table["abi"][-1]["probe"]
    return ids, [probe["symbol"] for probe in probes if probe.get("library", library) == library]


def inspect(wheel, name: str) -> tuple[str | None, set[str]]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(wheel.read(name))
        file.flush()
        library = Elf(Path(file.name))
    return library.build_id(), set(library.functions())


def offline(projects: list[dict]) -> list[str]:
    """Where the data file does not fit the tree."""
    found = []
    for project in projects:
        for rule in project.get("text", []):
            code = ROOT / rule["code"]
            if not code.is_file():
                found.append(f"{project['name']}: {rule['code']} is not in the tree ({rule['what']})")
            elif rule.get("ours", "") not in code.read_text():
                found.append(f"{project['name']}: {rule['code']} no longer holds `{rule['ours']}` ({rule['what']})")
        for rule in project.get("library", []):
            if "table" not in rule:
                continue
            if not (ROOT / rule["table"]).is_file():
                found.append(f"{project['name']}: {rule['table']} is not in the tree")
                continue
            releases = [each["releases"] for each in tomllib.loads((ROOT / rule["table"]).read_text())["build"]]
            if not any(project["version"] in each for each in releases):
                found.append(f"{project['name']}: {rule['table']} has no build of {project['version']}: ./x builds")
    return found


def check(project: dict, index: Index, reads_all: bool) -> tuple[str, list[str]]:
    """What there is to say of a project, and what there is to do."""
    name, seen = project["name"], project["version"]
    files = index.files(name)
    file = newest(files)
    if file is None:
        return f"{name}: no wheel for x86-64", [f"{name}: the index has no wheel for x86-64 any more: see where it went"]
    version, date = file.version, file.uploaded or "no date"
    is_new = order(version) > order(seen)
    said = f"{name} {version} ({date}); looked at {seen} on {project['looked']}"
    todo = []
    if order(version) < order(seen):
        todo.append(f"{name}: the newest is {version}, older than {seen}, which was looked at: was it taken back?")
    if is_new:
        todo.append(
            f"{name} {version} ({date}) is newer than {seen}: read what moved below, record a pair with it if you can, then set "
            f"version and dates in tests/builds/newest.toml"
        )
    if (is_new or reads_all) and ("text" in project or "library" in project):
        wheel = index.wheel(file)
        moved = moved_texts(project.get("text", []), wheel.names(), functools.cache(wheel.read))
        moved += moved_libraries(
            project.get("library", []), wheel.names(), lambda path: inspect(wheel, path), builds
        )
        todo += [f"{name} {version}: {each}" for each in moved]
        rules = len(project.get("text", [])) + len(project.get("library", []))
        said += f"; {rules} rules, {len(moved)} moved, {wheel.source.fetched / 1e6:.1f} of {wheel.source.size / 1e6:.0f} MB read"
    return said, todo


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--all", action="store_true", help="read in releases that were looked at, too")
    arguments.add_argument("--offline", action="store_true", help="ask no index")
    arguments.add_argument("--only", action="append", metavar="PROJECT", help="this project alone")
    options = arguments.parse_args()
    try:
        projects = load(DATA.read_text())
    except (OSError, Malformed) as why:
        print(f"newest: {DATA.name} cannot be read: {why}", file=sys.stderr)
        return 2
    unknown = set(options.only or []) - {project["name"] for project in projects}
    if unknown:
        print(f"newest: {DATA.name} has no {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    projects = [project for project in projects if not options.only or project["name"] in options.only]
    todo = offline(projects)
    if options.offline:
        for project in projects:
            print(f"{project['name']} {project['version']} ({project['released']}), looked at on {project['looked']}: {project['how']}")
    else:
        index = Index()
        for project in projects:
            try:
                said, own = check(project, index, options.all)
            except (Unreachable, OSError, http.client.HTTPException, zipfile.BadZipFile) as why:
                for line in todo:
                    print(f"! {line}")
                print(f"newest: nothing is known of {project['name']} and those after it: {why}", file=sys.stderr)
                print("newest: set PIP_INDEX_URL if pip needs another index here, or ask with --offline", file=sys.stderr)
                return 2
            print(said, flush=True)
            todo += own
    for line in todo:
        print(f"! {line}")
    return 1 if todo else 0


if __name__ == "__main__":
    sys.exit(main())
