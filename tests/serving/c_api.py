"""Runs a SavedModel through TensorFlow's C API alone, as TF Serving's loader does.

    c_api.py EXPORT < requests.json > results.json

TensorFlow's Python is not imported: the C library of the wheel and the op libraries of
tensorflow-text are loaded by path. Requests are a list of {"inputs", "outputs"}: by
name of a graph's tensor, {"dtype", "shape", "values"} of what to feed, and what to
fetch. Strings are base64.
"""

import base64
import ctypes
import json
import pathlib
import sys
import sysconfig

PACKAGES = pathlib.Path(sysconfig.get_paths()["purelib"])
STRING = 7
NUMBERS = {
    1: ctypes.c_float,
    2: ctypes.c_double,
    3: ctypes.c_int32,
    4: ctypes.c_uint8,
    9: ctypes.c_int64,
    10: ctypes.c_bool,
}
STRING_SIZE = 24  # sizeof(TF_TString)


class Output(ctypes.Structure):
    """TF_Output."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def main() -> None:
    """Loads, runs and prints."""
    export, requests = sys.argv[1], json.load(sys.stdin)
    folder = PACKAGES / "tensorflow"
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
    tf = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"), ctypes.RTLD_GLOBAL)
    for function in (
        "TF_NewStatus TF_NewGraph TF_NewSessionOptions TF_LoadLibrary "
        "TF_AllocateTensor TF_LoadSessionFromSavedModel "
        "TF_GraphOperationByName TF_TensorData"
    ).split():
        getattr(tf, function).restype = ctypes.c_void_p
    tf.TF_Message.restype = ctypes.c_char_p
    tf.TF_StringGetDataPointer.restype = ctypes.POINTER(ctypes.c_char)
    tf.TF_StringGetSize.restype = ctypes.c_size_t
    tf.TF_Dim.restype = ctypes.c_int64
    status = ctypes.c_void_p(tf.TF_NewStatus())

    def check():
        if tf.TF_GetCode(status):
            raise SystemExit(tf.TF_Message(status).decode())

    libraries = sorted((PACKAGES / "tensorflow_text").rglob("_*.so"))
    for library in libraries:
        if "pywrap" not in library.name:
            tf.TF_LoadLibrary(str(library).encode(), status)
            check()
    graph = ctypes.c_void_p(tf.TF_NewGraph())
    options = ctypes.c_void_p(tf.TF_NewSessionOptions())
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = ctypes.c_void_p(
        tf.TF_LoadSessionFromSavedModel(
            options, None, export.encode(), tags, 1, graph, None, status
        )
    )
    check()

    def output(name):
        operation, index = name.rsplit(":", 1)
        found = tf.TF_GraphOperationByName(graph, operation.encode())
        return Output(found, int(index))

    results = []
    for request in requests:
        feeds = request["inputs"]
        wanted = request["outputs"]
        found = (ctypes.c_void_p * len(wanted))()
        tf.TF_SessionRun(
            session,
            None,
            (Output * len(feeds))(*[output(name) for name in feeds]),
            (ctypes.c_void_p * len(feeds))(*[tensor(tf, **v) for v in feeds.values()]),
            len(feeds),
            (Output * len(wanted))(*[output(name) for name in wanted]),
            found,
            len(wanted),
            None,
            0,
            None,
            status,
        )
        check()
        results.append([array(tf, ctypes.c_void_p(result)) for result in found])
    assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)
    print(json.dumps(results))


def tensor(tf, dtype, shape, values):
    """Returns a tensor of a flat list of values."""
    dims = (ctypes.c_int64 * len(shape))(*shape)
    size = STRING_SIZE if dtype == STRING else ctypes.sizeof(NUMBERS[dtype])
    count = ctypes.c_size_t(size * len(values))
    made = tf.TF_AllocateTensor(dtype, dims, len(shape), count)
    base = tf.TF_TensorData(ctypes.c_void_p(made))
    if dtype != STRING:
        (NUMBERS[dtype] * len(values)).from_address(base)[:] = values
        return made
    for i, text in enumerate(values):
        place = ctypes.c_void_p(base + i * STRING_SIZE)
        data = base64.b64decode(text)
        tf.TF_StringInit(place)
        tf.TF_StringCopy(place, data, ctypes.c_size_t(len(data)))
    return made


def array(tf, result):
    """Returns a tensor as {"shape", "values"}."""
    shape = [tf.TF_Dim(result, i) for i in range(tf.TF_NumDims(result))]
    count = 1
    for size in shape:
        count *= size
    kind = tf.TF_TensorType(result)
    data = tf.TF_TensorData(result)
    if kind == STRING:
        values = []
        for i in range(count):
            place = ctypes.c_void_p(data + i * STRING_SIZE)
            length = tf.TF_StringGetSize(place)
            pointer = tf.TF_StringGetDataPointer(place)
            data_bytes = ctypes.string_at(pointer, length)
            values.append(base64.b64encode(data_bytes).decode())
    else:
        values = list((NUMBERS[kind] * count).from_address(data)) if count else []
    return {"shape": shape, "values": values}


if __name__ == "__main__":
    main()
