"""Runs every test file in a process of its own, two at a time.

Distribution strategies cannot be set up twice in a process. The last line counts
the tests: `N passed, N failed`.
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(path: pathlib.Path) -> tuple[pathlib.Path, int, str, float]:
    """Runs pytest on one file."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return path, done.returncode, done.stdout + done.stderr, time.monotonic() - start


def main() -> int:
    """Runs the files given, or all; returns the exit code."""
    given = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]]
    paths = sorted(given or (ROOT / "tests").rglob("test_*.py"))
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    broken = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, code, output, seconds in pool.map(run, paths):
            summary = output.strip().splitlines()[-1] if output.strip() else ""
            for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", summary):
                totals["failed" if word == "error" else word] += int(count)
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f"{'ok' if code == 0 else 'FAILED':<7}{seconds:6.1f} s  {name}")
            if code:
                print(output)
                broken += 1
                if "failed" not in summary and "error" not in summary:
                    totals["failed"] += 1
            sys.stdout.flush()
    skipped = f", {totals['skipped']} skipped" if totals["skipped"] else ""
    print(f"{totals['passed']} passed, {totals['failed']} failed{skipped}")
    return 1 if broken or not totals["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
