"""Counts the tests in JUnit reports: `N passed, N failed`.

python -m tests.reports REPORT.xml ...
"""

import collections
import pathlib
import sys
import xml.etree.ElementTree
from collections.abc import Iterable


def count(paths: Iterable[str | pathlib.Path]) -> collections.Counter:
    """Adds up what the reports say under `passed`, `failed` and `skipped`.

    A report that is missing, cut short or empty is one failure: its process died, or
    ran nothing.
    """
    totals = collections.Counter()
    for path in paths:
        try:
            cases = list(xml.etree.ElementTree.parse(path).iter("testcase"))
        except (OSError, xml.etree.ElementTree.ParseError):
            cases = []
        for case in cases:
            outcomes = {child.tag for child in case}
            if outcomes & {"failure", "error"}:
                totals["failed"] += 1
            else:
                totals["skipped" if "skipped" in outcomes else "passed"] += 1
        if not cases:
            totals["failed"] += 1
    return totals


def summary(totals: collections.Counter) -> str:
    """Returns the line that ends a test run."""
    line = f"{totals['passed']} passed, {totals['failed']} failed"
    return line + (f", {totals['skipped']} skipped" if totals["skipped"] else "")


if __name__ == "__main__":
    found = count(sys.argv[1:])
    print(summary(found))
    sys.exit(bool(found["failed"] or not found["passed"]))
