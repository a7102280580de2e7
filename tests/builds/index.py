"""A package index as pip sees it, and single files out of its wheels, read by range: of a wheel of 300 MB some 100 kB."""

import base64
import io
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

DEFAULT = "https://pypi.org/simple"
JSON = "application/vnd.pypi.simple.v1+json"
CHUNK = 1 << 17
TIMEOUT_S = 60
PYTHON = "cp312"


class Unreachable(Exception):
    """The index does not answer, or not as an index does."""


@dataclass(frozen=True)
class File:
    """A wheel in the index."""

    name: str
    url: str
    uploaded: str
    is_yanked: bool

    @property
    def version(self) -> str:
        return self.name.split("-")[1]

    def fit(self) -> int:
        """How well it is one for x86-64 Linux and the Python whose wheels are looked at; 0: not at all."""
        python, abi, platform = self.name.removesuffix(".whl").split("-")[-3:]
        if platform != "any" and not ("linux" in platform and platform.endswith("x86_64")):
            return 0
        return 3 if PYTHON in python else 2 if "abi3" in abi else 1 if "py3" in python else 0


def order(version: str) -> tuple | None:
    """A final version's place among others; `None` for what comes before one: alphas, candidates, local builds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)*)(?:\.post(\d+))?", version)
    if not found:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), int(found[2] or -1)


def newest(files: list[File]) -> File | None:
    """The best wheel of the newest final version that was not taken back."""
    able = [file for file in files if not file.is_yanked and file.fit() and order(file.version)]
    return max(able, key=lambda file: (order(file.version), file.fit()), default=None)


def of_json(body: bytes, page: str) -> list[File]:
    """Wheels that the JSON form of the simple API lists (PEP 691, PEP 700)."""
    listed = json.loads(body)["files"]
    return [
        File(each["filename"], urljoin(page, each["url"]), each.get("upload-time", "")[:10], bool(each.get("yanked")))
        for each in listed
        if each["filename"].endswith(".whl")
    ]


def of_html(body: str, page: str) -> list[File]:
    """The same of its HTML form (PEP 503), which has no dates."""
    found = []

    class Anchors(HTMLParser):
        def handle_starttag(self, tag, attrs):
            held = dict(attrs)
            link = held.get("href") or ""
            name = unquote(urlsplit(link).path.rsplit("/", 1)[-1])
            if tag == "a" and name.endswith(".whl"):
                found.append(File(name, urljoin(page, link), "", "data-yanked" in held))

    Anchors().feed(body)
    return found


class Index:
    """The index that pip is set up for: `PIP_INDEX_URL`, else its configuration, else PyPI."""

    def __init__(self, url: str | None = None):
        self.url = (url or os.environ.get("PIP_INDEX_URL") or configured() or DEFAULT).rstrip("/")
        certificates = os.environ.get("PIP_CERT")
        context = ssl.create_default_context(cafile=certificates)
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def get(self, url: str, headers: dict[str, str]):
        """Opens an address; what an answer lacks is told in words."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers=headers)
        own = urlsplit(self.url)
        # Name and password are the index's: no other host learns them.
        if own.username and own.hostname == parts.hostname:
            pair = f"{unquote(own.username)}:{unquote(own.password or '')}"
            request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        try:
            return self.opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as why:
            raise Unreachable(f"{host} answers {why.code} ({why.reason})") from None
        except (OSError, ValueError) as why:
            raise Unreachable(f"{host or url} cannot be reached: {getattr(why, 'reason', why)}") from None

    def files(self, project: str) -> list[File]:
        page = f"{self.url}/{project}/"
        with self.get(page, {"Accept": f"{JSON}, text/html;q=0.1"}) as answer:
            page, kind = answer.geturl(), answer.headers.get_content_type()
            try:
                body = answer.read()
                return of_json(body, page) if kind == JSON else of_html(body.decode(), page)
            except (OSError, ValueError, KeyError) as why:
                raise Unreachable(f"what the index says of {project} cannot be read: {why}") from None

    def wheel(self, file: File) -> "Wheel":
        return Wheel(self, file)


def configured() -> str | None:
    """What pip's own configuration names."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


class Ranged(io.RawIOBase):
    """A file on a server, of which only what is asked for is fetched; whole, where the server knows no ranges."""

    def __init__(self, index: Index, url: str):
        self.index, self.url, self.at, self.fetched = index, url, 0, 0
        self.whole = None
        self.held = (0, b"")
        with index.get(url, {"Range": f"bytes=-{CHUNK}"}) as answer:
            size = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status == 206 and size.isdigit():
                tail = answer.read()
                self.size, self.fetched = int(size), len(tail)
                self.held = (self.size - len(tail), tail)
            else:
                self.whole = tempfile.TemporaryFile()
                while block := answer.read(CHUNK):
                    self.whole.write(block)
                self.size = self.fetched = self.whole.tell()

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=0):
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def ask(self, start: int, count: int) -> None:
        """Fetches a range at once that is going to be read."""
        end = min(self.size, start + count)
        first, held = self.held
        if self.whole or start >= end or first <= start and end <= first + len(held):
            return
        with self.index.get(self.url, {"Range": f"bytes={start}-{end - 1}"}) as answer:
            if answer.status != 206:
                raise Unreachable("the server answers ranges of a file with all of it")
            self.held = (start, answer.read())
        self.fetched += len(self.held[1])

    def readinto(self, buffer):
        count = max(0, min(len(buffer), self.size - self.at))
        if self.whole:
            self.whole.seek(self.at)
            data = self.whole.read(count)
        else:
            first, held = self.held
            if count and not first <= self.at < first + len(held):
                self.ask(self.at, max(count, CHUNK))
                first, held = self.held
            data = held[self.at - first : self.at - first + count]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


class Wheel:
    """A wheel, read where it is."""

    def __init__(self, index: Index, file: File):
        self.file, self.source = file, Ranged(index, file.url)
        try:
            self.archive = zipfile.ZipFile(io.BufferedReader(self.source, CHUNK))
        except zipfile.BadZipFile as why:
            raise Unreachable(f"{file.name} is no wheel: {why}") from None

    def names(self) -> list[str]:
        return self.archive.namelist()

    def read(self, name: str) -> bytes:
        info = self.archive.getinfo(name)
        # Its local header is of another length than the central one, but not much.
        self.source.ask(info.header_offset, info.compress_size + len(info.filename) + 1024)
        return self.archive.read(name)
