#!/bin/sh
# Two builds of agenthost in turn, in each measurement and round: medians of both. See README.md.
#   tests/bench/tasks/versions.sh OLD-BINARY NEW-BINARY [rounds]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ -d /dev/shm ] && TMPDIR=${TMPDIR:-/dev/shm}
BENCH_DIR=$(mktemp -d "${TMPDIR:-/tmp}/agenthost-bench.XXXXXX")
trap 'rm -rf "$BENCH_DIR"' EXIT
trap 'exit 130' INT TERM
STAMP=$BENCH_DIR/stamp
XDG_STATE_HOME=$BENCH_DIR/out
HOME=$BENCH_DIR
export BENCH_DIR STAMP XDG_STATE_HOME HOME
${CC:-cc} -std=gnu11 -O2 -Wall -Wextra "$here/stamp.c" -o "$STAMP"
python3 "$here/versions.py" "$(realpath "$1")" "$(realpath "$2")" "${3:-5}"
