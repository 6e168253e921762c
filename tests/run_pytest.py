"""Runs one test file under Bazel; its report goes where Bazel wants it."""

import os
import sys

import pytest

if __name__ == "__main__":
    arguments = ["-q", "-p", "no:cacheprovider", *sys.argv[1:]]
    if "XML_OUTPUT_FILE" in os.environ:
        arguments.append(f"--junitxml={os.environ['XML_OUTPUT_FILE']}")
    sys.exit(pytest.main(arguments))
