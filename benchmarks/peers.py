"""A peer: another implementation in a process and an environment of its own."""

import json
import os
import pathlib
import subprocess


class Peer:
    """Talks to a script beside this file, a JSON object per line each way.

    Args:
        python: the interpreter that has what the script imports.
        script: the file's name.
    """

    def __init__(self, python: str, script: str):
        self._process = subprocess.Popen(
            [python, str(pathlib.Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
        )

    def __call__(self, do: str, **request):
        """Sends a command and returns its answer."""
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended during {do!r}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
