"""The torch profiler on the same kernels, loaded into this process: prints "eager NS graph NS", ns a kernel.

usage: torch_profiler.py N profiler|none
"""
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

count, nodes, warm = int(sys.argv[1]), 1000, 3
x = torch.zeros(32, device="cuda")
stream = torch.cuda.Stream()
graph = torch.cuda.CUDAGraph()
with torch.cuda.stream(stream):
    for _ in range(3):
        x.add_(1.0)
torch.cuda.synchronize()
with torch.cuda.graph(graph):
    for _ in range(nodes):
        x.add_(1.0)


def measure():
    torch.cuda.synchronize()
    start = time.monotonic_ns()
    for _ in range(count):
        x.add_(1.0)
    torch.cuda.synchronize()
    eager = (time.monotonic_ns() - start) / count
    start = time.monotonic_ns()
    for _ in range(count // nodes):
        graph.replay()
    torch.cuda.synchronize()
    return eager, (time.monotonic_ns() - start) / count


def rounds():
    for _ in range(warm + 1):
        result = measure()
    return result


if sys.argv[2] == "profiler":
    with profile(activities=[ProfilerActivity.CUDA]):
        result = rounds()
else:
    result = rounds()
# What is complete is flushed within 100 ms.
time.sleep(0.3)
print(f"eager {result[0]:.0f} graph {result[1]:.0f}")
