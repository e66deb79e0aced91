import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ecgveil.errors import ConfigError, RecordError
from ecgveil.images import ImageSet
from ecgveil.recipe import load_recipe
from ecgveil.studies import images, reproduce
from ecgveil.studies.job import Job
from ecgveil.studies.thyroid import _cells, read
from ecgveil.table_encoder import TableEncoder
from ecgveil.tables import TableSet

NAMES = load_recipe("thyroid").data.columns


def write_rows(path, n, seed=0):
    """Rows in the form of UCI's thyroid table: a trailing comma, no header."""
    rng = np.random.default_rng(seed)
    binary = rng.random((n, 15)) < np.linspace(0.05, 0.4, 15)
    values = np.column_stack([rng.random(n), binary, rng.gamma(2, 0.05, (n, 5)), rng.integers(1, 4, n)])
    path.write_text("".join(",".join(f"{value:g}" for value in row) + ",\n" for row in values))


def ridges(rng, side=40):
    """A synthetic stand-in for a fingerprint: a sine along a direction that turns."""
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    turn = rng.uniform(0, np.pi) + rng.uniform(-1, 1) * x * y
    wave = np.sin(rng.uniform(12, 20) * (np.cos(turn) * x + np.sin(turn) * y) + rng.uniform(0, 6))
    return np.uint8(127.5 + 127.5 * wave)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    write_rows(folder / "ann-test.data", 60)
    write_rows(folder / "ann-train.data", 90, seed=1)
    (folder / "notes.md").write_text("not a table")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "stand-ins"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(ridges(rng)).save(folder / f"{i:02d}.png")
    return folder


def job_for(name, *data):
    return Job(name, data, None, 1.0, 0, {}, lambda *told: None)


def test_the_thyroid_study_is_written_whole(tables, tmp_path):
    changes = {"training.steps": 40, "training.batch": 5, "training.snapshots": 5}
    page = reproduce("thyroid", tmp_path / "out", data=tables, scale=0.5, seed=1, changes=changes)
    html = page.read_text()
    for title in ("Fig. 4, left", "Fig. 4, right", "Fig. 6:", "Box plots", "Positives", "Feature by feature"):
        assert title in html
    facts = json.loads((page.parent / "study.json").read_text())
    for stamp in facts["sections"].values():
        assert "40 steps" in stamp
        assert "100 epochs), scale 0.5" in stamp
    table = pd.read_csv(page.parent / "tables" / "compared.csv")
    assert list(table["feature"])[:21] == [name for name in NAMES if name != "Class"]
    assert list(table["measure"]).count("ks") == 6 + 2
    assert table.iloc[:, 2:].to_numpy().min() >= 0
    counted = pd.read_csv(page.parent / "tables" / "counts.csv")
    assert len(counted) == 15
    number = int(re.search(r"of (\d+)", counted.columns[2])[1])
    assert number == 75  # as many as there are real ones; drawn were half of P1's 6330
    assert "Against the training rows: 3165 synthetic" in html
    assert (counted.iloc[:, 2] <= number).all()


def test_a_file_stands_for_a_folder_of_one(tables):
    recipe = load_recipe("thyroid")
    both = read(job_for("thyroid", tables), recipe)
    assert len(both) == 150
    assert len(read(job_for("thyroid", tables / "ann-train.data"), recipe)) == 90
    assert np.array_equal(read(job_for("thyroid", tables / "ann-test.data"), recipe).values, both.values[:60])


@pytest.mark.parametrize("name", ["thyroid", "fingerprints", "iris"])
def test_what_is_missing_is_said(name, tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        reproduce(name, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises((ConfigError, RecordError), match="holds no"):
        reproduce(name, tmp_path / "out", data=tmp_path / "empty")
    assert not (tmp_path / "out").exists()


def test_cells_are_counted():
    """15 binary features, 6 continuous: 28 of 49 cells are NULL."""
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.random((50, 6)), rng.integers(0, 2, (50, 15))])
    table = TableSet(values, tuple(f"c{i}" for i in range(21)))
    encoder = TableEncoder.fit(table, "left")
    tensor, _ = encoder.encode(table)
    assert _cells(encoder, tensor) == (1.0, 1.0, 1.0)
    null = np.flatnonzero(encoder.null_cells())
    tensor.reshape(50, -1)[:10, null[0]] = -0.98  # level 3
    rows, cells, contrasted = _cells(encoder, tensor)
    assert rows == 0.8
    assert cells == pytest.approx(1 - 10 / (50 * 28))
    assert contrasted == 1
    faint = tensor.copy()
    binary = [
        cell for own, is_binary in zip(encoder.cells(), encoder.binary_, strict=True) if is_binary for cell in own
    ]
    faint.reshape(50, -1)[:, binary[:3]] = 0.0
    assert _cells(encoder, faint)[2] == pytest.approx(12 / 15)


@pytest.mark.parametrize("name", ["fingerprints", "iris"])
def test_an_image_folder_study_is_written_whole(pictures, tmp_path, name):
    changes = {"training.steps": 8, "data.side": 32, "training.batch": 4}
    if name == "iris":
        changes["model.widths"] = [4, 4, 4]
    page = reproduce(name, tmp_path / "out", data=pictures, scale=0.1, seed=1, changes=changes)
    html = page.read_text()
    assert images.RECIPES[name] in html
    assert "8 steps" in html
    assert {file.stem for file in (page.parent / "figures").iterdir()} >= {"evolution", "nearest", "copies"}


def test_copies_are_told_from_new_images():
    """Planted: images that are training images but for noise, and images of the same kind."""
    rng = np.random.default_rng(0)
    train, other = (np.stack([ridges(rng) for _ in range(60)]) for _ in range(2))
    copies = np.uint8(np.clip(train[:20] + rng.normal(0, 8, train[:20].shape), 0, 255))
    where, far = images._nearest(copies, train)
    assert np.array_equal(where, np.arange(20))
    assert far.max() < 8
    assert images._nearest(other, train)[1].min() > 20

    class Known:
        stamp = "planted"

        class parts:
            pass

    def sets(pixels):
        return ImageSet(pixels, tuple(f"{i}" for i in range(len(pixels))))

    Known.parts.train, Known.parts.holdout = sets(train), sets(other[:20])
    copied = images.copies(Known, sets(copies), 0).table.iloc[:, 1]
    new = images.copies(Known, sets(other[20:]), 0).table.iloc[:, 1]
    assert copied[2] == "100.0%"
    assert float(new[2].rstrip("%")) < 15
    assert float(new[3].rstrip("%")) == pytest.approx(50, abs=25)


def test_images_are_compared_at_a_small_size():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 70), dtype=np.uint8)
    assert images._flat(pixels).shape == (3, 23 * 23)
    assert images._flat(pixels[:, :12, :12]).shape == (3, 144)
    assert images._flat(pixels)[0, 0] == pixels[0, :3, :3].mean()
