#!/bin/sh
# Measures agenthost's task runner next to other ways to run commands; see README.md.
#   tests/bench/tasks/run.sh [agenthost binary] [rounds]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
agenthost=$(realpath "${1:-$here/../../../build/agenthost}")
# In memory, because making 2,000 files on a busy disk costs more than what is measured.
[ -d /dev/shm ] && TMPDIR=${TMPDIR:-/dev/shm}
BENCH_DIR=$(mktemp -d "${TMPDIR:-/tmp}/agenthost-bench.XXXXXX")
trap 'rm -rf "$BENCH_DIR"' EXIT
trap 'exit 130' INT TERM
STAMP=$BENCH_DIR/stamp
XDG_STATE_HOME=$BENCH_DIR/out
mkdir "$XDG_STATE_HOME"
export BENCH_DIR STAMP XDG_STATE_HOME
cc=${CC:-cc}
$cc -std=gnu11 -O2 -Wall -Wextra "$here/stamp.c" -o "$STAMP"
$cc -std=gnu11 -O2 -Wall -Wextra "$here/spawn_epoll.c" -o "$BENCH_DIR/spawn_epoll"
cd "$here"
python3 table.py "$agenthost" "${2:-5}"
