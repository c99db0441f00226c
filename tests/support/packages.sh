# Debian packages by purpose, and installing those that are missing. Sourced, not run.

packages_build="cmake ninja-build gcc libc6-dev pkg-config liblua5.4-dev libcurl4-openssl-dev
  lua-cjson-dev libedit-dev libmd4c-dev ca-certificates"
packages_tests="libcmocka-dev lua-busted python3 tmux procps strace git"
packages_checks="clang libclang-rt-14-dev clang-format-14 clang-tidy-14 lua-check"

install_packages() {
  local wanted="" missing="" purpose package list
  for purpose in "$@"; do
    list=packages_$purpose
    wanted+=" ${!list}"
  done
  for package in $wanted; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
      missing+=" $package"
    fi
  done
  if [ -z "$missing" ]; then
    echo "all there"
    return 0
  fi
  if ! command -v apt-get >/dev/null; then
    echo "missing packages, and no apt-get to install them with:$missing" >&2
    return 1
  fi
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "missing packages; as root say: apt-get install$missing" >&2
      return 1
    fi
    sudo=sudo
  fi
  echo "installing:$missing"
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
    >/dev/null
}
