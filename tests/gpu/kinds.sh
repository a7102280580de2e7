#!/bin/bash
# What each kind of CUPTI record costs by itself, attached within cuInit or after the context: the bare client of floor.c with
# one set of kinds after another, on kernels of 1 us one by one and in CUDA graphs of 1000 nodes, and on copies of 64 KiB.
# Prints medians of interleaved rounds, and how many records came.
#
# usage: tests/gpu/kinds.sh [ROUNDS] [N] [ARM ...]    ARM: NAME:KINDS:LATE_MS:FLUSH_MS, see floor.c
set -u
rounds=${1:-5} n=${2:-20000}
shift $(($# < 2 ? $# : 2))
. "$(dirname "$0")/toolkit.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build_floor "$work/floor.so" && build_small "$work/small" || exit 2
# Kinds: 1 memcpy, 2 memset, 10 kernel, 22 peer copy, 51 graph. The context is there 250 ms after cuInit began, and is left
# alone for 300 ms then.
arms=("$@")
[ ${#arms[@]} -gt 0 ] || arms=(early-idle:0:0:50 idle:0:350:50 early-graph:51:0:50 graph+kernel:51,10:0:50 early-kernel:10:0:50
  kernel:10:350:50 copies:1,22,2:350:50 early-kernel+copies:10,1,22,2:0:50 kernel+copies:10,1,22,2:350:50
  kernel+copies-unflushed:10,1,22,2:350:0 kernel+copies-20ms:10,1,22,2:350:20 kernel+copies-200ms:10,1,22,2:350:200)
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1
echo "libcupti: $library; $rounds rounds of $n"
for _ in $(seq "$rounds"); do
  echo "nothing $("$work/small" "$n") -" >>"$work/all"
  for arm in "${arms[@]}"; do
    IFS=: read -r name kinds late flush <<<"$arm"
    line=$(FLOOR_KINDS=$kinds FLOOR_LATE_MS=$late FLOOR_FLUSH_MS=$flush FLOOR_OUT=$work/counts \
      CUDA_INJECTION64_PATH=$work/floor.so "$work/small" "$n") || { echo "WRONG: $name fails" >&2; exit 1; }
    echo "$name $line $(cat "$work/counts")" >>"$work/all"
  done
done
median() { awk -v arm="$1" -v at="$2" '$1 == arm { print $at }' "$work/all" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "| kinds | eager, ns a kernel | graph, ns a kernel | ns a copy | records |"
echo "|---|---|---|---|---|"
for name in nothing "${arms[@]%%:*}"; do
  echo "| $name | $(median "$name" 3) | $(median "$name" 5) | $(median "$name" 7) | $(awk -v arm="$name" '$1 == arm { $1 = $2 = $3 = $4 = $5 = $6 = $7 = $8 = $9 = ""; last = $0 } END { print last }' "$work/all" | xargs) |"
done
