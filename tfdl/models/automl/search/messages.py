"""What a pool and its workers say to each other: JSON, through a pipe."""

import json
from multiprocessing.connection import Connection
from typing import Any

from tfdl.models.automl.search import packing


def send(pipe: Connection, kind: str, content: Any = None) -> None:
    """Sends a message.

    Args:
        pipe: the other end reads it with `receive`.
        kind: what it is: `"setup"` or `"train"`; `"ready"`, `"refused"`, `"report"`,
            `"result"` or `"error"`.
        content: plain values and numpy's.

    Raises:
        OSError: nobody reads.
    """
    pipe.send_bytes(json.dumps([kind, content], default=packing.plain).encode())


def receive(pipe: Connection) -> tuple[str, Any]:
    """Returns the next message.

    Raises:
        EOFError: the other end is closed.
    """
    kind, content = json.loads(pipe.recv_bytes())
    return kind, content
