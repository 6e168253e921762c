"""Errors of the serving protocol: canonical codes, in gRPC's and in HTTP's terms."""

import enum
import re

import tensorflow as tf


class Code(enum.IntEnum):
    """The canonical status codes, numbered as gRPC and TensorFlow number them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# As TensorFlow Serving answers over HTTP.
HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class StatusError(Exception):
    """A request cannot be answered; carries the code and the message."""

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code, self.message = code, message


def invalid(message: str) -> StatusError:
    """Returns an INVALID_ARGUMENT error."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def from_exception(error: BaseException) -> StatusError:
    """Returns any exception as a status, without Python's or the graph's traces."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return StatusError(Code(error.error_code), _clean(error.message))
    if isinstance(error, MemoryError):
        return StatusError(Code.RESOURCE_EXHAUSTED, "out of memory")
    name = type(error).__name__
    return StatusError(Code.INTERNAL, f"{name}: {_clean(str(error))}")


def _clean(message: str) -> str:
    """Strips what TensorFlow adds to a kernel's message."""
    message = message.split("<stack traces unavailable>\n")[-1]
    message = re.sub(r"\{\{function_node [^}]*\}\} ?", "", message)
    message = re.split(r"\s*\[\[\{\{node|\s*\[Op:", message)[0]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines)[:1000]
