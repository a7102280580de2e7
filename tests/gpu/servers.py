"""Servers of an engine on one host: started, waited for, ended."""
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
# No network, nothing sent home, nothing printed beside what matters.
QUIET = {"HOME": "/tmp", "HF_HUB_OFFLINE": "1", "UCX_LOG_LEVEL": "warn"}


class Servers:
    """Processes that answer at /health. Logs go to OUT/NAME.log, the model's files to OUT/model."""

    def __init__(self, out, layers, environment):
        self.out = pathlib.Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.model = str(self.out / "model")
        self.base = {**os.environ, **QUIET, **environment}
        self.servers, self.urls = [], []
        subprocess.run([sys.executable, HERE / "model.py", self.model, str(layers)], check=True, env=self.base)

    def start(self, name, url, command, environment):
        log = open(self.out / f"{name}.log", "w")
        # A group of its own, so that all its workers can be ended.
        started = subprocess.Popen(command, env={**self.base, **environment}, stdout=log, stderr=log, start_new_session=True)
        self.servers.append(started)
        self.urls.append(url)

    def wait(self, seconds=200):
        """Until all answer; gives how long it took, s."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if any(server.poll() is not None for server in self.servers):
                break
            try:
                for base in self.urls:
                    urllib.request.urlopen(base + "/health", timeout=5).close()
                return time.monotonic() - start
            except OSError:
                time.sleep(1)
        tails = "".join(path.read_text()[-1500:] for path in sorted(self.out.glob("*.log")))
        raise RuntimeError(f"the servers are not up after {time.monotonic() - start:.0f} s:\n{tails}")

    def workers(self):
        """Pids of the processes that hold a GPU, by title."""
        found = {}
        for folder in pathlib.Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    maps = (folder / "maps").read_text()
                except OSError:
                    continue
                if "/dev/nvidia-uvm" in maps or "libnixl.so" in maps:
                    found[int(folder.name)] = title
        return found

    def stop(self):
        for server in self.servers:
            for which in (signal.SIGINT, signal.SIGKILL):
                try:
                    os.killpg(server.pid, which)
                    server.wait(15)
                    break
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    break
