"""Training runs in processes of their own: started, waited for, killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from tests.helpers import ROOT


def start(
    recipe: pathlib.Path, workdir: pathlib.Path, *flags: str, **env: str
) -> subprocess.Popen:
    """Starts `tfdl train` on a recipe; `env` is added to the environment."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tfdl.cli", "train"),
            *(f"--config={recipe}", f"--workdir={workdir}", *flags),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, timeout: float = 560) -> tuple[dict, str]:
    """Waits for a run that has to succeed; returns its metrics and what it said."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1]), err


def kill_at(
    process: subprocess.Popen, workdir: pathlib.Path, step: int, timeout: float = 500
) -> None:
    """Kills a run with -9 once the checkpoint of a step is there."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        if (workdir / "checkpoints" / f"ckpt-{step}.json").exists():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (workdir / "model").exists()
