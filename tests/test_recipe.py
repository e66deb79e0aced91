import pytest

from ecgveil.errors import ConfigError
from ecgveil.leads import LEADS_12
from ecgveil.recipe import load_recipe, parse_overrides, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_written_out_and_read_again_is_the_same(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml())
    assert load_recipe(file) == recipe


def test_the_published_settings():
    p1, p2 = load_recipe("piacentino-z"), load_recipe("pulse2pulse")
    assert (p1.data.leads, p1.data.fs, p1.data.n_samples) == (("I",), 1000, 2025)
    assert (p1.training.epochs, p1.training.batch) == (200, 30)
    assert (p1.model["widths"], p1.model["latent"]) == ([64, 128, 256], 100)
    assert (len(p2.data.leads), p2.data.n_samples, p2.data.fs) == (8, 5000, 500)
    t = p2.training
    assert (t.objective, t.learning_rate, t.betas, t.critic_steps, t.batch) == ("wgan-gp", 1e-4, (0.5, 0.9), 5, 32)


@pytest.mark.parametrize("name", recipe_names())
def test_only_our_own_chooses_between_candidates_unless_asked_to(name):
    assert load_recipe(name).training.candidates == (4 if name in ("veil", "veil-conditional") else 0)


def test_overrides():
    recipe = load_recipe("quick", parse_overrides(["training.steps=7", "data.leads=['I']", "model.width = 8"]))
    assert (recipe.training.steps, recipe.data.leads, recipe.model["width"]) == (7, ("I",), 8)
    recipe = load_recipe("quick", {"training.epochs": 3})
    assert (recipe.training.steps, recipe.training.epochs) == (None, 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.stepz": 3}, "unknown setting 'training.stepz'; did you mean 'training.steps'?"),
        ({"model.widht": 3}, "unknown setting 'model.widht'; did you mean 'model.width'?"),
        ({"trainin.steps": 3}, "unknown setting 'trainin.steps'; did you mean 'training.steps'?"),
        ({"training.batch": -1}, "training.batch is -1"),
        ({"training.batch": "many"}, "training.batch is 'many'"),
        ({"training.objective": "wgan"}, "training.objective is 'wgan'"),
        ({"model.architecture": "beats"}, "did you mean 'beat'?"),
        ({"encoder.arrange": "zz"}, "unknown encoder.arrange 'zz'"),
        ({"data.leads": ["X"]}, "unknown lead 'X'"),
        ({"training.learning_rate": float("nan")}, "training.learning_rate is nan"),
        ({"training.betas": [1, 2]}, "training.betas.0 is 1"),
        ({"encoder.a": 5}, "encoder.a is no setting of the per-lead standardizer"),
        ({"encoder.arrange": "z", "data.n_samples": 2501}, "2501 samples do not fill a square image"),
        ({"encoder.arrange": "z", "data.n_samples": 2025}, "takes encoder.arrange = 'waveform', not 'z'"),
        ({"model.architecture": ["a"]}, "unknown architecture"),
        ({"model.crop_s": float("inf")}, "model.crop_s is inf"),
        ({"data.fs": 0.05}, "data.fs is 0.05"),
        ({"data.labels": ["MI", "MI"]}, "data.labels names a label twice: MI, MI"),
        ({"data.labels": [""]}, "data.labels.0 is ''"),
        ({"data.conditions": ["age", "age"]}, "data.conditions names something twice: age, age"),
        ({"data.conditions": ["height"]}, "data.conditions.0 is 'height': it should be 'sex', 'age' or 'heart_rate'"),
        ({"training.candidates": -1}, "training.candidates is -1"),
        ({"data.units": "uV"}, "data.units is 'uV': it should be 'mV' or 'sd'"),
    ],
)
def test_wrong_settings(overrides, message):
    with pytest.raises(ConfigError) as caught:
        load_recipe("quick", overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_need_a_model_that_takes_them():
    with pytest.raises(ConfigError, match=r"piacentino-cnn takes no data.labels; .*pulse2pulse.* do; it learns cl"):
        load_recipe("piacentino-z", {"data.labels": ["MI"]})
    assert load_recipe("pulse2pulse", {"data.labels": ["MI"]}).data.labels == ("MI",)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("quick", {"training.marginals": 1.0}, "training.marginals is for model veil; leave it out with beat"),
        ("veil", {"training.augment_noise": 0.1}, "training.augment_noise is no setting of model veil"),
        ("veil", {"encoder.span_sd": 5.0}, "goes with standardize = 'per-lead', without settings"),
        ("veil", {"encoder.arrange": "waveform"}, "'complexes' and model veil go together, and with nothing else"),
        ("quick", {"encoder.arrange": "complexes"}, "'complexes' and model veil go together, and with nothing else"),
        ("veil", {"data.n_samples": 1250}, "data.n_samples is 1250, 2.5 s; the model needs 4 s or more"),
        ("veil", {"data.leads": list(LEADS_12)}, "data.leads are 12, too many for model veil at 500 Hz"),
        ("veil", {"data.cut": "beats"}, "learns the rhythm; data.cut = 'beats' leaves none"),
    ],
)
def test_what_veil_cannot_take(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(name, overrides)


NO_CLASSES = {"data.labels": [], "data.exclusive": False, "data.other": "", "data.conditions": ["sex"]}


def test_conditions_need_a_model_that_takes_them():
    with pytest.raises(ConfigError, match=r"conv1d-ac takes no data.conditions; beat, .*, wavegan-star do"):
        load_recipe("dcgan", {**NO_CLASSES, "model.architecture": "conv1d-ac"})
    with pytest.raises(ConfigError, match=r"learns classes alone; leave data.conditions \(age\) out"):
        load_recipe("acgan", {"data.conditions": ["age"]})


def test_the_systems_of_p2_share_their_training():
    recipes = [load_recipe(name) for name in ("pulse2pulse", "wavegan-star")]
    assert recipes[0].training == recipes[1].training
    assert recipes[0].data == recipes[1].data
    assert recipes[1].model["latent"] == 100
    for name, plain in zip(("pulse2pulse-conditional", "wavegan-star-conditional"), recipes, strict=True):
        conditional = load_recipe(name)
        assert conditional.data.conditions == ("sex", "age", "heart_rate")
        assert (conditional.training, conditional.model) == (plain.training, plain.model)


def test_pulse2pulse_lengths():
    with pytest.raises(ConfigError, match="needs a multiple of 2500"):
        load_recipe("pulse2pulse", {"data.n_samples": 5001})


def test_a_name_that_cannot_stand_in_a_header(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(load_recipe("quick").to_toml().replace('name = "quick"', 'name = "q\\n# Dx: 1"'))
    with pytest.raises(ConfigError, match="name is"):
        load_recipe(file)


def test_all_problems_at_once():
    with pytest.raises(ConfigError) as caught:
        load_recipe("quick", {"training.batch": -1, "training.stepz": 1, "model.widht": 1})
    assert all(word in str(caught.value) for word in ("training.batch", "training.stepz", "model.widht"))


@pytest.mark.parametrize(
    ("changes", "windows", "steps"),
    [
        ({"training.steps": 100}, 8, 100),
        ({"training.steps": 100, "training.most_passes": 50}, 320, 100),
        ({"training.steps": 100, "training.most_passes": 5}, 64, 10),
        ({"training.steps": 100, "training.most_passes": 1}, 3, 1),
        ({"training.epochs": 3, "training.most_passes": 1}, 64, 6),
    ],
)
def test_steps_end_after_the_most_passes(changes, windows, steps):
    assert load_recipe("veil", {"training.batch": 32, "training.most_passes": 0} | changes).n_steps(windows) == steps


@pytest.mark.parametrize("text", ["training.steps", "steps=3", "=3"])
def test_an_assignment_that_is_none(text):
    with pytest.raises(ConfigError, match="group.name=value"):
        parse_overrides([text])


def test_unknown_recipe_and_broken_file(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        load_recipe("quik")
    with pytest.raises(ConfigError, match="no such recipe file"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_recipe(tmp_path / "broken.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match="training is missing"):
        load_recipe(tmp_path / "empty.toml")
