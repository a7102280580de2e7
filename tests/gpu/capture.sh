#!/bin/bash
# What recording the GPU costs and whether it is whole, on a host with an NVIDIA GPU: kernels of 1 us, eager and as a CUDA
# graph of 1000 nodes, and copies of 64 KiB. Arms, interleaved: nothing, a bare CUPTI client (floor.c), libkvpath_inject.so at each level (graph
# also with a later libcupti, which lets it attach after the context), torch alone and torch's profiler. Prints a table of medians; exits with 1 where a record is missing or wrong, 2 where something
# that is needed is not there.
#
# usage: tests/gpu/capture.sh BIN [ROUNDS] [N] [CUPTI]
#   BIN     folder with libkvpath_inject.so and ring-dump: from target/release and target/release/examples after
#           cargo build --release -p kvpath-inject -p kvpath-ring --lib --example ring-dump
#   ROUNDS  5 or more; N kernels a round, a multiple of 1000 [20000]
#   CUPTI   a libcupti of CUDA 13.2 or later
# needs: nvcc, gcc, a libcupti of nvcc's toolkit; python3 with torch for the arms of torch (left out without)
set -u
bin=$(realpath "${1:?folder with libkvpath_inject.so and ring-dump}")
rounds=${2:-5} n=${3:-20000} later=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
for file in "$bin/libkvpath_inject.so" "$bin/ring-dump"; do
  [ -f "$file" ] || { echo "capture: $file is missing" >&2; exit 2; }
done
. "$here/toolkit.sh"
work=$(mktemp -d)
rings=$(mktemp -d /dev/shm/kvpath-gpu-XXXXXX)
trap 'rm -rf "$work" "$rings"' EXIT
build_floor "$work/floor.so" && build_small "$work/small" || exit 2
torch=0
python3 -c 'import torch; torch.zeros(1, device="cuda")' 2>/dev/null && torch=1
wrong=0
say_wrong() { echo "WRONG: $*" >&2; wrong=1; }

# Each program runs 4 rounds of N kernels eager and N in graphs of 1000, and these once more. Arms that record no node of a
# graph have the latter LONG times as long, for a difference of 1 % would drown in the first launch.
all=$((12 * n)) eager=$((4 * n)) long=20 graphs=$((4 * (1 + 20) * n / 1000))
ours() { # LEVEL KERNELS GRAPHS CALLS COMMAND...
  local level=$1 kernels=$2 launches=$3 calls=$4 line dump state=recording
  [ "$level" = off ] && state="waiting for a CUDA context, or off so far"
  shift 4
  rm -f "$rings"/*.ring
  line=$(CUDA_INJECTION64_PATH=$bin/libkvpath_inject.so KVPATH_LEVEL=$level KVPATH_RING_DIR=$rings KVPATH_RING_MIB=256 "$@") \
    || say_wrong "$level: the program failed"
  dump=$("$bin/ring-dump" "$rings"/*.ring) || say_wrong "$level: the ring cannot be read"
  value() { awk -v key="$1" '$1 == key { $1 = ""; print substr($0, 2) }' <<<"$dump"; }
  [ "$(value state)" = "$state" ] || say_wrong "$level: $dump"
  [ "$(value kernels)" = "$kernels" ] || say_wrong "$level: $(value kernels) kernels, not $kernels"
  [ "$(value graph_launches)" = "$launches" ] || say_wrong "$level: $(value graph_launches) graph launches, not $launches"
  [ "$(value lost)" = 0 ] || say_wrong "$level: $dump"
  [ "$(value off_clock)" = 0 ] || say_wrong "$level: $(value off_clock) records are not on CLOCK_MONOTONIC of this run"
  [ "$(value calls)" -ge "$calls" ] || say_wrong "$level: $(value calls) calls, fewer than $calls"
  echo "$line"
}
arm() {
  case $1 in
    nothing) "$work/small" "$n" "$long" ;;
    floor)
      FLOOR_OUT=$work/floor.out CUDA_INJECTION64_PATH=$work/floor.so "$work/small" "$n"
      [[ "$(cat "$work/floor.out")" == "kernels $all "* ]] || say_wrong "floor: $(cat "$work/floor.out"), not $all kernels" ;;
    off) ours off 0 0 0 "$work/small" "$n" "$long" ;;
    graph-later) KVPATH_CUPTI=$later ours graph "$eager" "$graphs" 0 "$work/small" "$n" "$long" ;;
    graph) ours graph "$eager" "$graphs" 0 "$work/small" "$n" "$long" ;;
    kernel) ours kernel "$all" 0 0 "$work/small" "$n" ;;
    launch | deep) ours "$1" "$all" 0 "$eager" "$work/small" "$n" ;;
    torch) python3 "$here/torch_profiler.py" "$n" none ;;
    torch-profiler) python3 "$here/torch_profiler.py" "$n" profiler ;;
    # What that costs the same program when ours records it.
    torch-kernel | torch-launch)
      rm -f "$rings"/*.ring
      CUDA_INJECTION64_PATH=$bin/libkvpath_inject.so KVPATH_LEVEL=${1#torch-} KVPATH_RING_DIR=$rings KVPATH_RING_MIB=256 \
        python3 "$here/torch_profiler.py" "$n" none || say_wrong "torch fails beside ours" ;;
    # The same library under torch's profiler: neither may fail.
    torch-both)
      CUDA_INJECTION64_PATH=$bin/libkvpath_inject.so KVPATH_RING_DIR=$rings python3 "$here/torch_profiler.py" "$n" profiler \
        || say_wrong "torch's profiler fails beside ours"
      rm -f "$rings"/*.ring ;;
  esac
}
arms="nothing floor off graph ${later:+graph-later} kernel launch deep"
[ "$torch" = 1 ] && arms="$arms torch torch-profiler torch-kernel torch-launch torch-both" || echo "capture: no torch with a GPU, its arms are left out"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1
echo "libcupti: $library; $rounds rounds of $n kernels"
for round in $(seq "$rounds"); do
  # In another order each time, for what ran before may still be felt.
  for name in $(shuf -e $arms); do
    # Not in a subshell: `wrong` must be kept.
    arm "$name" >"$work/line"
    grep -q '^eager [0-9]* graph [0-9]*\( copy [0-9]* steady [0-9]*\)\?$' "$work/line" || say_wrong "$name: $(cat "$work/line")"
    echo "$name $(tail -1 "$work/line")" >>"$work/all"
  done
done
echo "| arm | eager, ns a kernel | graph, ns a kernel | least to most | graph against nothing | against the floor | ns a copy | steady graphs against nothing |"
echo "|---|---|---|---|---|---|---|---|"
median() { awk -v arm="$1" -v at="$2" '$1 == arm { print $at }' "$work/all" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
spread() { awk -v arm="$1" '$1 == arm { print $5 }' "$work/all" | sort -n | awk 'NR == 1 { least = $1 } END { print least " to " $1 }'; }
base=$(median nothing 5) floor=$(median floor 5)
for name in $arms; do
  case $name in torch*) own=$(median torch 5) ;; *) own=$base ;; esac
  awk -v n="$name" -v e="$(median "$name" 3)" -v g="$(median "$name" 5)" -v b="$own" -v f="$floor" -v c="$(median "$name" 7)" -v s="$(median "$name" 9)" -v t="$(median nothing 9)" -v r="$(spread "$name")" \
    'BEGIN { long = n ~ /^(nothing|off|graph)/ ? sprintf("%+.1f %%", 100 * (s / t - 1)) : ""
             printf "| %s | %d | %d | %s | %+.1f %% | %+.1f %% | %s | %s |\n", n, e, g, r, 100 * (g / b - 1), 100 * (g / f - 1), c, long }'
done
exit "$wrong"
