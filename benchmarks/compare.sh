#!/usr/bin/env bash
# Headway and its peers on this machine, one after the other, with the peers' own harness.
#
#   benchmarks/compare.sh prepare PEERS              make every virtual environment (once; needs the network)
#   benchmarks/compare.sh PEERS OUT [driver options] measure; OUT.jsonl and OUT.md are written
#
# PEERS is the directory with driver.py. Driver options are its own: --only throughput,latency --runs 3 --n 20000.
# Environment: BENCH (~/.cache/headway-bench) holds environments, data and logs; SYSTEMS names whom to measure, e.g.
# SYSTEMS="headway huey:sqlitefull". Needs Debian's redis-server, postgresql and wrk, and node for Restate.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export BENCH=${BENCH:-$HOME/.cache/headway-bench}
SYSTEMS=${SYSTEMS:-headway:default headway:wire headway:pg headway:pg2 pgqueuer:b100 huey:sqlitefull taskiq:stream dbos:sqlite dbos:pg procrastinate:c50 saq:pg oban:c100 restate:default}

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }

prepare() {
  mkdir -p "$BENCH/logs" "$BENCH/work"
  for peer in $(tr ' ' '\n' <<<"$SYSTEMS" | cut -d: -f1 | uniq); do
    if [ "$peer" = headway ]; then headway_venv; else "$peers/venv.sh" "$peer"; fi >"$BENCH/logs/venv-$peer.log" 2>&1 \
      && echo "ready: $peer" || echo "FAILED: $peer, see $BENCH/logs/venv-$peer.log"
  done
}

# Headway is installed as its users do, from this checkout as it stands.
headway_venv() {
  local venv=$BENCH/venvs/headway
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return 1
  "$venv/bin/pip" install -q psutil && "$venv/bin/pip" install -q --upgrade --force-reinstall --no-deps "$here/.." \
    && "$venv/bin/pip" install -q "$here/..[postgres]"
}

measure() {
  local peer=${1%%:*} variant=${1#*:}
  shift
  if [ "$peer" = headway ]; then
    PYTHONPATH=$here:$peers BENCH_VARIANT=$variant BENCH_BOARD=/dev/shm/bench-board-headway-$variant \
      "$BENCH/venvs/headway/bin/python" "$peers/driver.py" p_headway "$variant" "$@"
  else
    "$peers/run.sh" "$peer:$variant" "$@"
  fi
}

[ $# -ge 2 ] || usage
if [ "$1" = prepare ]; then peers=$(cd "$2" && pwd) || exit 2; prepare; exit; fi
peers=$(cd "$1" && pwd) || exit 2
out=$2
shift 2
mkdir -p "$BENCH/logs" "$BENCH/work"
"$peers/services.sh" start || echo "PostgreSQL or Redis did not start: their peers will fail" >&2
: >"$out.jsonl"
for system in $SYSTEMS; do
  echo "$(date +%H:%M:%S) $system" >&2
  measure "$system" "$@" 2>>"$BENCH/logs/compare.log" | tee -a "$out.jsonl" >/dev/null
  [ "${PIPESTATUS[0]}" = 0 ] || echo "FAILED: $system, see $BENCH/logs/compare.log" >&2
done
"$peers/services.sh" stop
"${PYTHON:-python3}" "$here/report.py" --compare "$out.jsonl" | tee "$out.md"
