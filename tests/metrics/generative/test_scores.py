import numpy as np
import pytest

from tests.helpers import golden
from tfdl.metrics.generative import (
    frechet,
    inception_score,
    kernel_distance,
    neighbours,
    path_length,
    separability,
)


@pytest.fixture(scope="module")
def biggan():
    return np.load(golden("biggan", "metrics.npz"))


@pytest.fixture(scope="module")
def stylegan():
    return np.load(golden("stylegan", "io_misc.npz"))


def moments(features, parts=1):
    result = frechet.Moments()
    for part in np.array_split(features, parts):
        result.update(part)
    return result


@pytest.mark.parametrize("parts", [1, 7])
def test_frechet_distance_equals_the_references(biggan, stylegan, parts):
    real, fake = moments(biggan["real"], parts), moments(biggan["fake"], parts)
    np.testing.assert_allclose(real.mean, biggan["mu_real"], rtol=1e-9)
    np.testing.assert_allclose(fake.covariance, biggan["sigma_fake"], atol=1e-12)
    found = frechet.distance(real, fake)
    assert found.value == pytest.approx(float(biggan["fid_scipy"]), rel=1e-6)
    assert not found.rank_deficient
    a, b = (moments(stylegan[f"fid_{x}_act"], parts) for x in ("real", "fake"))
    assert frechet.distance(a, b).value == pytest.approx(
        float(stylegan["fid_result"]), rel=1e-6
    )
    assert frechet.distance(a, a).value == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_too_few_features_is_exact_and_flagged(biggan):
    n = int(biggan["lowrank_n"])
    a, b = moments(biggan["real"][:n]), moments(biggan["fake"][:n])
    for one, other in ((a, b), (b, a), (a, moments(biggan["fake"]))):
        assert frechet.distance(one, other).rank_deficient
    found = frechet.distance(a, b).value
    assert found == pytest.approx(float(biggan["fid_lowrank_eigh"]), rel=1e-6)
    assert found == pytest.approx(frechet.distance(b, a).value, rel=1e-6)


def test_frechet_keeps_small_differences_far_from_the_origin():
    draws = np.random.default_rng(0)
    rows = draws.normal(size=[500, 4])
    near = frechet.distance(moments(rows[:250], 5), moments(rows[250:], 3)).value
    far = frechet.distance(
        moments(rows[:250] + 1e6, 5), moments(rows[250:] + 1e6, 3)
    ).value
    assert far == pytest.approx(near, rel=1e-4)


def test_moments_do_not_depend_on_how_features_arrive():
    rows = np.random.default_rng(0).normal(3, 1, [2500, 6])
    for parts in (1, 2, 300):
        found = moments(rows, parts)
        assert found.count == 2500
        np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(rows.T), atol=1e-12)
        found.update(rows[:3])
        assert found.count == 2503
    again = frechet.Moments.load(moments(rows[:1500]).arrays()).update(rows[1500:])
    np.testing.assert_allclose(again.covariance, np.cov(rows.T), atol=1e-12)


def test_moments_come_back_from_arrays_and_refuse_what_is_no_number(biggan):
    real = moments(biggan["real"])
    again = frechet.Moments.load(real.arrays())
    assert again.count == 150
    assert frechet.distance(real, again).value == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="not finite"):
        real.update(np.array([[np.nan] * 20]))
    with pytest.raises(ValueError, match="2 features"):
        _ = moments(biggan["real"][:1]).covariance


def test_inception_score_equals_the_references(biggan):
    for splits in (1, 10):
        found = inception_score.inception_score(biggan["probs"], splits)
        np.testing.assert_allclose(found, biggan[f"is_ajb_splits{splits}"], rtol=1e-6)
    found = inception_score.inception_score(biggan["probs"], 10, "fractional")
    np.testing.assert_allclose(
        found, biggan["is_openai_boundaries_splits10"], rtol=1e-6
    )
    one, spread = inception_score.inception_score(biggan["probs"], 10, ddof=1)
    assert spread == pytest.approx(
        biggan["is_ajb_splits10"][1] * np.sqrt(10 / 9), rel=1e-6
    )


def test_inception_score_knows_its_ends():
    certain = np.eye(5)[np.arange(50) % 5]
    assert inception_score.inception_score(certain, 2) == pytest.approx((5, 0))
    same = np.full([50, 5], 0.2)
    assert inception_score.inception_score(same, 2) == pytest.approx((1, 0))
    with pytest.raises(ValueError, match="cannot be cut"):
        inception_score.inception_score(same, 51)


def test_kernel_distance_equals_the_reference(biggan):
    found = kernel_distance.polynomial_mmd(biggan["real"], biggan["fake"])
    assert found == pytest.approx(float(biggan["kid_unbiased_full"]), rel=1e-6)
    mean, spread = kernel_distance.kernel_distance(
        biggan["real"], biggan["fake"], subsets=30, size=100
    )
    assert abs(mean - found) < 3 * spread and spread > 0
    again = kernel_distance.kernel_distance(
        biggan["real"], biggan["fake"], subsets=30, size=100
    )
    assert (mean, spread) == again


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("tile", [1024, 17])
def test_neighbours_equal_the_reference(biggan, monkeypatch, k, tile):
    monkeypatch.setattr(neighbours, "_TILE", tile)
    found = neighbours.prdc(biggan["real"], biggan["fake"], k)
    np.testing.assert_allclose(list(found.values()), biggan[f"prdc_k{k}"], rtol=1e-6)
    with pytest.raises(ValueError, match="too few"):
        neighbours.prdc(biggan["real"][:k], biggan["fake"], k)


def test_the_surface_of_a_ball_is_inside_only_when_asked_for():
    real, fake = np.array([[0.0], [1.0]]), np.array([[2.0], [5.0]])
    assert neighbours.prdc(real, fake, 1)["precision"] == 0
    assert neighbours.prdc(real, fake, 1, strict=False)["precision"] == 0.5


def test_path_length_filter_equals_the_reference(stylegan):
    found = path_length.filtered_mean(stylegan["ppl_distances"])
    assert found == pytest.approx(float(stylegan["ppl_result"]), rel=1e-6)


def test_path_length_places_and_crops():
    draws = np.random.RandomState(0)
    assert not path_length.places(draws, 3, "end").any()
    assert np.unique(path_length.places(draws, 9, "full")).size == 9
    with pytest.raises(ValueError, match="none of"):
        path_length.places(draws, 3, "middle")
    rows, columns = np.mgrid[:16, :16]
    image = (rows * 16 + columns)[None, ..., None].astype(np.float32)
    crop = path_length.crop_faces(image)
    assert crop.shape == (1, 8, 8, 1) and crop[0, 0, 0, 0] == 6 * 16 + 4
    assert path_length.shrink(image, 8)[0, 0, 0, 0] == image[0, :2, :2].mean()
    assert path_length.shrink(image) is image


def test_separability_formulas_equal_the_reference(stylegan):
    entropies = [
        separability.conditional_entropy(o, t)
        for o, t in zip(
            stylegan["ls_svm_outputs"], stylegan["ls_svm_targets"], strict=True
        )
    ]
    np.testing.assert_allclose(
        entropies, stylegan["ls_cond_entropy_bits"], rtol=1e-6, atol=1e-12
    )
    assert separability.score(entropies) == pytest.approx(
        float(stylegan["ls_score"]), rel=1e-6
    )


def test_separability_tells_a_plane_from_a_ring():
    draws = np.random.default_rng(0)
    points = draws.normal(size=[600, 2])
    plane = 1 / (1 + np.exp(-4 * points[:, 0]))
    ring = 1 / (1 + np.exp(-4 * (np.linalg.norm(points, axis=1) - 1.2)))
    everybody = np.full(600, 0.9)
    found = separability.separability(points, np.stack([plane, ring, everybody], 1))
    assert found["entropies"][0] < 0.1 < 0.7 < found["entropies"][1]
    assert found["entropies"][2] == 0
    assert found["score"] == pytest.approx(2 ** sum(found["entropies"]))
