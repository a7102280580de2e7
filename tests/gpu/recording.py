"""What the GPU tests share: a recording that runs beside the servers, its rows, and what is printed about them."""
import glob
import os
import pathlib
import re
import signal
import subprocess
import sys
import time


class Tee:
    """Standard output, and a file."""

    def __init__(self, path):
        self.out, self.file = sys.stdout, open(path, "w")

    def write(self, text):
        self.file.write(text)
        return self.out.write(text)

    def flush(self):
        self.file.flush()
        self.out.flush()


class Agent:
    """A recording; without a level, processes keep theirs."""

    def __init__(self, agent, out, level, *more):
        self.log = open(f"{out}.log", "w")
        command = [agent, "record", "--out", str(out), *more] + (["--gpu", level] if level else [])
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.start, self.ticks = time.monotonic(), 0
        time.sleep(2)

    def mark(self):
        """The share of a core counts from now on."""
        self.start, self.ticks = time.monotonic(), self._ticks()

    def _ticks(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cost(self):
        """Peak RSS, MB, and share of a core, %."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        rss = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
        return rss, 100 * (self._ticks() - self.ticks) / (time.monotonic() - self.start)

    def stop(self):
        cost = self.cost()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self.log.close()
        return cost, code, pathlib.Path(self.log.name).read_text().strip().splitlines()[-3:]


def level(agent, which):
    done = subprocess.run([agent, "level", "all", which], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"level {which}: {done.stdout}{done.stderr}")
    time.sleep(0.5)
    return done.stdout


def rows(run, table, columns=None):
    import pyarrow.parquet as pq

    found = []
    for path in sorted(glob.glob(f"{run}/node=*/source=*/{table}-*.parquet")):
        found += pq.ParquetFile(path).read(columns=columns).to_pylist()
    return found


class Check:
    failed = False

    def line(self, text, good=True):
        print(("  " if good else "WRONG ") + text, flush=True)
        self.failed |= not good


def times(values):
    return f"p50 {1e3 * statistics.median(values):.1f} ms, mean {1e3 * statistics.mean(values):.1f} ms"


def witnessed(out, run, check):
    """Holds a recording against the witness, if there is one."""
    command = [sys.executable, pathlib.Path(__file__).parent / "check_witness.py", run, out / "witness"]
    done = subprocess.run(command, capture_output=True, text=True)
    told = (done.stdout + done.stderr).strip().splitlines()
    check.line(f"{run.name}: {'; '.join(told)}", done.returncode == 0)


def environment(agent, witness, out):
    """Variables that load the injected library, switched off, and the witness."""
    printed = subprocess.run([agent, "env", "--gpu", "off"], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^export (\w+)='(.*)'$", printed, re.M))
    if witness:
        (out / "witness").mkdir(exist_ok=True)
        paths = [witness, os.environ.get("PYTHONPATH", "")]
        found |= {"WITNESS_DIR": str(out / "witness"), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return found


def gpus():
    """How many this host has."""
    return int(subprocess.run("nvidia-smi -L 2>/dev/null | wc -l", shell=True, capture_output=True, text=True).stdout or 0)
