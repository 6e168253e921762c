"""Reading pickles without running them.

A pickle is a program for a small stack machine, and Python's own machine imports and
calls whatever that program names. This one imports nothing: a name in the pickle is
looked up in a table of functions that the caller passes, or stands for an inert
object, or is refused. `pickletools.genops` splits the stream into operations.
"""

import dataclasses
import io
import os
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from tfdl.checkpoints import numpy_pickle, sniff
from tfdl.engine.errors import UserError

# Modules that were renamed between Python 2 and 3, and between NumPy 1 and 2.
_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a pickle may cost.

    Attributes:
        max_bytes: length of the pickle.
        max_operations: operations of its program.
        max_depth: containers opened inside one another.
        max_growth: bytes that calls may work on in all, as a multiple of the length:
            a short program can hand one long string to many calls.
    """

    max_bytes: int = 8 << 30
    max_operations: int = 10_000_000
    max_depth: int = 1000
    max_growth: int = 16


class Refused(UserError):
    """The pickle names something that is not allowed.

    Attributes:
        name: the full name.
    """

    def __init__(self, message: str, name: str):
        super().__init__(message)
        self.name = name


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """A class or function that the pickle names; nothing is imported for it."""

    name: str
    function: Callable[..., Any] | None
    inert: bool = False


@dataclasses.dataclass(eq=False)
class Inert:
    """Stands for an object whose class is not imported.

    Attributes:
        class_name: the full name of the class.
        args: what the class was called with.
        kwargs: the same, by name.
        state: what `__setstate__` or `__dict__` would have been given, None without.
        items: what was appended to it, were it a list.
        mapping: what was set in it, were it a dict.
    """

    class_name: str
    args: tuple = ()
    kwargs: dict = dataclasses.field(default_factory=dict)
    state: Any = None
    items: list = dataclasses.field(default_factory=list)
    mapping: dict = dataclasses.field(default_factory=dict)


def load(
    source: bytes | BinaryIO,
    where: str,
    allowed: Mapping[str, Callable[..., Any] | None] | None = None,
    inert: Sequence[str] = (),
    persistent: Callable[[Any], Any] | None = None,
    limits: Limits | None = None,
) -> Any:
    """Reads one pickle; a stream is left right behind it.

    Args:
        source: the pickle, or a seekable stream at its first byte.
        where: the file's name, for messages.
        allowed: full name -> function, on top of a few of Python's own containers
            (`CONTAINERS`). A function gets the arguments in the pickle and has to
            check them. None: the name may stand as a value but not be called.
        inert: prefixes of names whose objects become `Inert`. `""` is any name.
        persistent: maps a persistent id to an object; without it such ids are
            refused.
        limits: what reading may cost.

    Returns:
        The object: Python's containers and scalars, what the allowed functions
        return, `Inert`s and `Global`s.

    Raises:
        Refused: the pickle names something that is not allowed.
        UserError: the pickle is damaged or beyond the limits.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    limits = limits or Limits()
    machine = _Machine(where, {**CONTAINERS, **(allowed or {})}, inert, persistent)
    bounded = _Bounded(stream, limits.max_bytes)
    try:
        return machine.run(bounded, limits)
    except UserError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{where}: damaged, or not a pickle ({reason})") from None


class _Bounded:
    """A stream that refuses a read beyond its end before any memory is taken."""

    def __init__(self, stream: BinaryIO, max_bytes: int):
        start = stream.tell()
        self.size = stream.seek(0, os.SEEK_END) - start
        stream.seek(start)
        self._stream = stream
        self._left = min(self.size, max_bytes)

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise ValueError("it ends too early")
        self._left -= count
        return self._stream.read(count)

    def readline(self) -> bytes:
        line = self._stream.readline(min(self._left, 1 << 20))
        self._left -= len(line)
        return line


class _Machine:
    """The stack machine that a pickle is a program for."""

    def __init__(self, where, allowed, inert, persistent):
        self.where = where
        self.allowed = allowed
        self.inert = tuple(inert)
        self.persistent = persistent
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.budget = 0
        self.max_depth = 0

    def run(self, stream: _Bounded, limits: Limits) -> Any:
        self.budget = (1 << 20) + limits.max_growth * stream.size
        self.max_depth = limits.max_depth
        for count, (op, argument, _) in enumerate(pickletools.genops(stream)):
            name = op.name
            if count >= limits.max_operations:
                raise ValueError(f"over {limits.max_operations:,} operations")
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _NEW:
                self.stack.append(_NEW[name]())
            elif name in _PUTS:
                self.memo[argument] = self.stack[-1]
            elif name in _GETS:
                self.stack.append(self.memo[argument])
            elif name in _TUPLES:
                at = len(self.stack) - _TUPLES[name]
                if at < 0:
                    raise IndexError("stack underflow")
                self.stack[at:] = [tuple(self.stack[at:])]
            elif name in _OPERATIONS:
                _OPERATIONS[name](self, argument)
            elif name == "STOP":
                return self.stack.pop()
            else:
                raise ValueError(f"operation {name} is not supported")
        raise ValueError("it ends too early")

    # Stack and memo.

    def mark(self, _):
        if len(self.outer) >= self.max_depth:
            raise ValueError(f"nested deeper than {self.max_depth}")
        self.outer.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def pop(self, _):
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def dup(self, _):
        self.stack.append(self.stack[-1])

    def memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    # Containers.

    def make_list(self, _):
        items = self.since_mark()
        self.stack.append(items)

    def make_tuple(self, _):
        items = self.since_mark()
        self.stack.append(tuple(items))

    def make_dict(self, _):
        items = self.since_mark()
        self.stack.append(_pairs(items))

    def make_frozenset(self, _):
        items = self.since_mark()
        self.stack.append(frozenset(map(_key, items)))

    def append(self, _):
        self.extend([self.stack.pop()])

    def appends(self, _):
        self.extend(self.since_mark())

    def extend(self, items):
        target = self.stack[-1]
        if isinstance(target, Inert):
            target = target.items
        if not isinstance(target, list):
            raise TypeError(f"cannot append to {type(target).__name__}")
        target.extend(items)

    def set_item(self, _):
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def set_items(self, _):
        self.update(self.since_mark())

    def update(self, items):
        target = self.stack[-1]
        if isinstance(target, Inert):
            target = target.mapping
        if not isinstance(target, dict):
            raise TypeError(f"cannot set items of {type(target).__name__}")
        target.update(_pairs(items))

    def add_items(self, _):
        items = self.since_mark()
        if not isinstance(self.stack[-1], set):
            raise TypeError("cannot add to what is no set")
        self.stack[-1].update(map(_key, items))

    # Names, and objects made from them.

    def global_(self, argument):
        module, _, name = argument.partition(" ")
        self.stack.append(self.find(module, name))

    def stack_global(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise TypeError("a name that is no string")
        self.stack.append(self.find(module, name))

    def find(self, module: str, name: str) -> Global:
        full = f"{_RENAMED.get(module, module)}.{name}"
        if full in self.allowed:
            return Global(full, self.allowed[full])
        if self.inert and full.startswith(self.inert):
            return Global(full, None, inert=True)
        raise Refused(
            f"{self.where}: refused: the pickle asks for "
            f"{sniff.shown(f'{module}.{name}')}, which data has no need of; nothing of "
            "it was run",
            full,
        )

    def reduce(self, _):
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(function, args))

    def new_object_ex(self, _):
        kwargs, args = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(self.stack.pop(), args, kwargs))

    def inst(self, argument):
        args = tuple(self.since_mark())
        module, _, name = argument.partition(" ")
        self.stack.append(self.call(self.find(module, name), args))

    def obj(self, _):
        function, *args = self.since_mark()
        self.stack.append(self.call(function, tuple(args)))

    def call(self, function, args, kwargs=None):
        if not isinstance(function, Global):
            raise TypeError(f"{type(function).__name__} cannot be called")
        if not isinstance(args, tuple) or not isinstance(kwargs, dict | None):
            raise TypeError("arguments that are no tuple")
        self.charge(args)
        if function.inert:
            return Inert(function.name, args, dict(kwargs or {}))
        if function.function is None or kwargs:
            raise TypeError(f"{function.name} cannot be called")
        return function.function(*args)

    def build(self, _):
        state, target = self.stack.pop(), self.stack[-1]
        self.charge(state if isinstance(state, tuple) else (state,))
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, numpy_pickle.DType):
            target.set_state(state)
        elif isinstance(target, np.ndarray):
            numpy_pickle.set_array_state(target, state)
        elif not isinstance(target, OrderedDict):
            raise TypeError(f"{type(target).__name__} takes no state")
        # An OrderedDict's attributes (torch's `_metadata`) are of no use here.

    def charge(self, args) -> None:
        self.budget -= sum(len(arg) for arg in args if hasattr(arg, "__len__"))
        if self.budget < 0:
            raise ValueError("it works on far more data than it holds")

    def persistent_id(self, argument):
        if self.persistent is None:
            raise ValueError("it refers to objects outside of itself")
        self.stack.append(self.persistent(argument))

    def binary_persistent_id(self, _):
        self.persistent_id(self.stack.pop())


def _key(value: Any) -> Any:
    """Returns `value` if hashing it is quick: nested tuples can be made slow."""
    scalars = (str, bytes, bool, type(None), Inert, Global)
    if isinstance(value, scalars):
        return value
    if isinstance(value, int) and abs(value) < 1 << 64:
        return value
    if isinstance(value, tuple) and not any(isinstance(v, tuple) for v in value):
        return tuple(map(_key, value))
    raise TypeError(f"{type(value).__name__} as a key")


def _pairs(items: Sequence[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_NEW = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OPERATIONS = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": _Machine.dup,
    "MEMOIZE": _Machine.memoize,
    "LIST": _Machine.make_list,
    "TUPLE": _Machine.make_tuple,
    "DICT": _Machine.make_dict,
    "FROZENSET": _Machine.make_frozenset,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_object_ex,
    "INST": _Machine.inst,
    "OBJ": _Machine.obj,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persistent_id,
    "BINPERSID": _Machine.binary_persistent_id,
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
}


def _bytes():
    return b""


def _bytearray(data=b"", encoding="latin-1"):
    if isinstance(data, str):
        data = _encode(data, encoding)
    if not isinstance(data, bytes):
        raise TypeError("a bytearray of what is no bytes")
    return bytearray(data)


def _encode(text, encoding="latin-1"):
    # How protocol 2 spells bytes.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes in another encoding than Latin-1")
    return text.encode("latin-1")


def _ordered_dict(items=()):
    return OrderedDict((_key(key), value) for key, value in items)


def _counter(items=()):
    return _pairs([part for pair in dict(items).items() for part in pair])


# Names that every pickle may use.
CONTAINERS = {
    "builtins.set": lambda items=(): set(map(_key, items)),
    "builtins.frozenset": lambda items=(): frozenset(map(_key, items)),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
}
