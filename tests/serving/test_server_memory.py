"""What versions that are gone leave behind: nothing."""

import concurrent.futures
import itertools
import threading
import time
import weakref

from tensorflow_serving.apis import model_pb2

from tests.serving import servers
from tfdl.serving import manager, metrics, server
from tfdl.serving.batching import Batching

SIGNATURES = ("serving_default", "words")


class Stand:
    """Stands for a version in memory."""

    def __init__(self, version):
        self.version = version


def test_at_most_two_versions_are_held(tmp_path):
    """Versions that come faster than they load do not pile up."""
    held, most, stop = weakref.WeakSet(), [], threading.Event()
    numbers = itertools.count(2)

    def load(name, version, path):
        del name, path
        made = Stand(version)
        held.add(made)
        most.append(len(held))
        # The next version is there before this one is loaded.
        if version < 8:
            (tmp_path / str(next(numbers))).mkdir()
        return made

    (tmp_path / "1").mkdir()
    options = manager.Options(file_system_poll_wait_seconds=0.01)
    manager_ = manager.Manager(load, options, metrics.Metrics(), lambda ready: None)
    manager_.start([servers.config("m", tmp_path)])

    def ask():
        seen = []
        while not stop.is_set():
            with manager_.borrow(model_pb2.ModelSpec(name="m")) as servable:
                seen.append(servable.version)
                time.sleep(0.005)
            del servable
        return seen

    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            newest = manager.State.AVAILABLE
            servers.wait_for(lambda: manager_.states("m")[0][:2] == (8, newest))
            servers.wait_for(lambda: len(held) == 1)
            stop.set()
            for future in asking:
                seen = future.result()
                assert seen == sorted(seen) and seen[-1] == 8
    finally:
        stop.set()
        manager_.stop()
    assert len(most) == 8 and max(most) == 2
    ends = {state for version, state, _ in manager_.states("m") if version < 8}
    assert ends == {manager.State.END}


def test_a_version_is_freed_when_unloaded(tmp_path, monkeypatch):
    """Nothing keeps an old version's graph: no thread, batch, metric or collector."""
    held = []
    load = server.Server._load

    def watched(self, *args):
        made = load(self, *args)
        graph = made.signature("words")._function.graph
        held.append([weakref.ref(x) for x in (made, made._loaded, graph)])
        return made

    monkeypatch.setattr(server.Server, "_load", watched)
    servers.export(tmp_path, 1, scale=1, signatures=SIGNATURES)
    batched = {"batching": Batching(group_rows=2)}
    stop = threading.Event()
    with servers.running(servers.config("m", tmp_path), **batched) as client:

        def ask(by_rest):
            while not stop.is_set():
                if by_rest:
                    body = {"signature_name": "words", "instances": ["a b", "c"]}
                    assert client.post(":predict", body)[0] == 200
                else:
                    client.predict({"text": ["a", "b c d"]}, signature="words")

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask, i % 2) for i in range(4)]
            try:
                for version in (2, 3):
                    servers.export(tmp_path, version, signatures=SIGNATURES)
                    ended = version - 1
                    servers.wait_for(lambda v=ended: client.states()[v][0] == "END")
                    servers.wait_for(
                        lambda v=ended: not any(ref() for ref in held[v - 1])
                    )
            finally:
                stop.set()
            for future in asking:
                future.result()
        assert all(ref() for ref in held[2])
