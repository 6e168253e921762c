"""Files that are damaged, of another network, or made to do harm."""

import os
import pickle
import struct

import numpy as np
import pytest

from tests.helpers import golden
from tests.models.stylegan.pickles import dump, networks
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import convert, original, pickled_network


@pytest.fixture
def made():
    return networks("tiny32")["Gs"]


def refuse(tmp_path, path, message):
    """Asserts that the file is refused in one line, and that nothing is written."""
    with pytest.raises(UserError, match=message) as caught:
        convert.convert(path, tmp_path / "out")
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    assert not (tmp_path / "out").exists()


class Caller:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["alone", "tuple", "static_kwargs", "variables"])
def test_code_is_refused_before_it_runs(tmp_path, made, place):
    marker = tmp_path / "marker"
    evil = Caller(os.system, f"touch {marker}")
    content = {
        "alone": evil,
        "tuple": (made, evil, made),
        "static_kwargs": {**made, "static_kwargs": {"resolution": evil}},
        "variables": {**made, "variables": [("lod", evil)]},
    }[place]
    refuse(tmp_path, dump(tmp_path / "evil.pkl", content), r"(posix|nt)\.system")
    assert not marker.exists()


@pytest.mark.parametrize(
    "program, name",
    [
        (b"cbuiltins\neval\n(V1+1\ntR.", "builtins.eval"),
        (b"cdnnlib.tflib.network\nNetwork.__init__\n(tR.", "Network.__init__"),
        (b"cdnnlib.tflib.tfutil\nrun\n(tR.", "dnnlib.tflib.tfutil.run"),
        (b"cnumpy.testing._private.utils\nrunstring\n(tR.", "runstring"),
        (b"cbuiltins\ngetattr\n(tR.", "getattr"),
    ],
)
def test_other_names_are_refused(tmp_path, program, name):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + program)
    refuse(tmp_path, path, f"refused: .*{name}")


def test_source_inside_is_not_run(tmp_path, made):
    marker = tmp_path / "marker"
    made["build_module_src"] = f"open({str(marker)!r}, 'w')"
    convert.convert(dump(tmp_path / "a.pkl", made), tmp_path / "out")
    assert not marker.exists() and (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    "program, message",
    [
        (b"\x80\x02\x82\x01.", "EXT1 is not supported"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "refers to objects outside"),
        (b"\x80\x04(", "ends too early|not a pickle"),
        # A string of 2 GB that is not there.
        (b"\x80\x04\x8e" + struct.pack("<Q", 2 << 30) + b"ab.", "not a pickle"),
    ],
)
def test_strange_programs(tmp_path, program, message):
    path = tmp_path / "odd.pkl"
    path.write_bytes(program)
    refuse(tmp_path, path, message)


def test_what_is_no_pickle(tmp_path):
    page = tmp_path / "karras2019stylegan-ffhq-1024x1024.pkl"
    page.write_text("<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>")
    refuse(tmp_path, page, "an HTML page: the download failed")
    other = tmp_path / "picture.pkl"
    other.write_bytes(b"\x89PNG\r\n")
    refuse(tmp_path, other, "neither a pickled network nor safetensors")
    for start in (b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."):
        port = tmp_path / "train_step-6.model"
        port.write_bytes(start)
        refuse(tmp_path, port, "written by torch: .*another function")
    whole = golden("stylegan", "tiny32.pkl").read_bytes()
    for size in (len(whole) // 2, len(whole) - 1, 40):
        cut = tmp_path / "cut.pkl"
        cut.write_bytes(whole[:size])
        refuse(tmp_path, cut, "damaged, or not a pickle")


def replaced(state, name, value):
    """Returns a part's state with one variable replaced."""
    part = state["components"]["synthesis"].state
    part["variables"] = [
        (key, value if key == name else array) for key, array in part["variables"]
    ]
    return state


OBJECTS = np.empty(3, object)
CONST = "4x4/Const/const"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: {**s, "version": 4}, "version 4 .*StyleGAN2"),
        (lambda s: {**s, "version": 1}, "version 1 .*StyleGAN's are 2 and 3"),
        (lambda s: {**s, "version": True}, "version True"),
        (lambda s: {**s, "build_func_name": "G_main"}, "custom network 'G_main'"),
        (lambda s: {**s, "components": {}}, "G_style without its mapping"),
        (lambda s: {**s, "variables": {}}, "no list of variables"),
        (
            lambda s: replaced(s, CONST, np.ones((1, 16, 4, 5), "float32")),
            r"4x4/Const/const \[1, 4, 5, 16\] instead of \[1, 4, 4, 16\]",
        ),
        (
            lambda s: replaced(s, CONST, np.full((1, 16, 4, 4), np.nan, "float32")),
            "NaN or Inf in 4x4/Const/const",
        ),
        (lambda s: replaced(s, CONST, OBJECTS), "dtype 'O8' is not allowed"),
        (
            lambda s: replaced(s, CONST, np.ones((1, 16, 4, 4), "int32")),
            "no array of floats",
        ),
        (lambda s: replaced(s, CONST, "text"), "no array of floats"),
        (
            lambda s: {**s, "variables": s["variables"] * 2},
            "variable 'lod' twice",
        ),
        (
            lambda s: {**s, "variables": [*s["variables"], ("more", np.float32(1))]},
            r"1 unexpected \(more\)",
        ),
        (
            lambda s: {**s, "static_kwargs": {**s["static_kwargs"], "resolution": 33}},
            "resolution is 33 and, for G_mapping, 32",
        ),
    ],
)
def test_what_does_not_fit(tmp_path, made, change, message):
    refuse(tmp_path, dump(tmp_path / "odd.pkl", change(made)), message)


def options(state, **changes):
    """Changes the arguments of a generator and of its parts alike."""
    for one in (state, *(part.state for part in state["components"].values())):
        one["static_kwargs"] |= changes
    return state


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"resolution": 33}, "power of two, got 33"),
        # Asks for far more than the file holds: refused before memory is.
        ({"fmap_base": 1 << 20, "fmap_max": 1 << 16}, "most of the network is missing"),
        ({"resolution": 1 << 40}, r"resolution has to be a whole number in \[4"),
        ({"fmap_decay": "x"}, "fmap_decay has to be a number"),
        ({"blur_filter": [1, 3, 3, 1]}, "blur_filter"),
        ({"mapping_lrmul": None}, "wrong type"),
        ({"label_size": 5}, "missing"),
    ],
)
def test_arguments(tmp_path, made, changes, message):
    refuse(tmp_path, dump(tmp_path / "odd.pkl", options(made, **changes)), message)


def test_arguments_without_effect(tmp_path, made):
    options(made, dtype="float32", structure="auto", blur_filter=[1, 2, 1], hello=3)
    summary = convert.convert(dump(tmp_path / "a.pkl", made), tmp_path / "out")
    assert summary["ignored"] == ["hello"]


def test_tuples_of_other_networks(tmp_path, made):
    d = networks("tiny32")["D"]
    refuse(tmp_path, dump(tmp_path / "a.pkl", (made, d)), "holds 2 networks")
    refuse(tmp_path, dump(tmp_path / "b.pkl", (d, made, made)), "G is a D_basic")
    refuse(tmp_path, dump(tmp_path / "c.pkl", 5 * [1]), "holds 5 networks|place of")
    mapping = made["components"]["mapping"].state
    refuse(tmp_path, dump(tmp_path / "d.pkl", mapping), "G_mapping alone")


def test_old_and_new_pickles(tmp_path, made):
    # Python 2's protocol, and NumPy 2's names (the goldens have NumPy 1's).
    for protocol in (2, 5):
        path = dump(tmp_path / f"{protocol}.pkl", made, protocol)
        read = pickled_network.read(path)["Gs"]
        built, lod, _ = original.build(read, "x")
        assert lod == 0 and built.config.resolution == 32
    assert pickle.DEFAULT_PROTOCOL >= 4
