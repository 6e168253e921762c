"""Handles, archives, registries and Kaggle; what goes wrong says so in one line."""

import gzip
import io
import json
import sys
import tarfile
import types
import urllib.error
import urllib.request

import pytest
import tensorflow as tf

from tests.hub.fresh import run_verb, running
from tfdl.engine import exports
from tfdl.engine.errors import UserError
from tfdl.hub import (
    archives,
    folder,
    handles,
    interface,
    publishing,
    server,
    tags,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small Reusable SavedModel that tfdl did not describe."""
    path = tmp_path_factory.mktemp("saved") / "1"
    root = exports.Reusable()
    weight = tf.Variable([[2.0]], name="weight")
    root.variables = root.trainable_variables = [weight]
    root.set_call(lambda x, training: x @ weight, tf.TensorSpec([None, 1]))
    root.regularization_losses = [
        tf.function(lambda: tf.reduce_sum(weight**2), input_signature=[])
    ]
    tf.saved_model.save(root, str(path))
    return path


# --- handles ---------------------------------------------------------------------


def test_handles():
    handle = handles.parse("google/imagenet/resnet_v2_50/classification/12")
    assert handle.name == "imagenet/resnet_v2_50/classification"
    assert str(handle) == "google/imagenet/resnet_v2_50/classification/12"
    assert str(handles.parse("me/b.ert-x/1").with_suffix("preprocess")) == (
        "me/b.ert-x-preprocess/1"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bert/1",
        "me/bert",
        "me/bert/0",
        "me/bert/01",
        "me/bert/-1",
        "me/bert/1/",
        "/me/bert/1",
        "me//1",
        "me/../1",
        "me/../../etc/1",
        "me/.hidden/1",
        "me/bert./1",
        "Me/bert/1",
        "me/2/1",
        "me/bert/1\n",
        "me/be rt/1",
        "me/bert/²",
        "me/b\\ert/1",
        "me/" + "a/" * 20 + "1",
        "me/" + "a" * 200 + "/1",
    ],
)
def test_bad_handles(text):
    with pytest.raises(UserError, match="is not publisher/name/version"):
        handles.parse(text)


def test_bad_tags():
    assert tags.check("language", "zh-cn") == "zh-cn"
    for value in ("a b", "en -->", "-x", "a\nb"):
        with pytest.raises(UserError, match="--language="):
            tags.check("language", value)
    with pytest.raises(UserError, match="unknown license"):
        tags.check_license("mine")


# --- archives --------------------------------------------------------------------


def test_equal_folders_give_equal_archives(tmp_path):
    sums = []
    for name in ("a", "b"):
        source = tmp_path / name
        (source / "variables").mkdir(parents=True)
        files = ["saved_model.pb", "variables/variables.index"]
        for file in files if name == "a" else reversed(files):
            (source / file).write_bytes(b"x" * 3000)
        (source / "saved_model.pb").chmod(0o600 if name == "a" else 0o644)
        archives.pack(source, tmp_path / f"{name}.tar.gz")
        sums.append(archives.sha256(tmp_path / f"{name}.tar.gz"))
    assert sums[0] == sums[1]
    out = tmp_path / "out"
    out.mkdir()
    archives.unpack(tmp_path / "a.tar.gz", out)
    assert (out / "variables/variables.index").read_bytes() == b"x" * 3000


@pytest.mark.parametrize("name", [".git", "variables/.x", "a:b"])
def test_names_that_are_not_packed(tmp_path, name):
    source = tmp_path / "m"
    (source / name).parent.mkdir(parents=True)
    (source / name).write_text("x")
    with pytest.raises(UserError, match="no name for a module's file"):
        archives.pack(source, tmp_path / "m.tar.gz")


def test_links_are_not_packed(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "m" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is a link"):
        archives.pack(tmp_path / "m", tmp_path / "m.tar.gz")


def member(name, kind=tarfile.REGTYPE, data=b"x", link=""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, len(data), link
    return made, data


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([member("../out")], "no name for a module's file"),
        ([member("/etc/out")], "no name for a module's file"),
        ([member("a/../../out")], "no name for a module's file"),
        ([member("a\\b")], "no name for a module's file"),
        ([member("a", tarfile.SYMTYPE, b"", "/etc")], "is a link or a device"),
        ([member("a", tarfile.LNKTYPE, b"", "../x")], "is a link or a device"),
        ([member("a", tarfile.CHRTYPE, b"")], "is a link or a device"),
        ([member("a"), member("a")], "twice"),
        ([member("a"), member("a/b")], "twice"),
        ([member("a", data=b"0" * 3000)], "unpacks to more than 2,000 bytes"),
    ],
)
def test_hostile_archives(tmp_path, members, told):
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for made, data in members:
            archive.addfile(made, io.BytesIO(data))
    out = tmp_path / "in" / "side"
    out.mkdir(parents=True)
    with pytest.raises(UserError, match=told):
        archives.unpack(tmp_path / "m.tar.gz", out, max_bytes=2000)
    assert [p.name for p in tmp_path.iterdir() if p.name != "in"] == ["m.tar.gz"]
    assert [p.name for p in out.parent.iterdir()] == ["side"]


@pytest.mark.parametrize("cut", [1, 40, -40])
def test_damaged_archives(tmp_path, saved, cut):
    archives.pack(saved, tmp_path / "m.tar.gz")
    data = (tmp_path / "m.tar.gz").read_bytes()
    (tmp_path / "m.tar.gz").write_bytes(data[:cut])
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match=r"is no whole \.tar\.gz"):
        archives.unpack(tmp_path / "m.tar.gz", out)


# --- the interface ---------------------------------------------------------------


def test_interface(saved):
    found = interface.inspect(saved)
    assert (found.parameters, found.trainable) == (1, 1)
    assert not found.uses_text and found.parts == ()


def test_signatures_alone_are_no_module(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(module, str(tmp_path / "1"))
    with pytest.raises(UserError, match="has signatures only"):
        interface.inspect(tmp_path / "1")


def test_trainable_variables_have_to_be_trainable(tmp_path):
    root = exports.Reusable()
    weight = tf.Variable(1.0, trainable=False)
    root.variables = root.trainable_variables = [weight]
    root.set_call(lambda x, training: x * weight, tf.TensorSpec([None]))
    tf.saved_model.save(root, str(tmp_path / "1"))
    with pytest.raises(UserError, match="is not trainable"):
        interface.inspect(tmp_path / "1")


def test_damaged_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x00\x01 garbage")
    with pytest.raises(UserError, match="cannot be loaded"):
        interface.inspect(tmp_path)


# --- the registry and its server -------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    root = tmp_path_factory.mktemp("registry")
    archive = root / "source.tar.gz"
    with gzip.open(archive, "wb") as file:
        file.write(b"not a module, but bytes")
    for handle in ("me/a/1", "me/a/2", "me/a/10", "me/deep/name/1"):
        folder.add(root, handles.parse(handle), archive, f"# Module {handle}\n")
    (root.parent / "secret.md").write_text("secret")
    (root / "me" / "a" / "3.tar.gz").write_bytes(b"half published")
    return root


@pytest.fixture(scope="module")
def address(registry):
    with running(server.Server(registry)) as made:
        yield made.address


def get(address, method="GET"):
    """Returns status, body and the final URL."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, method=method)
        ) as got:
            return got.status, got.read(), got.url
    except urllib.error.HTTPError as error:
        return error.code, error.read(), address


def test_registry_lists_what_is_whole(registry):
    names = [str(handle) for handle in folder.modules(registry)]
    assert names == ["me/a/1", "me/a/10", "me/a/2", "me/deep/name/1"]
    assert folder.versions(registry, handles.parse("me/a/1")) == [1, 2, 10]


def test_server_follows_the_protocol(registry, address):
    data = (registry / "me/a/2").read_bytes()
    query = "?tf-hub-format=compressed"
    assert get(f"{address}/me/a/2{query}")[:2] == (200, data)
    assert get(f"{address}/me/a/2.tar.gz")[:2] == (200, data)
    assert get(f"{address}/me/a/2{query}", "HEAD")[:2] == (200, b"")
    assert get(f"{address}/me/a/2")[:2] == (200, b"# Module me/a/2\n")
    assert get(f"{address}/me/deep/name/1.md")[1] == b"# Module me/deep/name/1\n"
    # Without a version: the latest one, by number.
    latest = f"{address}/me/a/10{query}"
    assert get(f"{address}/me/a{query}") == (200, data, latest)
    index = get(f"{address}/")[1].decode()
    assert '<a href="/me/deep/name/1">' in index and "me/a/3" not in index


@pytest.mark.parametrize(
    "path",
    [
        "/me/a/3",
        "/me/a/3.tar.gz",
        "/me",
        "/me/nothing",
        "/me/a/2?tf-hub-format=uncompressed",
        "/source.tar.gz",
        "/../secret.md",
        "/..%2fsecret.md",
        "/me/a/../../../secret.md",
        "/me/%00/1",
        "/me/a/" + "9" * 5000,
    ],
)
def test_server_has_nothing_else(address, path):
    status, body, _ = get(address + path)
    assert status == 404 and b"secret" not in body


def test_server_needs_a_folder_and_a_port(tmp_path, registry):
    with pytest.raises(UserError, match="no such folder"):
        server.Server(tmp_path / "none")
    with server.Server(registry) as made, pytest.raises(UserError, match="listen"):
        server.Server(registry, port=made.server_address[1])


# --- the verb --------------------------------------------------------------------


def test_what_tfdl_did_not_describe(saved, tmp_path, capsys):
    flags = [f"--saved_model={saved}", f"--destination=folder:{tmp_path / 'r'}"]
    assert run_verb(*flags, "--handle=me/x/1") == 1
    assert "--task=text-embedding" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert run_verb(*flags, "--handle=me/x/1", "--task=image-others") == 0
    page = (tmp_path / "r/me/x/1.md").read_text()
    assert "<!-- task: image-others -->" in page and "Not measured." in page
    # Another archive of the same handle is refused, and the page stays too.
    (saved / "more").write_text("x")
    try:
        assert run_verb(*flags, "--handle=me/x/1", "--task=image-generator") == 1
    finally:
        (saved / "more").unlink()
    assert "never changes" in capsys.readouterr().err
    assert (tmp_path / "r/me/x/1.md").read_text() == page


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"destination": ""}, "--destination is needed"),
        ({"destination": "folder:"}, "write folder:PATH or kaggle"),
        ({"destination": "kaggle:x"}, "write folder:PATH or kaggle"),
        ({"destination": "ftp:x"}, "write folder:PATH or kaggle"),
        ({"handle": "../x/1"}, "is not publisher/name/version"),
        ({"handle": ""}, "--handle is needed"),
        ({"saved_model": ""}, "one of --model_dir and --saved_model"),
        ({"model_dir": "x"}, "one of --model_dir and --saved_model"),
        ({"license": "mine"}, "unknown license"),
        ({"dataset": "a b"}, "--dataset="),
        ({"saved_model": "/nowhere"}, "holds no saved_model.pb"),
        ({"serve": "true", "destination": "kaggle"}, "--serve needs"),
    ],
)
def test_bad_flags(saved, tmp_path, capsys, flags, told):
    given = {
        "saved_model": saved,
        "destination": f"folder:{tmp_path / 'r'}",
        "handle": "me/x/1",
        "task": "image-others",
        **flags,
    }
    assert run_verb(*(f"--{name}={value}" for name, value in given.items())) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_frozen_generators_are_measured(tmp_path, monkeypatch):
    card = exports.Card("Pictures.", "image-generator", {}, {}, "", fine_tunable=False)
    roots = {suffix: exports.Module(tf.Module(), card) for suffix in ("", "prepare")}
    made = types.SimpleNamespace(hub_modules=lambda directory: roots)
    monkeypatch.setattr(publishing.registry, "load", lambda model, part: made)
    (tmp_path / "config.json").write_text('{"model": "biggan", "format": 1}')
    (tmp_path / "evaluation.json").write_text('{"fid": 3.5, "extractor": "x"}')
    found = publishing.from_model_dir(tmp_path, tmp_path / "scratch")
    measured = {one.suffix: dict(one.metrics) for one in found}
    assert measured == {"": {"fid": 3.5, "extractor": "x"}, "prepare": {}}


def test_hostile_archive_by_the_verb(tmp_path, capsys):
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for made, data in [member("saved_model.pb"), member("../../../../out")]:
            archive.addfile(made, io.BytesIO(data))
    arguments = [f"--saved_model={tmp_path / 'm.tar.gz'}", "--task=text-embedding"]
    arguments += ["--handle=me/x/1", f"--destination=folder:{tmp_path / 'r'}"]
    assert run_verb(*arguments) == 1
    assert "no name for a module's file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["m.tar.gz"]


# --- Kaggle ----------------------------------------------------------------------


@pytest.fixture
def kaggle_flags(saved):
    return [
        f"--saved_model={saved}",
        "--destination=kaggle",
        "--handle=me/model/1",
        "--task=image-others",
        "--license=apache-2.0",
    ]


def test_kaggle_dry_run_needs_no_kagglehub(kaggle_flags, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert run_verb(*kaggle_flags, "--dry_run") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["kaggle_handle"] == "me/model/tensorFlow2/default"
    assert record["license"] == "Apache 2.0"
    assert {"README.md", "saved_model.pb"} <= set(record["files"])
    assert run_verb(*kaggle_flags) == 1
    assert "pip install 'tfdl[kaggle]'" in capsys.readouterr().err


def test_kaggle_upload(kaggle_flags, capsys, monkeypatch):
    # Stands for kagglehub 1.0's model_upload; the site itself is not at hand.
    calls = []

    def model_upload(handle, local_model_dir, license_name=None, version_notes=""):
        with open(f"{local_model_dir}/README.md", encoding="utf-8") as page:
            calls.append((handle, license_name, version_notes, page.readline()))
        interface.inspect(local_model_dir)

    fake = types.SimpleNamespace(model_upload=model_upload)
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    assert run_verb(*kaggle_flags, "--variation=small") == 0
    handle, license_name, notes, first = calls[0]
    assert handle == "me/model/tensorFlow2/small"
    assert (license_name, first) == ("Apache 2.0", "# Module me/model/1\n")
    assert "me/model/1" in notes

    def refuse(*_, **__):
        raise RuntimeError("401 not\nyours")

    fake.model_upload = refuse
    capsys.readouterr()
    assert run_verb(*kaggle_flags) == 1
    told = "error: me/model/1 was not published on Kaggle: 401 not yours\n"
    assert capsys.readouterr().err == told


def test_kaggle_has_no_deep_names(kaggle_flags, capsys):
    assert run_verb(*kaggle_flags, "--handle=me/a/b/1", "--dry_run") == 1
    assert "without '/'" in capsys.readouterr().err
