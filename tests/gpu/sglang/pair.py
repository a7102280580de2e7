"""An SGLang prefill server and a decode server (both pipeline parallel) on one host, KV handed over by NIXL after each chunk, and the
requests of a router.

Without weights: times are those of the shape, texts mean nothing. SGLang 0.5.17 wants as many stages on the decode side.
"""
import json
import random
import sys
import threading
import time
import urllib.request

from servers import Servers

PREFILL, DECODE = "http://127.0.0.1:8100", "http://127.0.0.1:8200"
BOOTSTRAP = ("127.0.0.1", 8998)


class Pair(Servers):
    """Both servers, `stages` GPUs each."""

    def __init__(self, out, stages=2, layers=36, chunk=8192, environment=None):
        own = {"TRITON_CACHE_DIR": "/tmp/triton", "SGLANG_DISABLE_TELEMETRY": "1"}
        super().__init__(out, layers, own | (environment or {}))
        self.options = ["--model-path", self.model, "--load-format", "dummy", "--context-length", "140000"]
        self.options += ["--mem-fraction-static", "0.6", "--attention-backend", "triton", "--sampling-backend", "pytorch"]
        self.options += ["--grammar-backend", "none", "--disable-radix-cache", "--disable-cuda-graph", "--skip-server-warmup"]
        self.options += ["--chunked-prefill-size", str(chunk), "--pp-size", str(stages), "--host", BOOTSTRAP[0]]
        self.options += ["--disaggregation-transfer-backend", "nixl"]
        self._serve("prefill", PREFILL, range(stages), ["--disaggregation-bootstrap-port", str(BOOTSTRAP[1])])
        self._serve("decode", DECODE, range(stages, 2 * stages), [])

    def _serve(self, role, url, gpus, more):
        command = [sys.executable, "-m", "sglang.launch_server", "--port", url.rsplit(":")[-1], "--disaggregation-mode", role]
        self.start(role, url, command + self.options + more, {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))})


def request(tokens, seed, decode_tokens=16):
    """One request, sent to both servers at once as SGLang's router does. Times in s; `room` is the id that both share."""
    rng = random.Random(seed)
    room = rng.getrandbits(62)
    body = {
        "input_ids": [rng.randrange(10, 150_000) for _ in range(tokens)],
        "sampling_params": {"temperature": 0, "max_new_tokens": decode_tokens, "ignore_eos": True},
        "bootstrap_host": BOOTSTRAP[0],
        "bootstrap_port": BOOTSTRAP[1],
        "bootstrap_room": room,
    }
    start = time.monotonic()
    prefilled = []

    def prefill():
        with _post(PREFILL, {**body, "stream": False}) as answer:
            answer.read()
        prefilled.append(time.monotonic())

    beside = threading.Thread(target=prefill)
    beside.start()
    first = None
    with _post(DECODE, {**body, "stream": True}) as answer:
        for line in answer:
            if line.startswith(b"data: {") and first is None:
                first = time.monotonic()
    end = time.monotonic()
    beside.join()
    return {
        "room": str(room),
        "tokens": tokens,
        "start_ns": int(start * 1e9),
        "prefill_s": prefilled[0] - start,
        "ttft_s": first - start,
        "total_s": end - start,
    }


def _post(base, body):
    headers = {"Content-Type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(base + "/generate", json.dumps(body).encode(), headers), timeout=300)
