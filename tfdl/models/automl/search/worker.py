"""A worker: a process that trains one child after the other.

It is started by a pool with the number of its pipe, makes its children once (what is
compiled for the first serves all), and ends when the pipe is closed.
"""

import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.search import messages


def create(config: Mapping[str, Any]) -> Any:
    """Returns the children of a configuration.

    Raises:
        UserError: they cannot be made, for whatever reason, in one line.
    """
    try:
        from tfdl.models.automl import children

        return children.create(config)
    except errors.UserError:
        raise
    except Exception as error:
        raise errors.UserError(
            f"children {config.get('name')!r} cannot be made: {told(error)}"
        ) from error


def told(error: BaseException) -> str:
    """Returns an error in one line of bounded length."""
    if isinstance(error, errors.UserError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main(descriptor: int) -> None:
    """Trains what comes through a pipe until it is closed."""
    # Ctrl-C reaches every process of a terminal; the pool decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(descriptor)
    orders: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, orders), daemon=True).start()
    _, setup = orders.get()
    try:
        children = create(setup["children"])
    except errors.UserError as error:
        messages.send(pipe, "refused", str(error))
        return
    messages.send(pipe, "ready")
    while True:
        _, (arch, seed) = orders.get()
        try:
            result = children.train(
                tuple(arch), seed, lambda values: messages.send(pipe, "report", values)
            )
            messages.send(pipe, "result", result)
        except BrokenPipeError:
            return
        except Exception as error:
            messages.send(pipe, "error", told(error))


def _listen(pipe: Connection, orders: queue.SimpleQueue) -> None:
    """Reads orders; the end of the pool is the end of the process, whatever it does."""
    try:
        while True:
            orders.put(messages.receive(pipe))
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
