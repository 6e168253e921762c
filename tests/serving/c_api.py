"""Runs a SavedModel through TensorFlow's C API alone, as TF Serving's loader does.

    c_api.py EXPORT SIGNATURE '{"text": ["..."]}' '{"inputs": {...}, "outputs": {...}}'

TensorFlow's Python is not imported: the C library of the wheel and the op libraries of
tensorflow-text are loaded by path. Prints the outputs as JSON.
"""

import ctypes
import json
import pathlib
import sys
import sysconfig

PACKAGES = pathlib.Path(sysconfig.get_paths()["purelib"])
FLOAT, INT32, STRING, INT64 = 1, 3, 7, 9


class Output(ctypes.Structure):
    """TF_Output."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def main() -> None:
    """Loads, runs and prints."""
    export, _, values, names = sys.argv[1:]
    values, names = json.loads(values), json.loads(names)
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

    feeds = [(output(names["inputs"][key]), tensor(tf, v)) for key, v in values.items()]
    wanted = list(names["outputs"])
    results = (ctypes.c_void_p * len(wanted))()
    tf.TF_SessionRun(
        session,
        None,
        (Output * len(feeds))(*[feed for feed, _ in feeds]),
        (ctypes.c_void_p * len(feeds))(*[value for _, value in feeds]),
        len(feeds),
        (Output * len(wanted))(*[output(names["outputs"][name]) for name in wanted]),
        results,
        len(wanted),
        None,
        0,
        None,
        status,
    )
    check()
    found = {
        name: array(tf, ctypes.c_void_p(result))
        for name, result in zip(wanted, results, strict=True)
    }
    assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)
    print(json.dumps(found))


def tensor(tf, texts):
    """Returns a TF_STRING tensor of a list of texts."""
    dims = (ctypes.c_int64 * 1)(len(texts))
    size = 24  # sizeof(TF_TString)
    made = tf.TF_AllocateTensor(STRING, dims, 1, size * len(texts))
    base = tf.TF_TensorData(ctypes.c_void_p(made))
    for i, text in enumerate(texts):
        place = ctypes.c_void_p(base + i * size)
        data = text.encode()
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
            place = ctypes.c_void_p(data + i * 24)
            length = tf.TF_StringGetSize(place)
            pointer = tf.TF_StringGetDataPointer(place)
            values.append(ctypes.string_at(pointer, length).decode())
    else:
        c_type = {FLOAT: ctypes.c_float, INT32: ctypes.c_int32, INT64: ctypes.c_int64}
        values = list((c_type[kind] * count).from_address(data))
    return {"shape": shape, "values": values}


if __name__ == "__main__":
    main()
