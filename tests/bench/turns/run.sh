#!/bin/sh
# Measures what a long conversation costs beside the model; see README.md.
#   tests/bench/turns/run.sh [agenthost binary] [turns] [context window, in tokens]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
agenthost=$(realpath "${1:-$here/../../../build/agenthost}")
XDG_STATE_HOME=$(mktemp -d "${TMPDIR:-/tmp}/agenthost-bench.XXXXXX")
trap 'rm -rf "$XDG_STATE_HOME"' EXIT
trap 'exit 130' INT TERM
export XDG_STATE_HOME
"$agenthost" "$here/run.lua" "${2:-5000}" "${3:-200000}"
