#!/usr/bin/env bash
# Prints the Python of a virtual environment that holds requirements.txt and
# requirements-dev.txt; makes it first if it is not there. All else goes to stderr.
#
#   TFDL_VENV        use this environment as it is
#   TFDL_PYTHON      make it with this Python (default: the first of 3.10 to 3.13)
#   XDG_CACHE_HOME   it goes to $XDG_CACHE_HOME/tfdl (default: ~/.cache/tfdl)
set -euo pipefail
# Modules from elsewhere would count as installed.
unset PYTHONPATH PYTHONHOME

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=$(cd "$here/../.." && pwd)
. "$here/apt.sh"

fail() {
  echo "error: $*" >&2
  exit 1
}

if [ -n "${TFDL_VENV:-}" ]; then
  [ -x "$TFDL_VENV/bin/python" ] || fail "TFDL_VENV=$TFDL_VENV has no bin/python"
  echo "$TFDL_VENV/bin/python"
  exit 0
fi

# Sets python and version to the first supported of the commands given.
choose_python() {
  local test='import sys; v = sys.version_info[:2]
print("%d.%d" % v) if (3, 10) <= v <= (3, 13) else sys.exit(1)'
  for python; do
    version=$("$python" -c "$test" 2>/dev/null) && return 0
  done
  return 1
}

if [ -n "${TFDL_PYTHON:-}" ]; then
  choose_python "$TFDL_PYTHON" || fail "TFDL_PYTHON=$TFDL_PYTHON is not a Python 3.10 to 3.13"
else
  known=(python3 python3.13 python3.12 python3.11 python3.10)
  choose_python "${known[@]}" || { apt_install python3 python3-venv && choose_python python3; } ||
    fail "Python 3.10 to 3.13 is needed: install it, and name it with TFDL_PYTHON if it is not on PATH"
fi

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
cache=${XDG_CACHE_HOME:-$home/.cache}/tfdl
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] ||
  fail "cannot write to $cache; set XDG_CACHE_HOME to a folder with 4 GB of room"
key=$(cat "$root/requirements.txt" "$root/requirements-dev.txt" | sha256sum | cut -c1-12)
venv=$cache/venv-$version-$key

# The mark comes last; a Python that was upgraded or removed leaves a dead link.
ready() {
  [ -e "$venv/.complete" ] && [ -x "$venv/bin/python" ]
}

make_venv() {
  rm -rf "$venv"
  "$python" -m venv "$venv" >/dev/null 2>&1
}

install() {
  local quiet=--quiet
  [ -t 2 ] && quiet=
  "$venv/bin/python" -m pip install $quiet --disable-pip-version-check \
    -r "$root/requirements.txt" -r "$root/requirements-dev.txt" >&2 </dev/null
}

if ! ready; then
  # Two commands at once must not both install.
  exec 9>"$venv.lock"
  flock --nonblock 9 || { echo "waiting for another set-up of $venv" >&2 && flock 9; }
fi
if ! ready; then
  echo "setting up Python $version in $venv (once, some minutes)" >&2
  trap 'rm -rf "$venv"' EXIT
  make_venv || { apt_install python3-venv && make_venv; } ||
    fail "$python cannot make virtual environments: install it with venv and pip (apt-get install python3-venv)"
  install || fail "pip could not install requirements.txt and requirements-dev.txt"
  touch "$venv/.complete"
  trap - EXIT
fi
echo "$venv/bin/python"
