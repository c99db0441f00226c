#!/usr/bin/env bash
# The official SDKs as judges of the fakes: run.sh DIRECTORY, where they are installed once. Exit
# status 77 says that there is no Node or no registry to have them from.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
skip() {
  echo "skipped: $*"
  exit 77
}

command -v node >/dev/null && command -v npm >/dev/null || skip "there is no node and npm here"
[ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] ||
  skip "the SDKs want Node 20 or later, and this is $(node --version)"

mkdir -p "$1"
cd "$1"
if ! cmp -s "$here/package-lock.json" installed; then
  rm -f installed
  cp "$here/package.json" "$here/package-lock.json" .
  timeout -k 5 90 npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1 ||
    skip "npm does not install the SDKs: $(grep -m 1 -i error npm.log || tail -n 1 npm.log)"
  cp package-lock.json installed
fi
cp "$here"/*.mjs .
# What a user has set for their own work would change what the SDKs send.
unset "${!ANTHROPIC_@}" "${!OPENAI_@}"
AGENTHOST_SUPPORT=$(dirname "$here") exec timeout -k 5 100 node --test ./*.test.mjs
