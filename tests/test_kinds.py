import os
import signal

import numpy as np
import pytest
from PIL import Image

from conftest import other_set, shaped, tiny
from ecgveil.cli import app
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.kinds import draw_squares, read_others, require_ecgs, write_others
from ecgveil.pipeline import release
from ecgveil.recipe import load_recipe
from ecgveil.sampling import load
from ecgveil.tables import TableSet, read_table, write_table
from ecgveil.training.fit import fit
from ecgveil.training.tensors import load_tensors

OTHERS = ["thyroid", "fingerprints", "iris"]


def form(name):
    data = tiny(name).data
    return other_set(data.kind, data.side)


def save_plain(images, folder):
    """As a camera would: nothing says that they are synthetic."""
    for name, pixels in zip(images.name, images.pixels, strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")


def content(found):
    return found.content()[1]


@pytest.fixture(scope="module", params=OTHERS)
def run(request, tmp_path_factory):
    recipe = tiny(request.param, training__steps=2)
    return load(fit(form(request.param), recipe, tmp_path_factory.mktemp("runs") / "run").path)


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_is_fitted_stopped_resumed_and_sampled(name, tmp_path):
    recipe = tiny(name, training__steps=2, training__checkpoint_seconds=1e-6)
    whole = fit(form(name), recipe, tmp_path / "whole", seed=1)

    def interrupt(row):
        if row["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = fit(form(name), recipe, tmp_path / "stopped", seed=1, on_log=interrupt)
    assert load(stopped.path).step == 1
    fit(form(name), recipe, tmp_path / "stopped", seed=1, resume=True)
    one, other = (load_tensors(each.path / "state.safetensors")[0] for each in (whole, stopped))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)
    assert np.array_equal(content(load(stopped.path).sample(3)), content(load(whole.path).sample(3)))
    assert len(whole.pictures()) == 2
    assert Image.open(whole.path / "pictures" / "step-0000002.png").text["Description"].startswith("synthetic")
    with pytest.raises(RunError, match="other records"):
        fit(form(name).take(range(30)), recipe, tmp_path / "whole", seed=1, resume=True)


def test_sample_k_is_the_same_whatever_the_batch(run):
    sets = [run.sample(40, seed=5, batch_size=size) for size in (1, 30, 64)]  # in batches of 16, 32 and 40
    for other in sets[1:]:
        assert np.array_equal(content(sets[0]), content(other), equal_nan=True)
    assert np.array_equal(content(run.sample(3, seed=5)), content(sets[0])[:3])
    assert not np.array_equal(content(run.sample(3, seed=6)), content(sets[0])[:3])


def test_samples_are_written_as_what_they_are(run, tmp_path):
    made = run.sample(20, seed=1)
    assert [len(batch) for batch in run.stream(20, seed=1, batch_size=2)] == [16, 4]
    assert write_others(run.stream(20, seed=1, batch_size=2), tmp_path) == 20
    if run.recipe.data.kind == "table":
        again, _ = read_table(tmp_path / "table.csv")
        assert again.names == made.names
        assert np.allclose(again.values, made.values, rtol=1e-5)
        assert 0 <= run.null_share(5) <= 1
    else:
        assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.png" for name in made.name]
        first = np.asarray(Image.open(tmp_path / "synthetic_000000.png"))
        assert np.array_equal(first, made.pixels[0])


def test_the_null_share_of_a_run_is_that_of_its_samples(tmp_path):
    run = load(fit(form("thyroid"), tiny("thyroid"), tmp_path / "run").path)
    with_null = np.concatenate(list(run.tensors(50, seed=3)))
    assert run.null_share(50, seed=3) == run.encoder.null_share(with_null)
    run.generator.net[2].bias.fill_(-50)  # every cell black
    assert run.null_share(50) == 1


def test_the_encoder_is_fitted_on_the_training_part_alone(tmp_path):
    """One row holds values beyond all others: whether the encoder knows them tells which part the row is in."""
    values = np.random.default_rng(0).normal(size=(40, 3))
    recipe = tiny("thyroid", training__steps=1)
    known = []
    for row in range(40):
        odd = values.copy()
        odd[row] = 1000.0
        if row < 12:
            run = fit(TableSet(odd, ("a", "b", "c")), recipe, tmp_path / str(row), seed=4)
            known.append(max(run.encoder.high_) == 1000.0)
    assert True in known
    assert False in known
    assert run.provenance["counts"]["train"]["windows"] < run.provenance["counts"]["all"]["windows"]


def test_data_of_another_kind_or_form_is_refused(clinic, tmp_path):
    with pytest.raises(ConfigError, match="given TableSet, recipe quick learns from ECGSet: the first of what read"):
        fit(form("thyroid"), tiny("quick"), tmp_path / "run")
    with pytest.raises(
        ConfigError, match="given ECGSet, recipe thyroid learns from TableSet: the first of what read_t"
    ):
        fit(shaped(clinic, tiny("quick")), tiny("thyroid"), tmp_path / "run")
    with pytest.raises(RecordError, match="takes images of 12 x 12 pixels, these have 16 x 16"):
        fit(other_set("images", 16), tiny("iris"), tmp_path / "run")
    with pytest.raises(RecordError, match="8 columns do not fit 2 x 2 cells"):
        fit(form("thyroid"), tiny("thyroid", data__side=2), tmp_path / "run")
    with pytest.raises(RecordError, match="needs at least 10"):
        fit(form("thyroid").take(range(9)), tiny("thyroid"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.side": 0}, "data.side is 0"),
        ({"data.sidee": 3}, "unknown setting 'data.sidee'; did you mean 'data.side'?"),
        ({"data.kind": "tabel"}, "unknown data.kind 'tabel'; did you mean 'table'?"),
        ({"encoder.arrange": "z"}, "for data.kind = 'table' there are left, top, page, square, spread"),
        ({"encoder.span_mv": 2.0}, "encoder.span_mv is no setting for data.kind = 'table'"),
        ({"training.candidates": 3}, "training.candidates are judged as ECGs"),
        ({"training.objective": "acgan"}, "objective acgan learns classes; data.kind = 'table' has none"),
        ({"model.activation": "tanh"}, "model.activation is 'tanh'"),
    ],
)
def test_wrong_settings(overrides, message):
    with pytest.raises(ConfigError) as caught:
        load_recipe("thyroid", overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_published_settings():
    recipe = load_recipe("thyroid")
    assert (recipe.model["hidden"], recipe.model["latent"]) == (64, 5)
    assert (recipe.training.epochs, recipe.training.batch, recipe.data.side, recipe.encoder.a) == (100, 20, 7, 1)
    assert len(recipe.data.columns) == 22
    assert [load_recipe(name).training.epochs for name in ("fingerprints", "iris")] == [100, 200]
    assert load_recipe("fingerprints").model["architecture"] == "fcn"
    assert load_recipe("iris").model["architecture"] == "piacentino-cnn"


def test_release_is_for_ecgs(tmp_path):
    with pytest.raises(ConfigError, match="release is for ECGs, recipe thyroid is for data.kind = 'table'"):
        release(tmp_path / "data", tmp_path / "out", recipe="thyroid")
    with pytest.raises(ConfigError, match="use fit and sample"):
        require_ecgs(load_recipe("iris"), "this")
    require_ecgs(load_recipe("quick"), "this")


def test_several_tables_and_folders_are_read_as_one(tmp_path):
    write_table(form("thyroid"), tmp_path / "a.csv")
    table, notes = read_others([tmp_path / "a.csv"] * 2, tiny("thyroid"))
    assert len(table) == 80
    assert notes[0] == "80 rows of 8 columns kept"
    assert len([note for note in notes if "itself made by ecgveil" in note]) == 1
    save_plain(form("iris"), tmp_path)
    (tmp_path / "bad.png").write_text("bad")
    images, notes = read_others([tmp_path], tiny("iris"))
    assert len(images) == 40
    assert notes[0] == "40 images of 40 people kept, 1 left out"
    assert notes[1:] == ["left out  bad.png  cannot be read (UnidentifiedImageError)"]


def test_squares_are_drawn_side_by_side(tmp_path):
    (tmp_path / "p.png").write_bytes(draw_squares(np.array([[[[-1.0, 1], [1, -1]]]] * 3, np.float32)))
    with Image.open(tmp_path / "p.png") as opened:
        assert opened.size[0] > 2.5 * opened.size[1]
        assert {0, 255} <= set(np.asarray(opened).ravel().tolist())


@pytest.mark.parametrize("name", ["thyroid", "iris"])
def test_from_the_command_line(name, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    if name == "thyroid":
        (source / "t.csv").write_text("\n".join(",".join(map(str, row)) for row in content(form(name)).tolist()))
        paths = [str(source / "t.csv")]
        changes = ["data.columns=[]", "data.ignore=[]"]
    else:
        save_plain(form(name), source)
        paths, changes = [str(source)], ["data.side=12", "model.widths=[4, 8, 8]"]
    sets = [part for each in [*changes, "training.steps=2"] for part in ("--set", each)]
    app(["fit", *paths, "--recipe", name, "--out", str(tmp_path / "run"), *sets], standalone_mode=False)
    app(["sample", str(tmp_path / "run"), "--number", "3", "--out", str(tmp_path / "made")], standalone_mode=False)
    made = sorted(file.name for file in (tmp_path / "made").iterdir())
    assert made == (["table.csv"] if name == "thyroid" else [f"synthetic_00000{k}.png" for k in range(3)])
    with pytest.raises(ConfigError, match="was trained without labels"):
        app(["sample", str(tmp_path / "run"), "--label", "MI", "--out", str(tmp_path / "x")], standalone_mode=False)
