"""A load generator: HTTP connections that ask as fast as they are answered."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence

import numpy as np


class Load:
    """What many clients saw.

    Args:
        host: of the server.
        port: of the server.
        path: what is posted to.
        bodies: the requests, asked one after the other, round and round.
        check: is given (body number, parsed answer); an exception is a failure.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        bodies: Sequence[bytes],
        check: Callable[[int, dict], None] | None = None,
    ):
        self._where, self._check = (host, port), check
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json"
        self._requests = [
            f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            for body in bodies
        ]
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._next = 0

    def once(self, clients: int) -> None:
        """Asks every request once."""
        self.seconds, self.failures, self._next = [], [], 0
        asyncio.run(self._all(clients, float("inf"), len(self._requests)))

    def run(self, clients: int, seconds: float) -> dict:
        """Asks for some seconds; returns rate and latency in milliseconds."""
        self.seconds, self.failures = [], []
        start = time.perf_counter()
        asyncio.run(self._all(clients, start + seconds))
        elapsed = time.perf_counter() - start
        millis = np.array(self.seconds or [np.nan]) * 1e3
        return {
            "requests": len(self.seconds),
            "per_second": round(len(self.seconds) / elapsed, 1),
            "p50_ms": round(float(np.percentile(millis, 50)), 1),
            "p99_ms": round(float(np.percentile(millis, 99)), 1),
            "failures": len(self.failures),
        }

    async def _all(self, clients: int, end: float, last: float = float("inf")) -> None:
        await asyncio.gather(*(self._client(end, last) for _ in range(clients)))

    async def _client(self, end: float, last: float) -> None:
        reader = writer = None
        while time.perf_counter() < end and self._next < last:
            at = self._next % len(self._requests)
            self._next += 1
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(*self._where)
                start = time.perf_counter()
                writer.write(self._requests[at])
                status, body = await _answer(reader)
                self.seconds.append(time.perf_counter() - start)
                if status != 200:
                    raise ValueError(f"{status}: {body[:200]!r}")
                if self._check:
                    self._check(at, json.loads(body))
            except (OSError, ValueError, AssertionError, EOFError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                writer = None
        if writer is not None:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return int(head[9:12]), await reader.readexactly(length)
