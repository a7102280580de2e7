#!/bin/bash
# Whether a program that copies and records events from several threads, as UCX's cuda_ipc does, survives being recorded: at each level,
# attached to from the start or later, recordings one after another, levels switched. Prints a table; exits with 1 where the program
# failed, 2 where something that is needed is missing.
#
# usage: tests/gpu/events.sh AGENT [SECONDS] [THREADS] [IN_FLIGHT]
#   AGENT   kvpath-agent, with libkvpath_inject.so beside it
set -u
agent=$(realpath "${1:?kvpath-agent}") seconds=${2:-40} threads=${3:-4} in_flight=${4:-2000}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v nvcc >/dev/null || { echo "events: no nvcc" >&2; exit 2; }
nvcc -O2 -o "$work/events" "$here/events.cu" -lcuda || exit 2
failed=0
said() { # NAME CODE
  printf '| %s | %s | %s | %s |\n' "$1" "$2" "$(tail -n 1 "$work/$1.out")" "$(tail -n 1 "$work/$1.log" 2>/dev/null)"
  [ "$2" = 0 ] || { failed=1; tail -n 12 "$work/$1.out" >&2; }
}
early() { # NAME LEVEL
  "$agent" record --gpu "$2" --out "$work/run-$1" -- "$work/events" "$seconds" "$threads" "$in_flight" >"$work/$1.out" 2>"$work/$1.log"
  said "$1" $?
}
late() { # NAME LEVEL TIMES PAUSE [off]
  eval "$("$agent" env --gpu off)"
  "$work/events" "$seconds" "$threads" "$in_flight" >"$work/$1.out" 2>&1 &
  local program=$! n
  sleep 2
  for n in $(seq "$3"); do
    "$agent" record --gpu "$2" --out "$work/run-$1-$n" >"$work/$1.log" 2>&1 &
    local recording=$!
    sleep "$4"
    kill -INT $recording; wait $recording
    [ "${5:-}" = off ] && "$agent" level all off >/dev/null 2>&1
    kill -0 $program 2>/dev/null || break
  done
  wait $program
  said "$1" $?
  unset CUDA_INJECTION64_PATH NVTX_INJECTION64_PATH
}
echo "| arm | exit code | program | agent |"
echo "|---|---|---|---|"
"$work/events" 5 "$threads" "$in_flight" >"$work/nothing.out" 2>&1; said nothing $?
early early-kernel kernel
early early-launch launch
late late-kernel kernel 1 $((seconds - 8))
late late-launch launch 1 $((seconds - 8))
late late-launch-again launch $(((seconds - 6) / 4)) 3
late late-launch-switched launch $(((seconds - 6) / 4)) 3 off
exit $failed
