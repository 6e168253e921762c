"""Pickles are read as Python reads them, or refused; nothing in them runs."""

import collections
import os
import pathlib
import pickle
import pickletools
import random
import time

import numpy as np
import pytest

from tests.checkpoints.pickles import call, name, pickled, value
from tfdl.checkpoints import numpy_pickle, restricted_pickle
from tfdl.checkpoints.restricted_pickle import Inert, Limits, Refused
from tfdl.engine.errors import UserError


def load(data, **options):
    return restricted_pickle.load(data, "file.pkl", **options)


PLAIN = {
    "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**70, 1.5, float("inf"), True, None],
    "texts": ["", "a", "é", "\U0001f600", "x" * 300, b"", b"\xff" * 300],
    "containers": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, [[1]], {1: {}}),
    "sets": [{1, 2}, frozenset("ab"), set()],
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "counter": collections.Counter({2: 1}),
    ("tuple", 1): bytearray(b"abc"),
}


@pytest.mark.parametrize("protocol", range(6))
def test_reads_what_python_wrote(protocol):
    assert load(pickle.dumps(PLAIN, protocol)) == PLAIN


def test_shared_and_cyclic_objects():
    shared = [1]
    cycle = {"a": shared, "b": shared}
    cycle["self"] = cycle
    result = load(pickle.dumps(cycle))
    assert result["a"] is result["b"]
    assert result["self"] is result


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_and_scalars(protocol):
    arrays = [
        np.arange(6, dtype="<f4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i2"),
        np.array([True, False]),
        np.array(["ab", "c"]),
        np.array(3.5),
        np.zeros((0, 4)),
        np.float32(2.5),
        np.int64(-7),
    ]
    result = load(pickle.dumps(arrays, protocol), allowed=numpy_pickle.ALLOWED)
    for expected, found in zip(arrays, result, strict=True):
        np.testing.assert_array_equal(found, expected)
        # Below protocol 5 NumPy brings numbers into the byte order of the machine.
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    with pytest.raises(Refused, match="numpy"):
        load(pickle.dumps(arrays, protocol))


class Exploit:
    """Leaves a file when it is unpickled by Python."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("protocol", range(6))
def test_calls_are_refused_by_name_and_not_made(protocol, tmp_path):
    mark = tmp_path / "ran"
    for function, args in (
        (os.system, (f"touch {mark}",)),
        (exec, (f"open({str(mark)!r}, 'w')",)),
        (pathlib.Path.touch, (mark,)),
        (eval, (f"open({str(mark)!r}, 'w')",)),
    ):
        data = pickle.dumps([1, Exploit(function, *args)], protocol)
        with pytest.raises(UserError, match=r"file\.pkl: refused: .*nothing of it was"):
            load(data)
        assert not mark.exists()
    data = pickle.dumps(Exploit(os.system, f"touch {mark}"), protocol)
    pickle.loads(data)
    assert mark.exists(), "the exploit would have worked"


@pytest.mark.parametrize(
    "body",
    [
        name("os", "system"),
        call("builtins", "eval", "1"),
        call("collections", "defaultdict", name("collections", "OrderedDict")),
        call("operator", "attrgetter", "__class__"),
        b"(ios\nsystem\n",
        b"(" + name("os", "system") + value("true") + b"o",
        name("os", "system") + value(("true",)) + b"\x81",
        value("os") + value("system") + b"\x93" + value(("true",)) + b"R",
    ],
)
def test_every_way_to_name_something_is_refused(body):
    with pytest.raises(Refused):
        load(pickled(body))


def test_state_reaches_no_attribute():
    ordered = call("collections", "OrderedDict")
    state = value((None, {"__class__": 1, "__reduce__": 2}))
    result = load(pickled(ordered + state + b"b"))
    assert result == {} and type(result) is collections.OrderedDict
    for target in (name("collections", "OrderedDict"), value([]), value({})):
        with pytest.raises(UserError, match="takes no state"):
            load(pickled(target + state + b"b"))


def test_inert_objects_stand_for_unknown_classes():
    body = name("lib.data", "Vocab") + value(("a", 1)) + b"\x81"
    body += value({"words": ["x"]}) + b"b"
    found = load(pickled(value([body])), inert=("lib.",))[0]
    assert isinstance(found, Inert)
    assert (found.class_name, found.args) == ("lib.data.Vocab", ("a", 1))
    assert found.state == {"words": ["x"]}
    filled = name("lib", "Box") + b")\x81(" + value(1) + value(2) + b"e"
    assert load(pickled(filled), inert=("lib",)).items == [1, 2]
    filled = name("lib", "Box") + b")\x81(" + value("a") + value(2) + b"u"
    assert load(pickled(filled), inert=("lib",)).mapping == {"a": 2}
    with pytest.raises(Refused, match="other"):
        load(pickled(name("other", "Vocab")), inert=("lib.",))


def test_damage_is_one_line():
    data = pickle.dumps(PLAIN, 4)
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(UserError, match="damaged") as caught:
            load(data[:end])
        assert "\n" not in str(caught.value)
    generator = random.Random(0)
    for _ in range(300):
        broken = bytearray(data)
        broken[generator.randrange(len(broken))] ^= 1 << generator.randrange(8)
        try:
            load(bytes(broken))
        except UserError as error:
            assert "\n" not in str(error)


def test_lengths_are_checked_before_memory_is_taken():
    huge = (1 << 40).to_bytes(8, "little")
    for body in (b"\x8e" + huge, b"\x8d" + huge, b"\x96" + huge, b"B\xff\xff\xff\x7f"):
        with pytest.raises(UserError, match="ends too early"):
            load(b"\x80\x05" + body + b"abc.")
    # Python's own unpickler takes memory for as many memo entries as the index says.
    result = load(pickled(b"]r\xff\xff\xff\x7f"))
    assert result == []


def test_work_is_limited():
    doubling = b"(t" + b"0" * 0 + b"2\x86" * 64
    nested = load(pickled(doubling))
    assert isinstance(nested, tuple)
    start = time.monotonic()
    with pytest.raises(UserError, match="as a key"):
        load(pickled(b"}" + doubling + b"Ns"))
    assert time.monotonic() - start < 5, "hashing took exponential time"
    with pytest.raises(UserError, match="nested deeper"):
        load(pickled(b"(" * 2000))
    with pytest.raises(UserError, match="operations"):
        load(pickled(b"]0" * 100 + b"]"), limits=Limits(max_operations=50))
    text = value("x" * 100_000) + b"q\x00"
    again = call("_codecs", "encode", b"h\x00", "latin1") + b"0"
    with pytest.raises(UserError, match="far more data"):
        load(pickled(text + again * 10_000))


@pytest.mark.parametrize(
    "shape, dtype, data, message",
    [
        ((1 << 40,), "f4", b"1234", "bytes of data"),
        ((2,), "f4", b"1234", "bytes of data"),
        ((-1,), "f4", b"1234", "shape"),
        ((1,), "O8", b"12345678", "not allowed"),
        ((1,), "V8", b"12345678", "not allowed"),
        ((1,), "f4,f4", b"12345678", "not allowed"),
    ],
)
def test_arrays_that_lie(shape, dtype, data, message):
    base = name("numpy", "ndarray")
    array = call("numpy.core.multiarray", "_reconstruct", base, (0,), "b")
    kind = call("numpy", "dtype", dtype, False, True)
    raw = call("_codecs", "encode", data.decode(), "latin1")
    body = array + value((1, shape, kind, False, raw)) + b"b"
    with pytest.raises(UserError, match=message):
        load(pickled(body), allowed=numpy_pickle.ALLOWED)


def test_streams_are_left_behind_the_pickle(tmp_path):
    path = tmp_path / "two.pkl"
    path.write_bytes(pickle.dumps([1]) + pickle.dumps({"a": 2}) + b"rest")
    with open(path, "rb") as file:
        assert load(file) == [1]
        assert load(file) == {"a": 2}
        assert file.read() == b"rest"


def test_all_operations_are_known():
    """Every operation of Python's pickles is handled or told by name."""
    refused = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
    known = (
        set(restricted_pickle._LITERALS)
        | set(restricted_pickle._NEW)
        | restricted_pickle._PUTS
        | restricted_pickle._GETS
        | set(restricted_pickle._TUPLES)
        | set(restricted_pickle._OPERATIONS)
        | {"STOP"}
    )
    assert {op.name for op in pickletools.opcodes} == known | refused
    with pytest.raises(UserError, match="EXT1"):
        load(pickled(b"\x82\x01"))
