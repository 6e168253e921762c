"""Runs one test file under Bazel; its report goes where Bazel wants it."""

import os
import sys

import pytest

if __name__ == "__main__":
    # The folder of this file, which Python puts first, would show `tests/text` as
    # `text`.
    del sys.path[0]
    arguments = ["-q", "-p", "no:cacheprovider", *sys.argv[1:]]
    if "XML_OUTPUT_FILE" in os.environ:
        arguments.append(f"--junitxml={os.environ['XML_OUTPUT_FILE']}")
    if "TEST_TMPDIR" in os.environ:
        arguments.append(f"--basetemp={os.environ['TEST_TMPDIR']}/pytest")
    if "TESTBRIDGE_TEST_ONLY" in os.environ:  # bazel test --test_filter=...
        arguments += ["-k", os.environ["TESTBRIDGE_TEST_ONLY"]]
    sys.exit(pytest.main(arguments))
