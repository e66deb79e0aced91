"""P1's studies of image folders: fingerprints and irises (Piacentino et al. 2021, section 3.2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from ecgveil.errors import ConfigError
from ecgveil.images import SUFFIXES, ImageSet
from ecgveil.kinds import read_others, unparted
from ecgveil.models.draw import draw
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.recipe import Recipe
from ecgveil.studies import piacentino
from ecgveil.studies.job import Job, Trained
from ecgveil.studies.page import STYLE, Section, new_figure

RECIPES = {"fingerprints": "Fig. 2", "iris": "Fig. 3"}
SNAPSHOTS, IMAGES, PAIRS = 8, 8, 8
COMPARED = 500  # images of each kind
SMALL = 32  # pixels of the side at which images are compared: finer detail is noise to the distance


def run(job: Job, folder: Path) -> list[Section]:
    """Train on a folder of images: what is made along training, and whether it is a copy of what was trained on."""
    recipe = job.recipe(job.name, training__snapshots=SNAPSHOTS)
    found: Any = read(job, recipe)  # in the place of ECGs
    trained = job.train(recipe, job.share(found))
    made = trained.run.sample(job.number(COMPARED), seed=job.seed)
    return [
        evolution(trained, job.name),
        nearest(trained, made),
        copies(trained, made, job.seed),
        replace(piacentino.losses(trained), title="Losses"),
        replace(piacentino.warnings(trained), title="What the monitors said"),
    ]


def read(job: Job, recipe: Recipe) -> ImageSet:
    """The images of the folders given.

    Raises
    ------
    ConfigError
        None was given.
    RecordError
        A folder holds no picture that can be read.
    """
    if not job.data:
        raise ConfigError(
            f"study {job.name} needs images, and none come with ecgveil: pass --data with a folder of them "
            f"({', '.join(SUFFIXES)}), those of one person in a folder of their own"
        )
    images, _ = read_others(job.data, recipe, job.progress("reading"))
    assert isinstance(images, ImageSet)
    return images


def evolution(trained: Trained, name: str) -> Section:
    """Images of the same noise along training, and real ones."""
    steps = trained.run.folder.snapshots()
    shown = sorted({steps[round(i)] for i in np.linspace(0, len(steps) - 1, 5)})
    holdout = trained.parts.holdout
    rows = np.random.default_rng([trained.run.folder.provenance["seed"], 87]).permutation(len(holdout))[:IMAGES]
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 1.25 * (len(shown) + 1) + 0.3)
        axes = fig.subplots(len(shown) + 1, IMAGES)
        for line, step in zip(axes, shown, strict=False):
            tensors = draw(trained.at(step).generator, 0, 0, IMAGES)
            _line(line, trained.run.encoder.decode(tensors).pixels)
            line[0].set_title(f"SYNTHETIC, epoch {trained.epoch(step):.3g}", loc="left", color=SYNTHETIC_COLOUR)
        _line(axes[-1], holdout.pixels[rows])
        axes[-1][0].set_title("real", loc="left", color=REAL_COLOUR)
    return Section("evolution", f"{RECIPES[name]}: images along training", "Each column of the synthetic ones is one "
                   "draw of noise; the real ones were not trained on.", trained.stamp, fig)  # fmt: skip


def nearest(trained: Trained, made: ImageSet) -> Section:
    """A few synthetic images above the training image nearest to each."""
    n = min(PAIRS, len(made))
    where, distance = _nearest(made.pixels[:n], trained.parts.train.pixels)
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 3.2)
        axes = fig.subplots(2, PAIRS)
        _line(axes[0], made.pixels[:n])
        _line(axes[1], trained.parts.train.pixels[where])
        axes[0][0].set_title("SYNTHETIC", loc="left", color=SYNTHETIC_COLOUR)
        for ax, far in zip(axes[1], distance, strict=False):
            ax.set_title(f"real, {far:.0f} away", color=REAL_COLOUR, fontsize=7.5)
    return Section("nearest", "Is it anonymous? The nearest training images", "The first synthetic images, not chosen, "
                   f"and below each the training image nearest to it: {_DISTANCE}.", trained.stamp, fig)  # fmt: skip


_DISTANCE = f"root mean square difference in grey levels, at {SMALL} x {SMALL} pixels at most"


def copies(trained: Trained, made: ImageSet, seed: int) -> Section:
    """Whether synthetic images lie nearer to what was trained on than to other real images, and than these do."""
    train, holdout = trained.parts.train, trained.parts.holdout
    as_many = train.take(np.random.default_rng([seed, 88]).permutation(len(train))[: len(holdout)])
    of_made, of_real = _nearest(made.pixels, train.pixels)[1], _nearest(holdout.pixels, train.pixels)[1]
    to_train, to_other = _nearest(made.pixels, as_many.pixels)[1], _nearest(made.pixels, holdout.pixels)[1]
    limit = float(of_real.min())
    rows = [
        (f"distance to the nearest of {len(train)} training images, median", _median(of_made), _median(of_real)),
        ("the same, smallest", float(of_made.min()), limit),
        (f"share nearer to a training image than any of {len(holdout)} held-out ones is",
         f"{(of_made < limit).mean():.1%}", "0 %"),
        (f"share nearer to one of {len(as_many)} training images than to one of {len(holdout)} held-out ones",
         f"{(to_train < to_other).mean():.1%}", "50 % where nothing is memorised"),
    ]  # fmt: skip
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 2.4)
        ax = fig.subplots()
        bins = np.linspace(0, max(float(of_made.max()), float(of_real.max()), 1.0), 40).tolist()
        for values, colour, label in (
            (of_real, REAL_COLOUR, "real, held out"),
            (of_made, SYNTHETIC_COLOUR, "SYNTHETIC"),
        ):
            ax.hist(values, bins, density=True, color=colour, alpha=0.55, label=label)
        ax.set(xlabel="distance to the nearest training image, grey levels", ylabel="density")
        ax.legend(frameon=False)
    table = pd.DataFrame(rows, columns=["", f"synthetic ({len(made)})", f"real, held out ({len(holdout)})"])
    text = (
        f"P1 makes such images for anonymity, and shows none of this. Distance: {_DISTANCE}. A copy that is shifted, "
        "turned or recoloured is not found by it, so that a small share proves nothing; a large one is a warning. "
        "Where synthetic images are all alike, a single real one decides the last share."
    )
    text = " ".join([text, *(f"{told[0].upper()}{told[1:]}." for told in unparted(train))])
    return Section("copies", "Is it anonymous? Near copies", text, trained.stamp, fig, table)


def _nearest(pixels: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the nearest of `of`, and how far it is, for each image: (n,), (n,)."""
    one, two = _flat(pixels), _flat(of)
    where, distance = np.empty(len(one), int), np.empty(len(one))
    for first in range(0, len(one), 64):  # bounds the memory
        far = cdist(one[first : first + 64], two)
        where[first : first + 64] = far.argmin(axis=1)
        distance[first : first + 64] = far.min(axis=1) / np.sqrt(two.shape[1])
    return where, distance


def _flat(pixels: np.ndarray) -> np.ndarray:
    """Images (n, side, side) as rows, blocks of pixels averaged until the side is at most `SMALL`."""
    times = -(-pixels.shape[1] // SMALL)
    kept = pixels.shape[1] // times * times
    blocks = pixels[:, :kept, :kept].reshape(len(pixels), kept // times, times, kept // times, times)
    return blocks.mean(axis=(2, 4)).reshape(len(pixels), -1)


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _line(axes: np.ndarray, pixels: np.ndarray) -> None:
    """Images in a row; places without one stay empty."""
    for ax in axes:
        ax.set_axis_off()
    for ax, image in zip(axes, pixels, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
