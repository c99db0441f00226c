#!/usr/bin/env bash
# Installs what the tests need, builds, and passes all tests. For a fresh Debian 12 machine, as root
# or with sudo; can be run again.
#
#   tests/run.sh             build into build/ and run every test
#   tests/run.sh -L unit     any arguments go to ctest
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "Packages"
. tests/support/packages.sh
install_packages build tests

say "Build (into build/)"
cmake -S . -B build -G Ninja -DAGENTHOST_TESTS=ON -DAGENTHOST_WERROR=ON
cmake --build build

say "Tests"
ctest --test-dir build --output-on-failure -j 2 "$@"
