"""Pictures, figures and videos of tiny networks, and what cannot be asked for."""

import json

import numpy as np
import pytest
from PIL import Image

import tfdl
from tests.helpers import golden
from tests.models.stylegan import goldens
from tfdl import predict as predict_verb
from tfdl.engine import errors, model_dir
from tfdl.gan import sheets, video
from tfdl.metrics.generative import perceptual
from tfdl.models.stylegan import drawing, figures, projection

CLASSES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Model directories of both golden networks."""
    root = tmp_path_factory.mktemp("models")
    found = {}
    for name in ("tiny32", "cond16"):
        model = goldens.network(name, "Gs")
        config = {"model": "stylegan", "generator": model.config.to_dict(), "lod": 0.0}
        assets = {}
        if model.config.label_size:
            config["classes"] = "classes.txt"
            assets["classes.txt"] = "\n".join(CLASSES) + "\n"
        found[name] = model_dir.save(root / name, config, model, assets)
    return found


@pytest.fixture(scope="module")
def drawer(folders):
    return drawing.Drawer(tfdl.load(folders["tiny32"]), batch_size=4)


@pytest.fixture
def run(folders, tmp_path, capsys):
    """Runs the verb; returns (exit code, records or what it said)."""

    def call(output, *arguments, model="tiny32"):
        predict_verb.FLAGS.unparse_flags()
        code = predict_verb.main(
            [
                "predict",
                f"--model_dir={folders[model]}",
                f"--output={tmp_path / output}" if output else "--output=",
                *arguments,
            ]
        )
        said = capsys.readouterr()
        if code:
            return code, said.err.strip().splitlines()[-1]
        return code, [json.loads(line) for line in said.out.splitlines()]

    return call


def test_default_pictures_are_the_originals(drawer):
    data = np.load(golden("stylegan", "io_tiny32.npz"))
    config = drawer.config
    w = drawer.styles(data["z"][:2])
    w = drawer.truncate(w, config.truncation_psi, config.truncation_cutoff)
    found = drawer.pictures(w, "stored").astype(int)
    wanted = data["default_uint8_nhwc"].astype(int)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() > 0.999


def test_mixed_styles_are_the_originals(drawer):
    data = np.load(golden("stylegan", "io_tiny32.npz"))
    w = drawer.styles(data["z"])
    for key in [k for k in data if k.endswith("_src_dst_lo_hi")]:
        source, into, low, high = data[key]
        mixed = figures.mix(w[into], w[source], (low, high))
        wanted = data[key.replace("_src_dst_lo_hi", "_img")].transpose(0, 2, 3, 1)
        goldens.assert_near(drawer.images(mixed[None], "stored"), wanted, 1e-4)


def test_latents_are_drawn_as_the_original_draws_them(drawer):
    wanted = np.random.RandomState(91).randn(1, drawer.config.latent_size)
    np.testing.assert_allclose(drawer.latents([91]), wanted, rtol=1e-6)


@pytest.mark.parametrize("noise", drawing.NOISES)
def test_a_picture_depends_on_its_seed_alone(drawer, noise):
    def pictures(seeds):
        w = drawer.styles(drawer.latents(seeds))
        return drawer.images(w, drawer.noise(noise, seeds))

    many = pictures([5, 6, 7, 8, 9, 10])
    first = 5 if noise == "fixed" else 9
    one = pictures([first])[0]
    np.testing.assert_allclose(many[first - 5], one, rtol=1e-4, atol=1e-4)
    assert np.array_equal(many, pictures([5, 6, 7, 8, 9, 10]))


def test_samples_as_a_sheet_and_as_files(run, tmp_path):
    code, records = run("a.png", "--num_samples=5", "--seed=3")
    assert code == 0 and records[0]["seeds"] == [3, 4, 5, 6, 7]
    assert records[0]["truncation_psi"] == 0.7
    assert Image.open(tmp_path / "a.png").size == (96, 64)
    code, records = run("b/", "--option=seeds=7,3-4", "--option=save_w=true")
    assert code == 0
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    alone = np.asarray(Image.open(tmp_path / "b" / "seed0004.png"))
    assert np.abs(alone.astype(int) - sheet[:32, 32:64]).max() <= 1
    # The saved styles give the same pictures again; they are not truncated twice.
    code, _ = run("c/", f"--input={tmp_path}/b/w.npy", "--option=noise=stored")
    run("d/", "--option=seeds=7,3,4", "--option=noise=stored")
    for given, seed in enumerate((7, 3, 4)):
        again = Image.open(tmp_path / "c" / f"w{given:04d}.png")
        assert again == Image.open(tmp_path / "d" / f"seed{seed:04d}.png")


def test_sizes_crops_and_truncation(run, tmp_path):
    run("a.png", "--num_samples=1", "--option=size=8", "--option=noise=zero")
    run("b.png", "--num_samples=1", "--option=lod=2", "--option=noise=zero")
    small, large = (np.asarray(Image.open(tmp_path / f"{x}.png")) for x in "ab")
    assert small.shape == (8, 8, 3)
    assert np.array_equal(sheets.enlarge(small, 4), large)
    run("c.png", "--num_samples=1", "--option=crop=16x32", "--option=enlarge=2")
    assert Image.open(tmp_path / "c.png").size == (64, 32)
    # At psi 0 in all layers everybody is the average.
    run(
        "d/",
        "--num_samples=2",
        "--truncation=0",
        "--option=cutoff=all",
        "--option=noise=stored",
    )
    one, other = (Image.open(tmp_path / "d" / f"seed000{i}.png") for i in (0, 1))
    assert one == other


def test_classes_by_name_and_number(run, tmp_path):
    same = ["--option=seeds=4,4,4", "--option=noise=stored"]
    run("a/", "--labels=dog", *same, model="cond16")
    code, _ = run("b.png", "--labels=dog,1,bird", *same, model="cond16")
    assert code == 0
    row = np.asarray(Image.open(tmp_path / "b.png"))[:, :, 0]
    first, second, third = row[:16, :16], row[:16, 16:], row[16:, :16]
    assert np.array_equal(first, second) and not np.array_equal(first, third)
    for labels, message in {
        "": "--labels is needed: this model has 3 classes (cat, dog, bird)",
        "dgo": "did you mean 'dog'",
        "3": "class 3 is not in 0..2",
        "dog,cat": "names 2 classes for 3 pictures",
    }.items():
        code, said = run("c.png", f"--labels={labels}", *same, model="cond16")
        assert code == 1 and message in said and not (tmp_path / "c.png").exists()
    assert "has no classes" in run("c.png", "--labels=dog")[1]


def test_figures(run, tmp_path):
    few = ["--option=seeds=1,2", "--option=enlarge=1"]
    code, records = run(
        "m.png", "--option=figure=mixing", "--option=source_seeds=3,4,5", *few
    )
    assert code == 0 and records[0]["styles"] == ["coarse", "middle"]
    sheet = np.asarray(Image.open(tmp_path / "m.png"))
    assert sheet.shape == (3 * 32, 4 * 32, 3) and (sheet[:32, :32] == 255).all()
    code, _ = run("t.png", "--option=figure=truncation", "--option=psis=1,0", *few)
    assert code == 0
    sheet = np.asarray(Image.open(tmp_path / "t.png"))
    assert np.array_equal(sheet[-32:, -32:], sheet[-66:-34, -32:])
    code, _ = run("n.png", "--option=figure=noise", "--option=noise_samples=8", *few)
    assert code == 0 and Image.open(tmp_path / "n.png").width > 7 * 32


def test_interpolations_are_closed_and_smooth(run, tmp_path):
    arguments = ["--option=figure=interpolation", "--option=steps=8", "--option=rate=8"]
    code, records = run("w.mp4", *arguments, "--option=seeds=1-3", "--option=enlarge=2")
    assert code == 0 and records[0]["frames"] == 24
    frames = np.stack(list(video.read(tmp_path / "w.mp4"))).astype(float)
    assert frames.shape == (24, 64, 64, 3)
    steps = np.abs(frames - np.roll(frames, -1, 0)).mean((1, 2, 3))
    assert steps.max() < 4 * np.median(steps)
    far = np.abs(frames - np.roll(frames, 8, 0)).mean((1, 2, 3))
    assert far.mean() > 2 * steps.mean()
    code, _ = run("z.png", *arguments, "--option=space=z", "--option=seeds=1,2")
    assert code == 0 and Image.open(tmp_path / "z.png").size == (8 * 32, 2 * 32)


def test_projection_finds_a_picture_of_the_network(drawer, run, tmp_path):
    w = drawer.truncate(drawer.styles(drawer.latents([3])), 0.5, 8)
    wanted = drawer.images(w, "stored")[0]
    distance = perceptual.open_distance("pyramid")
    inputs = np.clip(wanted, -1, 1)
    found = projection.project(drawer, inputs, distance, "w+", steps=50)
    assert found.after < 0.3 * found.before
    assert found.w.shape == w.shape[1:]
    one = projection.project(drawer, inputs, distance, "w", steps=10)
    assert one.after < one.before
    assert np.ptp(one.w, axis=0).max() == 0 < np.ptp(found.w, axis=0).max()
    Image.fromarray(sheets.to_uint8(inputs)).resize((80, 60)).save(tmp_path / "me.png")
    code, records = run(
        "p/",
        "--option=figure=projection",
        "--option=steps=5",
        f"--input={tmp_path / 'me.png'}",
    )
    assert code == 0 and records[0]["distance"] == "pyramid"
    code, _ = run("again.png", f"--input={tmp_path / 'p' / 'projection.npy'}")
    assert code == 0 and Image.open(tmp_path / "again.png").size == (32, 32)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--truncation=nan"], "psi has to be a number from -10 to 10, got nan"),
        (["--truncation=-11"], "got -11.0"),
        (["--option=figure=mixng"], "did you mean 'mixing'"),
        (["--option=steps=3"], "unknown option 'steps'"),
        (["--option=noise=none"], "unknown noise 'none'"),
        (["--option=lod=4"], "a number from 0 to 3"),
        (["--option=size=24"], "this model makes 32, 16, 8, 4"),
        (["--option=size=8", "--option=lod=1"], "one of --option=lod"),
        (["--option=crop=64x8"], "pictures are 32x32"),
        (["--option=cutoff=most"], "a number of layers is needed, or all"),
        (["--option=seeds=8-3"], "8-3 is no range"),
        (["--option=seeds=4294967296"], "seeds have to be from 0"),
        (["--input=nothing.npy"], "nothing.npy: no such file"),
        (["--input=picture.png"], "w is read from a .npy file"),
        (["--option=figure=mixing", "--option=styles=tiny"], "unknown styles 'tiny'"),
        (["--option=figure=mixing", "--option=styles=4-9"], "the layers 0 to 7"),
        (["--option=figure=projection"], "the picture to project"),
        (["--option=figure=interpolation", "--option=seeds=1"], "2 pictures or more"),
    ],
)
def test_what_cannot_be_asked_for(run, tmp_path, arguments, message):
    code, said = run("x.png", *arguments)
    assert code == 1 and message in said, said
    assert not list(tmp_path.iterdir())


def test_where_results_can_go(run):
    assert "--output is needed" in run("")[1]
    assert "has to end in .png" in run("x.jpg")[1]
    assert "has to end in .png" in run("x.mp4")[1]


def test_wrong_styles_are_refused(run, tmp_path):
    for array, message in (
        (np.zeros([3, 7], np.float32), "has shape [3, 7]; this model takes w [N, 10]"),
        (np.zeros([3, 6, 10], np.float32), "or [N, 8, 10]"),
        (np.full([3, 10], np.nan, np.float32), "finite floats"),
    ):
        np.save(tmp_path / "w.npy", array)
        code, said = run("x.png", f"--input={tmp_path / 'w.npy'}")
        assert code == 1 and message in said


def test_a_picture_of_another_size_is_refused(drawer):
    with pytest.raises(errors.UserError, match=r"\(8, 8, 3\) for a network"):
        projection.project(drawer, np.zeros([8, 8, 3]), perceptual.pyramid)
