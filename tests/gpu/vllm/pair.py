"""A vLLM prefill server (pipeline parallel) and a decode server on one host, KV handed over by NIXL, and the requests of a router.

Without weights (`--load-format dummy`): times are those of the shape, texts mean nothing.
"""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
PREFILL, DECODE = "http://localhost:8100", "http://localhost:8200"


class Pair:
    """Both servers. `stages` prefill GPUs from 0 on, the next one decodes."""

    def __init__(self, out, stages=2, layers=36, chunk=8192, environment=None):
        self.out = pathlib.Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        model = self.out / "model"
        self.base = {
            **os.environ,
            "HOME": "/tmp",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_DO_NOT_TRACK": "1",
            "VLLM_USE_FLASHINFER_SAMPLER": "0",
            "UCX_LOG_LEVEL": "warn",
            **(environment or {}),
        }
        subprocess.run([sys.executable, HERE / "model.py", model, str(layers)], check=True, env=self.base)
        self.options = ["--served-model-name", "m", "--load-format", "dummy", "--max-model-len", "140000"]
        self.options += ["--max-num-batched-tokens", str(chunk), "--gpu-memory-utilization", "0.6", "--enforce-eager"]
        self.options += ["--no-enable-prefix-caching", "--disable-log-stats"]
        self.model = str(model)
        gpus = ",".join(map(str, range(stages)))
        self.servers = [
            self._serve("prefill", "kv_producer", 8100, 5600, gpus, ["-pp", str(stages)]),
            self._serve("decode", "kv_consumer", 8200, 5700, str(stages), []),
        ]

    def _serve(self, name, role, port, side_channel, gpus, more):
        connector = json.dumps({"kv_connector": "NixlPushConnector", "kv_role": role})
        command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", self.model, "--port", str(port)]
        command += self.options + more + ["--kv-transfer-config", connector]
        environment = {**self.base, "CUDA_VISIBLE_DEVICES": gpus, "VLLM_NIXL_SIDE_CHANNEL_PORT": str(side_channel)}
        log = open(self.out / f"{name}.log", "w")
        # A group of its own, so that all its workers can be ended.
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def wait(self, seconds=200):
        """Until both answer; gives how long it took, s."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if any(server.poll() is not None for server in self.servers):
                break
            try:
                for base in (PREFILL, DECODE):
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


def request(name, tokens, seed, decode_tokens=16):
    """One request as a router sends it: prefill, then decode with what prefill says of the KV. Times in s."""
    rng = random.Random(seed)
    prompt = [rng.randrange(10, 150_000) for _ in range(tokens)]
    body = {"model": "m", "prompt": prompt, "temperature": 0}
    start = time.monotonic()
    remote = {"do_remote_decode": True, "do_remote_prefill": False}
    with _post(PREFILL, name, {**body, "max_tokens": 1, "kv_transfer_params": remote}) as answer:
        told = json.load(answer)["kv_transfer_params"]
    prefilled = time.monotonic()
    first = None
    decode = {**body, "max_tokens": decode_tokens, "ignore_eos": True, "stream": True, "kv_transfer_params": told}
    with _post(DECODE, name, decode) as answer:
        for line in answer:
            if line.startswith(b"data: {") and first is None:
                first = time.monotonic()
    return {
        "request": name,
        "tokens": tokens,
        "start_ns": int(start * 1e9),
        "prefill_s": prefilled - start,
        "ttft_s": first - start,
        "total_s": time.monotonic() - start,
    }


def _post(base, name, body):
    headers = {"Content-Type": "application/json", "X-Request-Id": name}
    return urllib.request.urlopen(
        urllib.request.Request(base + "/v1/completions", json.dumps(body).encode(), headers), timeout=300
    )
