#!/bin/sh
# Measures what a turn costs behind a long conversation; see README.md.
#   tests/bench/history/run.sh [agenthost binary] [rounds]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
agenthost=$(realpath "${1:-$here/../../../build/agenthost}")
BENCH_DIR=$(mktemp -d "${TMPDIR:-/tmp}/agenthost-bench.XXXXXX")
trap 'rm -rf "$BENCH_DIR"' EXIT
trap 'exit 130' INT TERM
export BENCH_DIR HOME="$BENCH_DIR" no_proxy='*'
unset XDG_CONFIG_HOME XDG_STATE_HOME
${CC:-cc} -std=gnu11 -O2 -Wall -Wextra "$here/../stream/server.c" -o "$BENCH_DIR/server" -pthread
cd "$here"
python3 table.py "$agenthost" "${2:-5}"
