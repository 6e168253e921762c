#!/usr/bin/env bash
# Prints the Python of a virtual environment that holds requirements.txt and
# requirements-dev.txt; makes it first if it is not there. All else goes to stderr.
#
#   TFDL_VENV    use this environment as it is
#   TFDL_PYTHON  make it with this Python (default: python3)
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
if [ -n "${TFDL_VENV:-}" ]; then
  echo "$TFDL_VENV/bin/python"
  exit 0
fi

python=${TFDL_PYTHON:-python3}
if ! version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
  echo "error: $python is needed (Python 3.10 to 3.13)" >&2
  exit 1
fi
case $version in
  3.10 | 3.11 | 3.12 | 3.13) ;;
  *)
    echo "error: Python $version is not supported by TensorFlow 2.21; install 3.10 to 3.13 and set TFDL_PYTHON" >&2
    exit 1
    ;;
esac

home=${HOME:-$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6)}
cache=${XDG_CACHE_HOME:-${home:-/tmp}/.cache}/tfdl
key=$(cat "$root/requirements.txt" "$root/requirements-dev.txt" | sha256sum | cut -c1-12)
venv=$cache/venv-$version-$key
mkdir -p "$cache"

# Two commands at once must not both install.
exec 9>"$cache/lock"
flock 9

if [ ! -e "$venv/.complete" ]; then
  echo "setting up Python $version in $venv (once; TensorFlow is large)" >&2
  rm -rf "$venv"
  if ! "$python" -m venv "$venv" >&2 2>/dev/null; then
    rm -rf "$venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      { apt-get update -q && apt-get install -y -q python3-venv; } >&2
      "$python" -m venv "$venv" >&2
    else
      echo "error: $python cannot make a virtual environment; install python3-venv" >&2
      exit 1
    fi
  fi
  if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r "$root/requirements.txt" -r "$root/requirements-dev.txt" >&2; then
    rm -rf "$venv"
    echo "error: pip could not install requirements.txt (see above)" >&2
    exit 1
  fi
  touch "$venv/.complete"
fi
echo "$venv/bin/python"
