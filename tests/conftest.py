"""What tests share: where real data lies, and small sets to work on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.images import ImageSet
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.simulate import simulate
from ecgveil.tables import TableSet

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real records; tests that ask for it skip where it is not."""
    if not DATA.is_dir():
        pytest.skip("no real records in ../shared/data")
    return DATA


@pytest.fixture(scope="session")
def clinic() -> ECGSet:
    """24 simulated patients, 10 s, 12 leads, 500 Hz."""
    ecgs, _ = simulate(24, seed=3)
    return ecgs


TINY = {
    "quick": {
        "training.steps": 6,
        "training.batch": 4,
        "model.width": 8,
        "model.critic_width": 8,
        "training.pictures": 2,
    },
    "superclass": {
        "data.labels": ["NORM", "MI"],
        "training.steps": 6,
        "training.batch": 4,
        "model.width": 8,
        "model.critic_width": 8,
        "training.pictures": 2,
    },
    "piacentino-z": {"training.epochs": 1, "training.batch": 16, "model.widths": [4, 8, 8], "training.pictures": 2},
    "pulse2pulse": {
        "training.epochs": 1,
        "training.batch": 4,
        "model.width": 5,
        "model.critic_width": 1,
        "training.pictures": 2,
    },
}
for _name in ("transposed", "reversed", "min-max", "rgb", "rgb-smooth", "six"):
    TINY[f"piacentino-{_name}"] = TINY["piacentino-z"]
TINY["piacentino-acgan"] = {**TINY["piacentino-z"], "data.labels": ["NORM", "MI"]}
TINY["wavegan-star"] = {**TINY["pulse2pulse"], "model.width": 10}
for _name in ("pulse2pulse", "wavegan-star"):
    TINY[f"{_name}-conditional"] = {**TINY[_name], "data.labels": ["NORM"]}
BEATS = {"training.steps": 6, "training.batch": 4, "training.pictures": 2}
for each in ("wgan-gp", "acgan", "ac-wgan-gp", "dcgan"):
    TINY[each] = {**BEATS, "model.width": 16}  # narrower ones say the same whatever the noise
TINY["bilstm-cnn"] = {**BEATS, "model.hidden": 4}
TINY["veil"] = {**BEATS, "model.width": 8, "model.style": 16, "model.latent": 8, "training.marginals_batch": 8}
TINY["veil-conditional"] = {**TINY["veil"], "data.labels": ["NORM"]}
OTHERS = {"training.steps": 6, "training.batch": 4, "training.pictures": 2}
TINY["thyroid"] = {**OTHERS, "data.columns": [], "data.ignore": []}
TINY["fingerprints"] = {**OTHERS, "data.side": 12}
TINY["iris"] = {**TINY["fingerprints"], "model.widths": [4, 8, 8]}


def tiny(name: str, **more: object) -> Recipe:
    """A recipe of the package, shrunk to seconds."""
    return load_recipe(name, {**TINY[name], **{key.replace("__", "."): value for key, value in more.items()}})


def other_set(kind: str, side: int, number: int = 40) -> Any:
    """A table of three continuous and five binary features, or images of stripes."""
    rng = np.random.default_rng(7)
    if kind == "table":
        values = np.hstack([rng.normal(5, 2, (number, 3)), rng.random((number, 5)) < 0.3])
        return TableSet(values, tuple("abcdefgh"))
    pixels = 120 + 100 * np.sin(rng.uniform(0.2, 1, (number, 1, 1)) * np.arange(side)) + np.zeros((1, side, 1))
    return ImageSet(pixels.astype(np.uint8), tuple(f"image {k}" for k in range(number)))


def shaped(ecgs: ECGSet, recipe: Recipe) -> Any:
    """Simulated ECGs brought into a recipe's form by plain slicing and repetition: form matters here, not content.

    The labels that a recipe learns are dealt out in turn, and the last of them once more to every third.
    """
    form = recipe.data
    if form.kind != "ecg":
        return other_set(form.kind, form.side)
    step = max(1, int(ecgs.fs // form.fs))
    signal = ecgs.pick(form.leads).signal[:, :, ::step]
    signal = np.tile(signal, (1, 1, -(-form.n_samples // signal.shape[2])))[:, :, : form.n_samples]
    labels = ecgs.labels
    if form.labels:
        order = [form.classes[i % len(form.classes)] for i in range(len(ecgs))]
        more = () if form.exclusive else form.labels[-1:]
        labels = tuple(tuple(dict.fromkeys([label, *more] if i % 3 == 0 else [label])) for i, label in enumerate(order))
    who = {"age": ecgs.age, "sex": ecgs.sex}
    return ECGSet(signal, form.fs, form.leads, ecgs.record_name, ecgs.patient_id, labels, **who, units=form.units)
