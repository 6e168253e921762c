#!/usr/bin/env bash
# tfdl without Bazel: ./tfdl.sh VERB --flag=value ..., or ./tfdl.sh test [files].
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
python=$(bash "$root/third_party/bazel/venv.sh")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if [ "${1:-}" = test ]; then
  shift
  exec "$python" "$root/tests/run_all.py" "$@"
fi
exec "$python" -m tfdl.cli "$@"
