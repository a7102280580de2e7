#!/bin/bash
# What each kind of CUPTI record costs by itself: the bare client of floor.c with one set of kinds after another, on kernels
# of 1 us in CUDA graphs of 100, 1000 and 5000 nodes and launched one by one. Prints medians of interleaved rounds.
#
# usage: tests/gpu/kinds.sh [ROUNDS] [N]
set -u
rounds=${1:-5} n=${2:-50000}
. "$(dirname "$0")/toolkit.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build_floor "$work/floor.so" && build_small "$work/small" || exit 2
# NAME KINDS FLUSH_MS; kinds as CUpti_ActivityKind numbers: 1 memcpy, 2 memset, 10 kernel, 22 peer copy, 51 graph
arms="nothing:-:0 loaded:0:100 loaded-unflushed:0:0 graph:51:100 graph-unflushed:51:0 copies:1,22,2:100 graph+copies:51,1,22,2:100
 graph+kernel:51,10:100 kernel+graph:10,51:100 kernel:10:100 kernel+copies:10,1,22,2:100 kernel+copies-20ms:10,1,22,2:20"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1
echo "libcupti: $library; $rounds rounds of $n kernels"
for _ in $(seq "$rounds"); do
  for arm in $arms; do
    IFS=: read -r name kinds flush <<<"$arm"
    for nodes in 100 1000 5000; do
      if [ "$name" = nothing ]; then
        line=$("$work/small" "$n" "$nodes")
      else
        line=$(FLOOR_KINDS=$kinds FLOOR_FLUSH_MS=$flush CUDA_INJECTION64_PATH=$work/floor.so "$work/small" "$n" "$nodes")
      fi || { echo "WRONG: $name fails" >&2; exit 1; }
      echo "$name $nodes $line" >>"$work/all"
    done
  done
done
median() { awk -v arm="$1" -v nodes="$2" -v at="$3" '$1 == arm && (!nodes || $2 == nodes) { print $at }' "$work/all" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "| kinds | eager, ns a kernel | graphs of 100 | of 1000 | of 5000 |"
echo "|---|---|---|---|---|"
for arm in $arms; do
  name=${arm%%:*}
  echo "| $name | $(median "$name" 0 4) | $(median "$name" 100 6) | $(median "$name" 1000 6) | $(median "$name" 5000 6) |"
done
