"""What each part of `veil` brings: the recipe without it, trained as long on the same records, judged alike.

    pip install -c constraints.txt -e .
    python benchmarks/ablation.py --out DIR [--steps 2500] [--seeds 0 1 2] [--parts NAME ...] [--data FOLDER ...]

15 % of the patients are held out. Of each variant and seed four times as many ECGs are drawn as are held out; the table
has the mean AUC of the two-sample trees, the mean Kolmogorov-Smirnov distance of their features from those of the
training part, the distance of QRS variation, the share called normal, by how much P is longer, and how far the rank
correlation of QT with RR is from that of the training part, each with its range over seeds. Interrupted, the same
command goes on.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from ecgveil.complexes import analysis, parts
from ecgveil.ecg import ECGSet, concat
from ecgveil.evaluation.consistency import beat_variation
from ecgveil.evaluation.fidelity import ks
from ecgveil.evaluation.two_sample import NOISE, _features, _shown, prepare, two_sample
from ecgveil.files import make_folder, write_atomic
from ecgveil.intake import take_in
from ecgveil.leads import LEADS_12
from ecgveil.measure import measure
from ecgveil.measure.beats import r_peaks
from ecgveil.models import veil_looks
from ecgveil.models.veil import Critic
from ecgveil.recipe import load_recipe
from ecgveil.sampling import load
from ecgveil.split import split
from ecgveil.training import marginals
from ecgveil.training.fit import fit

DATA = Path(__file__).parents[2] / "shared" / "data"
DRAWS = 4
FIGURES = ("AUC", "KS of features", "KS of QRS variation", "called normal", "P longer by, ms", "QT with RR off by")


def blind(look: Callable) -> Callable:
    """A critic's look whose simple features are 0."""

    def looked(self: Critic, x: torch.Tensor, *more: Any) -> torch.Tensor:
        seen = look(self, x, *more)
        return torch.cat([seen[:, : self.size], torch.zeros_like(seen[:, self.size :])], dim=1)

    return looked


def none_odd(complex_: np.ndarray, rest: np.ndarray, beats: list) -> np.ndarray:
    return np.zeros(len(beats), bool)


def none_of_it(complexes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features that tell nothing."""
    return torch.zeros_like(complexes[:, :, :1]), torch.zeros_like(complexes[:, 0, :1])


def noisy(complex_: np.ndarray, *more: Any) -> np.ndarray:
    return complex_


# Settings, and what stands in for what.
VARIANTS: dict[str, tuple[dict[str, Any], list[tuple[Any, str, Any]]]] = {
    "veil": ({}, []),
    "without distances of marginals": ({"training.marginals": 0}, []),
    "without simple features for the critic": ({}, [(Critic, "look", blind(Critic.look))]),
    "without features of P and T alone": ({}, [(veil_looks, "_of_waves", none_of_it)]),
    "without QRS by its own time": ({}, [(veil_looks, "_of_qrs", none_of_it)]),
    "without groups of like hearts": ({}, [(marginals, "_PACES", ())]),
    "without changes": ({"training.augment_gain": 0.0}, []),
    "without averaging of weights": ({"training.ema": 0.0}, []),
    "a sixth of the penalty": ({"training.penalty": 0.5}, []),
    "averaged noise left in complexes": ({}, [(analysis, "_calmed", noisy)]),
    "odd beats like all others": ({}, [(analysis, "odd_beats", none_odd)]),
    "QT whatever the heart rate": ({}, [(parts, "EXPONENT", 0.0)]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--data", type=Path, nargs="+", default=[DATA / "cinc2011", DATA / "ludb"])
    told = parser.parse_args()
    found = split(take_in(told.data, load_recipe("veil")).ecgs, seed=0)
    train = concat([found.train, found.validation])
    real = known(train.pick(LEADS_12), found.holdout.pick(LEADS_12))
    lines = [f"| | {' | '.join(FIGURES)} |", "|---" * (len(FIGURES) + 1) + "|"]
    for name in told.parts:
        rows = [judged(name, seed, told, train, real) for seed in told.seeds]
        cells = (f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in zip(*rows, strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    write_atomic(told.out / "table.md", "\n".join(lines) + "\n")


@contextmanager
def without(name: str) -> Iterator[dict[str, Any]]:
    """Settings of a variant, while what it lacks is away."""
    settings, stands = VARIANTS[name]
    with ExitStack() as stack:
        for place, attribute, other in stands:
            stack.enter_context(patch.object(place, attribute, other))
        yield settings


class Known(NamedTuple):
    """Of real ECGs what every variant is compared with: the training part and those held out as `prepare` gives them,
    and of the training part variations of QRS, the mean of P, ms, and the rank correlation of QT with RR."""

    train: np.ndarray
    held: np.ndarray
    variation: np.ndarray
    p_ms: float
    qt_rr: float


def known(train: ECGSet, held: ECGSet) -> Known:
    measured = measure(train)
    p_ms = float(measured["p_duration_ms"].mean())
    return Known(prepare(train), prepare(held), beat_variation(train, r_peaks(train))[:, 0], p_ms, qt_with_rr(measured))


def qt_with_rr(measured: pd.DataFrame) -> float:
    """Rank correlation: a few intervals that were measured wrongly would decide any other."""
    return float(measured["qt_interval_ms"].corr(measured["rr_mean_ms"], method="spearman"))


def judged(name: str, seed: int, told: argparse.Namespace, train: ECGSet, real: Known) -> list[float]:
    """As `figures_of`; from what an earlier call left, where it did."""
    folder = told.out / f"{name.replace(' ', '-')}-{seed}"
    make_folder(told.out)
    note = folder.with_suffix(".json")
    if note.is_file() and set(found := json.loads(note.read_text())) == set(FIGURES):
        return [found[figure] for figure in FIGURES]
    with without(name) as settings:
        recipe = load_recipe("veil", {**settings, "training.steps": told.steps, "training.pictures": 0})
        run = fit(train, recipe, folder, seed=seed, use_all=True, resume=True)
        trained = load(run.path)
        if not trained.finished:
            raise SystemExit(f"{name}: stopped at step {trained.step} of {trained.steps}; the same command goes on")
        made = trained.sample(DRAWS * len(real.held), seed=seed)
    figures = figures_of(made, real)
    write_atomic(note, json.dumps(dict(zip(FIGURES, figures, strict=True))))
    return figures


def figures_of(made: ECGSet, real: Known) -> list[float]:
    """The `FIGURES`."""
    fake = prepare(made)
    draws = np.random.default_rng(0).permutation(len(fake)).reshape(DRAWS, -1)
    auc = np.mean([two_sample(real.held, fake[rows], seed=k, epochs=0).auc for k, rows in enumerate(draws)])
    both = _features(_shown(np.concatenate([real.train, fake]), NOISE, np.random.default_rng(0))).T
    apart = np.mean([ks(each[: len(real.train)], each[len(real.train) :]) for each in both])
    varied = ks(real.variation, beat_variation(made, r_peaks(made))[:, 0])
    measured = measure(made)
    normal = float((measured["conclusion"] == "normal").mean())
    longer = float(measured["p_duration_ms"].mean()) - real.p_ms
    return [float(auc), float(apart), varied, normal, longer, qt_with_rr(measured) - real.qt_rr]


if __name__ == "__main__":
    main()
