#!/bin/sh
# Prints sizes and offsets of the CUPTI structs that src/records.rs reads, from the headers of two wheels, as
# offsets-12.9.txt and offsets-13.5.txt. The headers are NVIDIA's and are not kept here; the numbers are facts about them.
#
# usage: layout/print.sh     (needs pip, unzip, gcc and the Python package index)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
pip download --quiet --no-deps \
  nvidia-cuda-cupti==13.5.25 nvidia-cuda-runtime==13.5.37 nvidia-cuda-crt==13.5.37 \
  nvidia-cuda-cupti-cu12==12.9.79 nvidia-cuda-runtime-cu12==12.9.79
for wheel in *.whl; do unzip -qo "$wheel" -d "${wheel%%-[0-9]*}"; done
crt=nvidia_cuda_crt/nvidia/cu13/include
print() { # VERSION KERNEL MEMCPY MEMSET EVENT INCLUDE...
  version=$1 kernel=$2 memcpy=$3 memset=$4 event=$5
  shift 5
  cat >layout.c <<EOF
#include <cupti.h>
#include <stddef.h>
#include <stdio.h>
#define SIZE(name, type) printf("%s size %zu\n", #name, sizeof(type));
#define AT(name, type, field) printf("%s %s %zu\n", #name, #field, offsetof(type, field));
int main(void) {
  SIZE(Kernel, $kernel)
  AT(Kernel, $kernel, kind) AT(Kernel, $kernel, start) AT(Kernel, $kernel, end) AT(Kernel, $kernel, deviceId)
  AT(Kernel, $kernel, contextId) AT(Kernel, $kernel, streamId) AT(Kernel, $kernel, gridX) AT(Kernel, $kernel, gridY)
  AT(Kernel, $kernel, gridZ) AT(Kernel, $kernel, blockX) AT(Kernel, $kernel, blockY) AT(Kernel, $kernel, blockZ)
  AT(Kernel, $kernel, correlationId) AT(Kernel, $kernel, name) AT(Kernel, $kernel, graphNodeId)
  AT(Kernel, $kernel, graphId)
  SIZE(Memcpy, $memcpy)
  AT(Memcpy, $memcpy, copyKind) AT(Memcpy, $memcpy, bytes) AT(Memcpy, $memcpy, start) AT(Memcpy, $memcpy, end)
  AT(Memcpy, $memcpy, deviceId) AT(Memcpy, $memcpy, contextId) AT(Memcpy, $memcpy, streamId)
  AT(Memcpy, $memcpy, correlationId) AT(Memcpy, $memcpy, graphNodeId)
  SIZE(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4)
  AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, copyKind) AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, bytes)
  AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, start) AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, end)
  AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, deviceId) AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, contextId)
  AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, streamId) AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, srcDeviceId)
  AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, dstDeviceId) AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, correlationId)
  AT(MemcpyPtoP, CUpti_ActivityMemcpyPtoP4, graphNodeId)
  SIZE(Memset, $memset)
  AT(Memset, $memset, bytes) AT(Memset, $memset, start) AT(Memset, $memset, end) AT(Memset, $memset, deviceId)
  AT(Memset, $memset, contextId) AT(Memset, $memset, streamId) AT(Memset, $memset, correlationId)
  SIZE(Synchronization, CUpti_ActivitySynchronization2)
  AT(Synchronization, CUpti_ActivitySynchronization2, type) AT(Synchronization, CUpti_ActivitySynchronization2, start)
  AT(Synchronization, CUpti_ActivitySynchronization2, end)
  AT(Synchronization, CUpti_ActivitySynchronization2, correlationId)
  AT(Synchronization, CUpti_ActivitySynchronization2, contextId)
  AT(Synchronization, CUpti_ActivitySynchronization2, streamId)
  AT(Synchronization, CUpti_ActivitySynchronization2, cudaEventId)
  AT(Synchronization, CUpti_ActivitySynchronization2, cudaEventSyncId)
  SIZE(CudaEvent, $event)
  AT(CudaEvent, $event, correlationId) AT(CudaEvent, $event, contextId) AT(CudaEvent, $event, streamId)
  AT(CudaEvent, $event, eventId) AT(CudaEvent, $event, cudaEventSyncId)
  SIZE(Overhead, CUpti_ActivityOverhead3)
  AT(Overhead, CUpti_ActivityOverhead3, overheadKind) AT(Overhead, CUpti_ActivityOverhead3, objectKind)
  AT(Overhead, CUpti_ActivityOverhead3, objectId) AT(Overhead, CUpti_ActivityOverhead3, start)
  AT(Overhead, CUpti_ActivityOverhead3, end)
  SIZE(GraphTrace, CUpti_ActivityGraphTrace2)
  AT(GraphTrace, CUpti_ActivityGraphTrace2, correlationId) AT(GraphTrace, CUpti_ActivityGraphTrace2, start)
  AT(GraphTrace, CUpti_ActivityGraphTrace2, end) AT(GraphTrace, CUpti_ActivityGraphTrace2, deviceId)
  AT(GraphTrace, CUpti_ActivityGraphTrace2, graphId) AT(GraphTrace, CUpti_ActivityGraphTrace2, contextId)
  AT(GraphTrace, CUpti_ActivityGraphTrace2, streamId)
  SIZE(Api, CUpti_ActivityAPI)
  AT(Api, CUpti_ActivityAPI, cbid) AT(Api, CUpti_ActivityAPI, start) AT(Api, CUpti_ActivityAPI, end)
  AT(Api, CUpti_ActivityAPI, threadId) AT(Api, CUpti_ActivityAPI, correlationId)
  AT(Api, CUpti_ActivityAPI, returnValue)
  return 0;
}
EOF
  gcc "$@" -I"$crt" layout.c -o layout
  ./layout >"$here/offsets-$version.txt"
}
print 12.9 CUpti_ActivityKernel9 CUpti_ActivityMemcpy6 CUpti_ActivityMemset4 CUpti_ActivityCudaEvent2 \
  -Invidia_cuda_cupti_cu12/nvidia/cuda_cupti/include -Invidia_cuda_runtime_cu12/nvidia/cuda_runtime/include
print 13.5 CUpti_ActivityKernel13 CUpti_ActivityMemcpy7 CUpti_ActivityMemset5 CUpti_ActivityCudaEvent3 \
  -Invidia_cuda_cupti/nvidia/cu13/include -Invidia_cuda_runtime/nvidia/cu13/include
