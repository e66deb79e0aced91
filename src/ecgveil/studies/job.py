"""What a study works with: its data, scaled as asked for, and its recipes, trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError
from ecgveil.files import make_folder
from ecgveil.intake import Intake, take_in
from ecgveil.kinds import DataSet
from ecgveil.pipeline import Listener, trained
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.sampling import Run, load
from ecgveil.simulate import write_clinic
from ecgveil.split import split

Tell = Callable[[str, int, int, dict[str, Any]], None]

CLINIC = 200  # patients of the embedded one
LEAST_PATIENTS = 20  # that a scale leaves
_SAMPLES = {"ecg": "windows", "table": "rows", "images": "images"}
UNTOLD = ("epochs", "steps", "pictures", "snapshots", "checkpoint_seconds")  # length is told apart, the rest is nothing


@dataclass(frozen=True)
class Job:
    """One call of `reproduce`.

    Parameters
    ----------
    name : of the study
    data : folders given; none for the embedded clinic
    runs : folder of the run folders
    scale : share of the published epochs, of the numbers drawn and of the patients
    seed : of everything drawn
    changes : settings changed in every recipe
    tell : progress
    all_patients : the scale leaves the patients alone
    taken : what was read so far
    """

    name: str
    data: tuple[Path, ...]
    runs: Path
    scale: float
    seed: int
    changes: dict[str, Any]
    tell: Tell
    all_patients: bool = False
    taken: list[Intake] = field(default_factory=list)

    def recipe(self, name: str, **own: Any) -> Recipe:
        """A recipe with the study's `own` settings, dots written as __, the scale, and the changes asked for.

        Raises
        ------
        ConfigError
            A change asked for is the study's own setting: its figures would not be what they are called.
        """
        overrides = {key.replace("__", "."): value for key, value in own.items()}
        fixed = overrides.keys() & self.changes.keys() - {"training.snapshots"}
        if fixed:
            raise ConfigError(f"study {self.name} sets {', '.join(sorted(fixed))} itself; leave it out of --set")
        if self.changes.get("training.snapshots") == 0:
            raise ConfigError("training.snapshots is 0, and a study looks at them; give 1 or more, or leave it out")
        plain = load_recipe(name, overrides)
        for key in ("epochs", "steps"):
            if length := getattr(plain.training, key):
                overrides[f"training.{key}"] = max(1, round(length * self.scale))
        return load_recipe(name, {**overrides, **self.changes})

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """What takes (done, total) of a stage."""
        return Listener(self.tell).progress(stage)

    def number(self, published: int, least: int = 20) -> int:
        """How many to draw where a paper drew `published`."""
        return max(min(least, published), round(published * self.scale))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the records are; the embedded clinic is written first where none were given."""
        if self.data:
            return self.data
        clinic = self.runs / f"clinic-{self.seed}"
        if not (clinic / "RECORDS").is_file():
            make_folder(self.runs)
            write_clinic(clinic, CLINIC, seed=self.seed)
        return (clinic,)

    @property
    def source(self) -> str:
        """What the data are, for stamps."""
        if self.data:
            made = " (made by ecgveil)" if any(each.made_here for each in self.taken) else ""
            return " + ".join(folder.resolve().name for folder in self.data) + made
        return f"embedded clinic (simulated, {CLINIC} patients)"

    def read(self, recipe: Recipe) -> ECGSet:
        """The records as the recipe needs them."""
        self.taken.append(take_in(self.folders, recipe, resample=True, progress=self.progress("reading")))
        return self.taken[-1].ecgs

    def share(self, ecgs: ECGSet) -> ECGSet:
        """Those of as many patients as the scale leaves, drawn at random."""
        if self.all_patients:
            return ecgs
        patients = np.unique(np.array(ecgs.patient_id))
        kept = max(min(LEAST_PATIENTS, len(patients)), round(len(patients) * self.scale))
        drawn = np.random.default_rng([self.seed, 80]).permutation(patients)[:kept]
        return ecgs.take(np.flatnonzero(np.isin(ecgs.patient_id, drawn)))

    def train(self, recipe: Recipe, ecgs: DataSet, label: str = "") -> Trained:
        """Train `recipe` to its end in a run folder of its own, or go on with it."""
        make_folder(self.runs)
        run = trained(ecgs, recipe, self.runs / (label or recipe.name), self.seed, Listener(self.tell))
        return Trained(run, split(ecgs, seed=self.seed), self._stamp(recipe, run))

    def _stamp(self, recipe: Recipe, run: Run) -> str:
        plain = load_recipe(recipe.name).training
        length = f"{plain.epochs} epochs" if plain.epochs else f"{plain.steps} steps"
        counts = run.folder.provenance["counts"]["train"]
        kind, whose = _SAMPLES[recipe.data.kind], " of {patients} patients" if recipe.data.kind == "ecg" else ""
        if getattr(recipe.data, "cut", "") == "beats":
            kind = "beats"
        whom = " (all patients)" if self.all_patients and self.scale < 1 else ""
        epochs = run.steps * recipe.training.batch * recipe.training.critic_steps / counts["windows"]
        return (
            f"{recipe.name}, {self.source}: {counts['windows']} training {kind}{whose.format(**counts)}, "
            f"{run.steps} steps = {epochs:.3g} epochs (recipe: {length}), scale {self.scale:g}{whom}, seed {self.seed}"
            f"{_changed(recipe)}"
        )


def _changed(recipe: Recipe) -> str:
    """Every setting that is not as the recipe has it, but for the length, and for what changes no number."""
    told = []
    plain, own = (each.model_dump() for each in (load_recipe(recipe.name), recipe))
    for group in ("data", "encoder", "model", "training"):
        for key in own[group].keys() | plain[group].keys():
            before, now = plain[group].get(key), own[group].get(key)
            if now != before and key not in UNTOLD:
                told.append(f"{group}.{key} {_short(now)} (recipe: {_short(before)})")
    return f"; changed: {', '.join(sorted(told))}" if told else ""


def _short(value: object) -> str:
    """A setting's value, for a stamp."""
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_short, value[:6])) + (" ...]" if len(value) > 6 else "]")
    return "none" if value in (None, "") else str(value)


@dataclass(frozen=True)
class Trained:
    """A finished run, the parts of its data, of whatever kind, and what every figure made of it is stamped with."""

    run: Run
    parts: Any  # train, validation, holdout
    stamp: str

    def at(self, step: int) -> Run:
        """The generator as it was at a snapshot."""
        return load(self.run.folder.path, snapshot=step)

    def epoch(self, step: int) -> float:
        """Epochs done by `step`."""
        t = self.run.recipe.training
        return step * t.batch * t.critic_steps / self.run.folder.provenance["counts"]["train"]["windows"]
