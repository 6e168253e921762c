"""Runs every test file in a process of its own, two at a time.

Distribution strategies cannot be set up twice in a process. Files and folders (all
tests by default) and pytest's own options may be given. The last line counts the
tests: `N passed, N failed`.
"""

import collections
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from tests import reports  # noqa: E402

# A file may take this many seconds.
LIMIT = 900
# pytest's exit code when no test matches, with -k say.
NOTHING_RUN = 5


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into test files (with `::names`) and pytest's options."""
    targets, options = [], []
    for argument in arguments:
        path = pathlib.Path(argument.partition("::")[0])
        if argument.startswith("-") or not path.exists():
            options.append(argument)
        elif path.is_dir():
            targets += map(str, sorted(path.rglob("test_*.py")))
        else:
            targets.append(argument)
    if not targets:
        targets = list(map(str, sorted((ROOT / "tests").rglob("test_*.py"))))
    return targets, options


def run(target: str, options: list[str]) -> tuple[str, collections.Counter]:
    """Runs pytest on one file; returns what to print and the counts."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        log = pathlib.Path(folder) / "log.txt"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}"]
        with log.open("wb") as file:
            try:
                code = subprocess.run(
                    [*command, *options, target],
                    env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=LIMIT,
                ).returncode
            except subprocess.TimeoutExpired as error:
                code = -1
                file.write(f"\n{error}\n".encode())
        output = log.read_text(encoding="utf-8", errors="replace")
        if code == NOTHING_RUN and options:
            totals = collections.Counter()
        else:
            totals = reports.count([report])
    if code not in (0, NOTHING_RUN) and not totals["failed"]:
        totals["failed"] += 1
    seconds = time.monotonic() - start
    name = os.path.relpath(target)
    line = f"{'FAILED' if totals['failed'] else 'ok':<7}{seconds:6.1f} s  {name}"
    return line + (f"\n{output}" if totals["failed"] else ""), totals


def main() -> int:
    """Runs the files given, or all; returns the exit code."""
    targets, options = split(sys.argv[1:])
    totals = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for text, counts in pool.map(lambda target: run(target, options), targets):
            print(text, flush=True)
            totals += counts
    print(reports.summary(totals))
    return int(bool(totals["failed"] or not totals["passed"]))


if __name__ == "__main__":
    sys.exit(main())
