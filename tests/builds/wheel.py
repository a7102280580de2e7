"""Wheels of NIXL from PyPI, and the libraries in them."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("nixl-cu12", "nixl-cu13")
PLATFORM = "manylinux_2_28_x86_64"


@dataclass(frozen=True)
class Wheel:
    """A wheel, unpacked."""

    package: str
    release: str
    folder: Path

    @property
    def libraries(self) -> Path:
        """Where its own libraries lie."""
        return self.folder / f".{self.package.replace('-', '_')}.mesonpy.libs"

    @property
    def nixl(self) -> Path:
        return self.libraries / "libnixl.so"

    @property
    def plugin(self) -> Path:
        return self.libraries / "plugins" / "libplugin_UCX.so"

    @property
    def capi(self) -> Path:
        """The C interface, which 0.10.0 does not have."""
        return self.libraries / "libnixl_capi.so"

    def __str__(self) -> str:
        return f"{self.package} {self.release}"


def fetch(package: str, release: str, python: str, store: Path) -> Wheel:
    """Downloads a wheel by pip, unless it is there already, and unpacks the libraries that NIXL needs with UCX."""
    store.mkdir(parents=True, exist_ok=True)
    name = f"{package.replace('-', '_')}-{release}-cp{python.replace('.', '')}-*.whl"
    if not list(store.glob(name)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary=:all:", "--platform", PLATFORM, "--implementation", "cp", "--python-version", python]
        subprocess.run([*pip, "--dest", str(store), f"{package}=={release}"], check=True)
    file = next(iter(store.glob(name)))
    folder = store / file.stem
    wheel = Wheel(package, release, folder)
    if not folder.exists():
        partial = store / f"{file.stem}.partial"
        with zipfile.ZipFile(file) as archive:
            archive.extractall(partial, [name for name in archive.namelist() if is_needed(name)])
        partial.rename(folder)
    for library in (wheel.nixl, wheel.plugin):
        if not library.is_file():
            raise FileNotFoundError(f"{wheel} holds no {library.relative_to(folder)}")
    return wheel


def is_needed(name: str) -> bool:
    """Everything but Python code, `nixl_ep` and the plugins of other backends."""
    folder, _, file = name.rpartition("/")
    if folder.endswith("plugins"):
        return file == "libplugin_UCX.so"
    return ".so" in file and (".mesonpy.libs" in folder or ".libs" in folder)
