#!/usr/bin/env bash
# Installs what agenthost needs, builds it, and runs its main job on a scripted model: no key, no
# network beyond Debian's packages. For a fresh Debian 12 machine, as root or with sudo; can be run
# again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "1. Packages that agenthost is built from"
. tests/support/packages.sh
install_packages build

say "2. Build (into build/)"
cmake -S . -B build -G Ninja -DAGENTHOST_TESTS=OFF >/dev/null
cmake --build build

say "3. An agent that works while its commands run"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "agent: examples/background.lua, model: examples/background_model.lua, directory: $work"
build/agenthost examples/background.lua --cwd "$work"
echo
echo "what it wrote meanwhile:"
sed 's/^/  /' "$work/notes.txt"

cat <<'END'

== Done. Next:
  build/agenthost                       talk to it (without a key a small script answers)
  ANTHROPIC_API_KEY=... build/agenthost    the same with a real model
  examples/README.md                    a first agent, a first tool
END
