#!/usr/bin/env bash
# Records a real vLLM prefill (PP=2) and decode pair on GPUs with kvpath-agent and checks every hand-off against a witness
# that logs NIXL calls from inside vLLM's processes.
#
#   PAIR=DIR/pd.sh AGENT=kvpath-agent vllm_handoff.sh OUT
#
# PAIR starts both servers and sends requests; it is called as `pd.sh OUTDIR 2` and must honour WITNESS_DIR (columns of the
# witness: tests/fixtures/PROVENANCE.md), SPECS (prompt lengths) and CONC (requests at once). Needs root, three GPUs, pyarrow.
# Without GPUs it says `skipped` and exits with 77.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?folder for the results}
agent=${AGENT:?path of kvpath-agent}
pair=${PAIR:?path of the script that runs the pair}
if [ "$(nvidia-smi -L 2>/dev/null | wc -l)" -lt 3 ]; then
  echo "skipped: three GPUs are needed"
  exit 77
fi
mkdir -p "$out/witness"
"$agent" doctor || true
"$agent" record --out "$out/run" >"$out/agent.log" 2>&1 &
recorder=$!
WITNESS_DIR=$out/witness "$pair" "$out/pair" 2 || echo "the pair failed ($?)"
rss=$(awk '/VmHWM/{print $2}' "/proc/$recorder/status")
ticks=$(awk '{print $14 + $15}' "/proc/$recorder/stat")
seconds=$(ps -o etimes= -p "$recorder")
kill -INT "$recorder"
wait "$recorder" && echo "agent: exit code 0"
tail -n 3 "$out/agent.log"
awk -v rss="$rss" -v ticks="$ticks" -v s="$seconds" -v hz="$(getconf CLK_TCK)" \
  'BEGIN { printf "agent: peak RSS %.1f MB, %.2f %% of a core over %d s\n", rss / 1024, 100 * ticks / hz / s, s }'
python3 "$here/check_witness.py" "$out/run" "$out/witness"
