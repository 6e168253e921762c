"""Recipes, overrides and frozen configurations."""

import pytest

from tfdl.engine import config, errors


def test_every_recipe_loads_and_survives_json():
    for name in config.recipes("bert"):
        recipe = config.load_recipe("bert", name)
        assert recipe.model == "bert"
        again = config.from_json(config.to_json(recipe))
        assert config.differences(recipe, again) == []


def test_overrides_keep_types():
    recipe = config.load_recipe("bert", "default")
    config.apply_overrides(
        recipe,
        {
            "seed": "7",
            "xla": "true",
            "stages.classify.optimizer.learning_rate": "3e-5",
            "stages.pretrain.phases.64 tokens.steps": "9",
        },
    )
    assert recipe.seed == 7 and recipe.xla is True
    assert recipe.stages[1].optimizer.learning_rate == 3e-5
    assert recipe.stages[0].phases[1].steps == 9


@pytest.mark.parametrize(
    "path, value, said",
    [
        ("sead", "1", "did you mean 'seed'"),
        ("stages.classify.optimizer.learning_rat", "1", "did you mean 'learning_rate'"),
        ("seed", "many", "an integer is needed"),
        ("xla", "maybe", "true or false"),
        ("optimizer", "adam", "is a group of fields"),
        ("seed.more", "1", "is a value"),
        ("stages.pretrian.seed", "1", "did you mean 'pretrain'"),
    ],
)
def test_bad_overrides(path, value, said):
    recipe = config.load_recipe("bert", "default")
    with pytest.raises(errors.UserError, match=said):
        config.apply_overrides(recipe, {path: value})


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(errors.UserError, match="did you mean 'bert'"):
        config.load_recipe("brt", "default")
    with pytest.raises(errors.UserError, match="did you mean 'default'"):
        config.load_recipe("bert", "defualt")


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("a.py", "x = 1\n", "does not define get_config"),
        ("a.py", "def get_config(:\n", "a.py:1"),
        ("a.py", "def get_config():\n    return 3\n", "has to return a ConfigDict"),
        ("a.json", "{", "a.json:1"),
        ("a.json", "[]", "JSON object"),
        ("a.txt", "x", ".py or a .json"),
        ("a.py", "", "is empty"),
    ],
)
def test_bad_recipe_files(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(errors.UserError, match=said):
        config.load_file(path)


def test_differences_leave_out_what_does_not_matter():
    one, two = config.base_config(), config.base_config()
    two.log_every = 1
    assert config.differences(one, two) == []
    two.seed = 1
    assert config.differences(one, two) == ["seed: 0 -> 1"]
