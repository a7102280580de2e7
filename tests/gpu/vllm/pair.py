"""A vLLM prefill server (pipeline parallel) and a decode server on one host, KV handed over by NIXL, and the requests of a router.

Without weights (`--load-format dummy`): times are those of the shape, texts mean nothing.
"""
import json
import random
import sys
import time
import urllib.request

from servers import Servers

PREFILL, DECODE = "http://localhost:8100", "http://localhost:8200"


class Pair(Servers):
    """Both servers. `stages` prefill GPUs from 0 on, the next one decodes; with `shared` the last stage's does, for want of another.
    `partition` is the layers of each stage, `block` the tokens of a KV block, `tls` UCX's transports."""

    def __init__(self, out, stages=2, layers=36, chunk=8192, partition=None, block=None, tls=None, shared=False, environment=None):
        own = {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0"}
        own |= {"UCX_TLS": tls} if tls else {}
        self.partition = {"VLLM_PP_LAYER_PARTITION": ",".join(map(str, partition))} if partition else {}
        super().__init__(out, layers, own | (environment or {}))
        self.options = ["--served-model-name", "m", "--load-format", "dummy", "--max-model-len", "140000"]
        self.options += ["--max-num-batched-tokens", str(chunk), "--gpu-memory-utilization", "0.4" if shared else "0.6", "--enforce-eager"]
        self.options += ["--no-enable-prefix-caching", "--disable-log-stats"]
        self.options += ["--block-size", str(block)] if block else []
        gpus = ",".join(map(str, range(stages)))
        self._serve("prefill", "kv_producer", PREFILL, 5600, gpus, ["-pp", str(stages)], self.partition)
        self._serve("decode", "kv_consumer", DECODE, 5700, str(stages - 1 if shared else stages), [], {})

    def _serve(self, name, role, url, side_channel, gpus, more, variables):
        connector = json.dumps({"kv_connector": "NixlPushConnector", "kv_role": role})
        command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", self.model, "--port", url.rsplit(":")[-1]]
        command += self.options + more + ["--kv-transfer-config", connector]
        variables = {"CUDA_VISIBLE_DEVICES": gpus, "VLLM_NIXL_SIDE_CHANNEL_PORT": str(side_channel), **variables}
        self.start(name, url, command, variables)


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
