"""What many tests need: golden files and fresh Python processes."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = pathlib.Path(__file__).resolve().parent / "goldens"


def golden(*parts: str) -> pathlib.Path:
    """Returns the path of a file under tests/goldens."""
    path = GOLDENS.joinpath(*parts)
    assert path.exists(), path
    return path


def run_python(
    *arguments: str, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Runs a fresh Python with `arguments` in the project's root.

    Args:
        *arguments: what follows `python` (`"-c", code` or `"-m", module, ...`).
        env: variables added to the environment.
        timeout: seconds after which the process is killed.
    """
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    environment.update(env or {})
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
        cwd=ROOT,
    )


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback interface that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
