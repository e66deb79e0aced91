"""The image GAN of Piacentino et al. 2021, and the recipes that run it."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import shaped
from ecgveil.classes import count_classes
from ecgveil.ecg import concat
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.intake import take_in
from ecgveil.models import MODELS
from ecgveil.models.contract import Context, stack
from ecgveil.models.piacentino import CnnSettings, Critic, Generator
from ecgveil.recipe import load_recipe, recipe_names
from ecgveil.sampling import load
from ecgveil.simulate import simulate
from ecgveil.training.fit import fit

TINY = {"training.steps": 2, "training.batch": 6, "model.widths": [4, 6, 8], "training.pictures": 0}
RECIPES = [name for name in recipe_names() if name.startswith("piacentino-")]
SMALL = CnnSettings(widths=(4, 6, 8), latent=5)


@pytest.fixture(scope="module")
def clinic():
    """45 simulated patients: some ten of each class are trained on."""
    return simulate(45, seed=3)[0]


def windows_for(clinic, recipe):
    """A window of every simulated patient and a second one of every third; these bear the first class, if any."""
    ecgs = shaped(clinic, recipe)
    if recipe.data.exclusive:
        borne = [("other", "Myocardial infarction", "Healthy control"), ("Healthy control",), ()]
        ecgs = replace(ecgs, labels=tuple(borne[i % 3] for i in range(len(ecgs))))
    more = ecgs.take(range(0, len(ecgs), 3))
    names = tuple(f"{name}-b" for name in more.record_name)
    return concat([ecgs, replace(more, record_name=names, signal=more.signal[:, :, ::-1])])


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_resumes_samples_and_decodes(name, clinic, tmp_path):
    recipe = load_recipe(name, TINY)
    ecgs = windows_for(clinic, recipe)
    fit(ecgs, recipe, tmp_path / "run", seed=1)
    folder = fit(ecgs, recipe, tmp_path / "run", seed=1, resume=True)
    run = load(folder.path)
    assert (run.step, run.steps) == (2, 2)
    drawn = run.sample(5, seed=4)
    assert (drawn.leads, drawn.fs, drawn.signal.shape) == (recipe.data.leads, 1000, (5, len(recipe.data.leads), 2025))
    assert np.array_equal(drawn.signal, run.sample(20, seed=4, batch_size=3).signal[:5])
    assert drawn.signal.std(axis=-1).min() > 0
    assert set(map(len, drawn.labels)) == {1 if recipe.data.exclusive else 0}
    again = run.encoder.decode(*run.encoder.encode(ecgs))  # and what is real comes back
    assert np.median(np.abs(again - ecgs.signal)) <= run.encoder.step_mv


def test_interrupted_and_resumed_it_gives_the_same_numbers(clinic, tmp_path):
    recipe = load_recipe("piacentino-acgan", {**TINY, "training.steps": 4, "training.checkpoint_seconds": 1e-6})
    ecgs = windows_for(clinic, recipe)
    whole = fit(ecgs, recipe, tmp_path / "whole", seed=1)

    def interrupt(row):
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(ecgs, recipe, tmp_path / "cut", seed=1, on_log=interrupt)
    cut = fit(ecgs, recipe, tmp_path / "cut", seed=1, resume=True)
    for one, other in zip(whole.load_state()[0].items(), cut.load_state()[0].items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


def test_the_published_settings():
    t = {name: load_recipe(name).training for name in RECIPES}
    assert {name: (each.epochs, each.batch, each.label_smoothing) for name, each in t.items()} == {
        "piacentino-acgan": (400, 64, 0.1),
        "piacentino-min-max": (200, 30, 0.0),
        "piacentino-reversed": (200, 30, 0.0),
        "piacentino-rgb": (200, 60, 0.0),
        "piacentino-rgb-smooth": (200, 60, 0.1),
        "piacentino-six": (200, 60, 0.0),
        "piacentino-transposed": (200, 30, 0.0),
        "piacentino-z": (200, 30, 0.0),
    }
    for name in RECIPES:
        recipe = load_recipe(name)
        assert (recipe.model["widths"], recipe.model["latent"], recipe.data.n_samples) == ([64, 128, 256], 100, 2025)
        assert "section" in recipe.source
    assert load_recipe("piacentino-min-max").encoder.standardize == "min-max"


def test_the_class_reaches_the_generator_and_the_class_head():
    context = Context((1, 45, 45), 1000.0, n_conditions=3)
    generator, critic, rng = Generator(SMALL, context).eval(), Critic(SMALL, context), torch.Generator().manual_seed(0)
    noises = [generator.draw(np.random.default_rng(1), row) for row in np.eye(3, dtype=np.float32)]
    made = generator(stack(noises))
    assert made.shape == (3, 1, 45, 45)
    assert not torch.allclose(made[0], made[1])  # the same noise for another class
    scores, classes = critic.classified(made, rng)
    assert (scores.shape, classes.shape) == ((3, 1), (3, 3))
    assert torch.equal(scores, critic(made, rng, torch.eye(3)))  # whether it is real does not hang on the class
    torch.nn.functional.cross_entropy(classes, torch.arange(3)).backward()
    assert critic.classes.weight.grad.abs().sum() > 0
    assert generator.net[0].weight.grad[:, SMALL.latent :].abs().sum() > 0
    shared = [layer for layer in critic.net if isinstance(layer, torch.nn.Conv2d)]  # with the scores
    assert len(shared) == 3
    assert all(layer.weight.grad.abs().sum() > 0 for layer in shared)


def test_without_classes_there_is_nothing_of_them():
    context = Context((1, 45, 45), 1000.0)
    assert Critic(CnnSettings(), context).classes is None
    plain = Critic(CnnSettings(critic_norm="none"), context).state_dict()
    sizes = {name: tuple(each.shape) for name, each in plain.items()}
    assert sizes["net.7.weight"] == (1, 256 * 36)
    assert len(sizes) == 8
    assert Generator(CnnSettings(), context).state_dict()["net.0.weight"].shape == (256 * 36, 100)


@pytest.mark.parametrize(("norm", "together"), [("none", False), ("batch", True)])
def test_batch_norm_judges_a_batch_as_a_whole_and_keeps_no_statistics(norm, together):
    critic = Critic(CnnSettings(widths=(4, 8, 16), critic_norm=norm), Context((1, 45, 45), 1000.0)).eval()
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(6, 1, 45, 45, generator=rng)
    assert torch.allclose(critic(x, rng)[:3], critic(x[:3], rng), atol=1e-6) is not together
    assert not list(critic.buffers())


def test_a_gradient_penalty_and_batch_norm_in_the_critic_do_not_go_together():
    with pytest.raises(ConfigError, match="model.critic_norm = 'batch' makes it depend on the others; set it to"):
        load_recipe("piacentino-z", {"training.objective": "wgan-gp"})
    load_recipe("piacentino-z", {"training.objective": "wgan-gp", "model.critic_norm": "none"})


@pytest.mark.parametrize("shape", [(1, 90, 45), (1, 44, 132), (2, 16, 21)])
def test_images_need_not_be_squares(shape):
    context = Context(shape, 1000.0)
    made = Generator(SMALL, context)(stack([{"z": np.zeros(5)}] * 2))
    assert made.shape == (2, *shape)
    assert Critic(SMALL, context)(made, torch.Generator()).shape == (2, 1)


@pytest.mark.parametrize("arrange", ["stripes", "blocks", "shuffled"])
def test_other_arrangements_by_a_setting(arrange, clinic, tmp_path):
    recipe = load_recipe("piacentino-six", {**TINY, "encoder.arrange": arrange})
    run = load(fit(windows_for(clinic, recipe), recipe, tmp_path / "run", seed=1).path)
    assert run.encoder.shape == {"stripes": (1, 270, 45), "blocks": (1, 90, 135), "shuffled": (6, 45, 45)}[arrange]
    assert run.sample(2).signal.shape == (2, 6, 2025)


def test_undersampling_is_of_the_training_part_and_recorded(clinic, tmp_path):
    recipe = load_recipe("piacentino-acgan", TINY)
    ecgs = windows_for(clinic, recipe)
    folder = fit(ecgs, recipe, tmp_path / "run", seed=1)
    classes = folder.provenance["classes"]
    found, taught = classes["found"], classes["trained_on"]
    assert found["Myocardial infarction"] > min(found.values()) > 0
    assert set(taught.values()) == {min(found.values())}
    counts = folder.provenance["counts"]
    assert counts["train"]["windows"] == sum(taught.values()) < sum(found.values())
    assert folder.conditions.names == ["Myocardial infarction", "Healthy control", "Miscellaneous"]
    assert dict(zip(map(tuple, folder.conditions.combinations), folder.conditions.counts, strict=True)) == {
        (name,): n for name, n in taught.items()
    }
    drawn = Counter(label for borne in load(folder.path).sample(300).labels for label in borne)
    assert all(n == pytest.approx(100, abs=35) for n in drawn.values())
    every = load_recipe("piacentino-acgan", {**TINY, "data.undersample": False})
    with pytest.raises(RunError, match=r"other settings \(data.undersample"):
        fit(ecgs, every, tmp_path / "run", seed=1, resume=True)
    everything = fit(ecgs, every, tmp_path / "all", seed=1).provenance
    assert everything["classes"] == {"found": found, "trained_on": found}


def test_other_diagnoses_are_other_data(clinic, tmp_path):
    recipe = load_recipe("piacentino-acgan", TINY)
    ecgs = windows_for(clinic, recipe)
    fit(ecgs, recipe, tmp_path / "run", seed=1)
    renamed = replace(ecgs, labels=tuple(borne or ("Dysrhythmia",) for borne in ecgs.labels))
    fit(renamed, recipe, tmp_path / "run", seed=1, resume=True)  # Miscellaneous either way
    with pytest.raises(RunError, match="other records"):
        fit(replace(ecgs, labels=tuple(reversed(ecgs.labels))), recipe, tmp_path / "run", seed=1, resume=True)
    few = ecgs.take([i for i, borne in enumerate(ecgs.labels) if borne])
    with pytest.raises(RecordError, match="no ECG of the training part is of class 'Miscellaneous'"):
        fit(few, recipe, tmp_path / "few", seed=1)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("piacentino-z", {"training.objective": "acgan"}, "acgan learns classes; set data.labels, and data.exclusive"),
        ("piacentino-z", {"data.labels": ["MI"]}, "takes no data.labels; .* it learns classes if training.objective"),
        ("piacentino-z", {"data.other": "x"}, "data.other is about classes; set data.exclusive"),
        ("piacentino-z", {"data.undersample": True}, "data.undersample is about classes"),
        ("piacentino-acgan", {"data.other": "", "data.labels": ["MI"]}, "needs two classes at least, .* are MI"),
        ("piacentino-acgan", {"data.other": "", "data.labels": []}, "needs two classes at least, .* are none"),
        ("piacentino-acgan", {"data.other": "Healthy control"}, "which is one of data.labels too"),
        ("piacentino-acgan", {"data.conditions": ["sex"]}, r"learns classes alone; leave data.conditions \(sex\) out"),
        ("quick", {"training.objective": "acgan"}, "model beat has none; take one of .*piacentino-cnn"),
        ("piacentino-z", {"data.units": "sd"}, "data.units is 'sd': give encoder.span_sd"),
        ("piacentino-z", {"encoder.order_seed": 1}, "encoder.order_seed is no setting of the z arrangement"),
        ("piacentino-min-max", {"encoder.span_sd": 9.0}, "encoder.span_sd is no setting of the min-max standardizer"),
        ("piacentino-z", {"encoder.arrange": "waveform"}, "takes encoder.arrange = 'z', not 'waveform'"),
        ("piacentino-six", {"encoder.arrange": "blocks", "data.n_samples": 2000}, "do not fill a square image"),
        ("piacentino-z", {"model.widths": [0, 4, 4]}, "widths.*greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(name, changes)


def test_an_order_of_ones_own_survives_the_recipe_file(tmp_path):
    order = np.random.default_rng(0).permutation(2025).tolist()
    recipe = load_recipe("piacentino-z", {"encoder.arrange": "own", "encoder.order": order})
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "r.toml") == recipe
    assert list(json.loads(json.dumps(recipe.encoder_settings()))["order"]) == order


def test_classes_of_real_records_in_standard_deviations(data, tmp_path):
    """PTB-XL's superclasses, its amplitudes lost: three classes, as the windows are taken in and trained on."""
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "records500").symlink_to(data / "ptbxl_shape" / "records500")
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        (tmp_path / "db" / name).symlink_to(data / "ptbxl_shape" / name)
    names = (data / "ptbxl_shape" / "RECORDS").read_text().split()[::12]
    (tmp_path / "db" / "RECORDS").write_text("\n".join(names) + "\n")
    changes = {"data.units": "sd", "data.labels": ["MI", "NORM"]}
    recipe = load_recipe("piacentino-acgan", {**TINY, **changes})
    taken = take_in([tmp_path / "db"], recipe, resample=True)
    ecgs = taken.ecgs
    assert set(ecgs.labels) == {("MI",), ("NORM",), ("Miscellaneous",)}
    folder = fit(ecgs, recipe, tmp_path / "run", seed=1)
    assert folder.encoder.standardize.span_mv == 11
    assert folder.provenance["saturated"]["windows"] < 0.05
    drawn = load(folder.path).sample(3)
    assert drawn.units == "sd"
    strict = load_recipe("piacentino-acgan", {**changes, "data.other": ""})
    fewer = take_in([tmp_path / "db"], strict, resample=True)
    missing = count_classes(ecgs, ["Miscellaneous"])["Miscellaneous"]
    assert len(ecgs) - len(fewer.ecgs) == missing > 0
    assert f"{missing} windows bear none of MI, NORM and were left out." in fewer.notes


def test_the_model_says_what_it_can():
    assert MODELS["piacentino-cnn"].classifies
    assert not MODELS["piacentino-cnn"].takes_conditions  # its scores are no matter of the class
