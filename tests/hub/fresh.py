"""Modules at work: static servers and processes that do not know tfdl."""

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading

from tests.helpers import ROOT
from tfdl import publish


class _Static(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def static_server(folder):
    """Serves a folder as `python -m http.server` does; yields the address."""
    handler = functools.partial(_Static, directory=str(folder))
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


@contextlib.contextmanager
def running(server):
    """Runs a server in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_verb(*arguments):
    """Runs `tfdl publish` in this process; returns its exit code."""
    publish.FLAGS.unparse_flags()  # what an earlier call gave
    return publish.main(["publish", *arguments])


def run_without_tfdl(script, *arguments, cache, text=""):
    """Runs a script of the project without the project on its path."""
    path = [entry for entry in sys.path if entry and not _has_tfdl(entry)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "TFHUB_CACHE_DIR": str(cache),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        cwd=cache,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _has_tfdl(entry):
    # Site packages may hold it as well, with all that the script needs.
    return os.path.isdir(os.path.join(entry, "tfdl")) and not os.path.isdir(
        os.path.join(entry, "tensorflow")
    )
