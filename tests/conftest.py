"""What tests share: where real data lies, and small sets to work on."""

from pathlib import Path

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.simulate import simulate

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


def tiny(name: str, **more: object) -> Recipe:
    """A recipe of the package, shrunk to seconds."""
    return load_recipe(name, {**TINY[name], **{key.replace("__", "."): value for key, value in more.items()}})


def shaped(ecgs: ECGSet, recipe: Recipe) -> ECGSet:
    """Simulated ECGs brought into a recipe's form by plain slicing and repetition: form matters here, not content.

    The labels that a recipe learns are dealt out in turn, and the last of them once more to every third.
    """
    form = recipe.data
    step = max(1, int(ecgs.fs // form.fs))
    signal = ecgs.pick(form.leads).signal[:, :, ::step]
    signal = np.tile(signal, (1, 1, -(-form.n_samples // signal.shape[2])))[:, :, : form.n_samples]
    labels = ecgs.labels
    if form.labels:
        order = [form.labels[i % len(form.labels)] for i in range(len(ecgs))]
        labels = tuple(
            tuple(dict.fromkeys([label, *form.labels[-1:]] if i % 3 == 0 else [label])) for i, label in enumerate(order)
        )
    return ECGSet(signal, form.fs, form.leads, ecgs.record_name, ecgs.patient_id, labels, units=form.units)
