"""`fit`: ECGs and a recipe -> a run folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ecgveil import paper
from ecgveil.ecg import ECGSet, concat
from ecgveil.encoder import Encoder
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.files import require_free
from ecgveil.measure.beats import r_peaks
from ecgveil.models import MODELS
from ecgveil.models.conditions import Conditions
from ecgveil.models.contract import Context
from ecgveil.models.draw import draw
from ecgveil.models.rhythm import LabelledRhythm, Rhythm
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.split import Parts, split
from ecgveil.training.choosing import FIRST, LEAST_PATIENTS, Chooser, Judge, candidate_steps, one_of_each
from ecgveil.training.loop import Players, train
from ecgveil.training.run import RunFolder

_PICTURED = 3  # synthetic ECGs in each picture along training


def fit(
    ecgs: ECGSet,
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    resume: bool = False,
    use_all: bool = False,
    extra: ECGSet | None = None,
    judge: Judge | None = None,
    on_start: Callable[[int, int], None] = lambda step, total: None,
    on_log: Callable[[dict[str, Any]], None] = lambda row: None,
) -> RunFolder:
    """Split by patient, fit encoder and rhythm on the training part, and train the recipe's generator on it.

    Parameters
    ----------
    ecgs : windows in the form the recipe asks for (leads, fs, n_samples)
    recipe : a recipe, its name, or the path of its file
    out : run folder to make
    seed : of the split, the initial weights and every draw of training
    resume : continue the run in `out` if there is one
    use_all : train on all these ECGs, because what is held out lies elsewhere
    extra : ECGs to train on beside the training part, in the same form: canaries
    judge : of (validation ECGs, synthetic ECGs), returns a dict with 'score', the lower the better, and its parts; what
        chooses between the recipe's `training.candidates`, such as `ecgveil.evaluation.choice.judge`
    on_start : called once with (first step, all steps)
    on_log : called with each row of metrics

    Returns
    -------
    RunFolder
        Stopped early, by SIGINT or SIGTERM, it holds a checkpoint to resume from.

    Raises
    ------
    ConfigError, RecordError, RunError
        Settings, records or the folder do not allow it; the message says what to do.
    """
    if not isinstance(ecgs, ECGSet):
        raise ConfigError(f"fit takes an ECGSet, not a {type(ecgs).__name__}; read() returns (ECGSet, findings)")
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out = Path(out)
    exists = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if exists and not resume:
        _refuse(out)
    _check_form(ecgs, recipe)
    parts = None if use_all else split(ecgs, seed=seed)
    train_part = parts.train if parts else ecgs
    if extra is not None:
        train_part = concat([train_part, extra])
    fingerprint = _fingerprint(train_part, recipe.data.labels)
    choosing = _choosing(parts, recipe, judge)
    if exists:
        folder = _resumed(out, recipe, seed, {"data_sha256": fingerprint, **choosing})
        players = Players(recipe, folder.context, seed)
        with folder.locked():
            state, step = folder.load_state()
        players.load(state)
    else:
        folder, players = _begun(out, recipe, ecgs, train_part, seed, {"data_sha256": fingerprint, **choosing})
        step = 0
    windows, _ = folder.encoder.encode(train_part)
    chooser = None
    if judge and parts and choosing and not choosing["choice_note"]:
        chooser = _chooser(folder, judge, parts, seed)
    on_start(step, recipe.n_steps(len(windows)))
    with folder.locked(), _asked_to_stop() as stop:
        train(
            players,
            windows,
            conditions=folder.conditions.encode(train_part.labels) if folder.conditions else None,
            recipe=recipe,
            seed=seed,
            folder=folder,
            start=step,
            on_log=on_log,
            on_picture=lambda at, generator: _picture(folder, generator, seed, at),
            stop=stop,
            chooser=chooser,
        )
    return folder


def _refuse(out: Path) -> None:
    if (out / "recipe.toml").is_file():
        raise RunError(f"{out} already holds a run; pass --resume to continue it, or choose another folder")
    require_free(out)


def _check_form(ecgs: ECGSet, recipe: Recipe) -> None:
    data = recipe.data
    found = (ecgs.leads, ecgs.fs, ecgs.n_samples, ecgs.units)
    if found != (data.leads, data.fs, data.n_samples, data.units):
        raise RecordError(
            f"recipe {recipe.name} takes {data.n_samples} samples of {', '.join(data.leads)} at {data.fs:g} Hz in "
            f"{data.units}, these ECGs have {ecgs.n_samples} of {', '.join(ecgs.leads)} at {ecgs.fs:g} Hz in "
            f"{ecgs.units}; read them with read(folder, leads=..., fs=..., n_samples=...)"
        )


def _choosing(parts: Parts | None, recipe: Recipe, judge: Judge | None) -> dict[str, Any]:
    """What provenance says of the choice between candidates; nothing where the recipe has none."""
    number = recipe.training.candidates
    if not number:
        return {}
    if parts is None:
        raise ConfigError(
            f"training.candidates is {number}, but with all ECGs trained on there is none to choose by; set it to 0"
        )
    if judge is None:
        raise ConfigError(
            f"training.candidates is {number}: give fit a judge, ecgveil.evaluation.choice.judge is one; or set it to 0"
        )
    patients, note = len(set(parts.validation.patient_id)), ""
    if patients < LEAST_PATIENTS:
        note = (
            f"no candidate was judged: the validation part has {patients} patients, fewer than {LEAST_PATIENTS}; "
            "the weights of the last step are kept"
        )
    return {"validation_sha256": _fingerprint(parts.validation, recipe.data.labels), "choice_note": note}


def _chooser(folder: RunFolder, judge: Judge, parts: Parts, seed: int) -> Chooser:
    """Candidates of this run, and the best of those judged before it was stopped."""
    reference = one_of_each(parts.train, seed)

    def made(generator: nn.Module) -> ECGSet:
        return _drawn(folder, generator, seed, FIRST, len(reference))

    steps = candidate_steps(folder.total_steps, folder.recipe.training.candidates)
    return Chooser(steps, judge, parts.validation, reference, made, *folder.load_chosen())


def _begun(
    out: Path, recipe: Recipe, ecgs: ECGSet, train_part: ECGSet, seed: int, known: dict[str, Any]
) -> tuple[RunFolder, Players]:
    """A new run at step 0: what is fitted on the training part, and untrained players."""
    encoder = Encoder.fit(train_part, recipe.encoder.standardize, recipe.encoder.arrange, **recipe.encoder_settings())
    labels = recipe.data.labels
    conditions = Conditions.fit(train_part.labels, train_part.patient_id, labels) if labels else None
    rhythm = None
    if MODELS[recipe.model["architecture"]].needs_rhythm:
        rhythm = _fit_rhythm(train_part, conditions, seed)
    players = Players(recipe, Context(encoder.shape, recipe.data.fs, rhythm, len(labels)), seed)
    folder = RunFolder.create(
        out,
        recipe=recipe,
        encoder=encoder,
        rhythm=rhythm,
        conditions=conditions,
        provenance=_provenance(ecgs, train_part, encoder, seed, known),
        state=players.state(),
        weights=players.average.state_dict(),
    )
    return folder, players


def _resumed(out: Path, recipe: Recipe, seed: int, known: dict[str, Any]) -> RunFolder:
    """The run in `out`, if it is this very run."""
    folder = RunFolder(out)
    if folder.recipe != recipe:
        raise RunError(f"{out} was made with other settings ({_difference(folder.recipe, recipe)}); give the same")
    if folder.provenance["seed"] != seed:
        raise RunError(f"{out} was made with seed {folder.provenance['seed']}, not {seed}; give the same seed")
    if any(folder.provenance.get(key) != value for key, value in known.items()):
        raise RunError(f"{out} was trained on other records than these; give the same data")
    return folder


def _difference(old: Recipe, new: Recipe) -> str:
    one, two = _flat(old.model_dump()), _flat(new.model_dump())
    return ", ".join(
        f"{key} {one.get(key)} there, {two.get(key)} here"
        for key in sorted(one.keys() | two.keys())
        if one.get(key) != two.get(key)
    )


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def _fit_rhythm(train_part: ECGSet, conditions: Conditions | None, seed: int) -> Rhythm | LabelledRhythm:
    intervals = [np.diff(peaks) / train_part.fs for peaks in r_peaks(train_part)]
    if conditions is None:
        return Rhythm.fit(intervals, seed)
    return LabelledRhythm.fit(intervals, conditions.encode(train_part.labels), seed)


def _fingerprint(ecgs: ECGSet, labels: tuple[str, ...]) -> str:
    """A digest of the training windows, and of what is learned of their labels: resuming on others must be noticed."""
    digest = hashlib.sha256()
    digest.update(repr((ecgs.signal.shape, ecgs.leads, ecgs.fs)).encode())
    digest.update(np.ascontiguousarray(ecgs.signal).tobytes())
    if labels:
        digest.update(repr([[label for label in labels if label in borne] for borne in ecgs.labels]).encode())
    return digest.hexdigest()


def _provenance(ecgs: ECGSet, train_part: ECGSet, encoder: Encoder, seed: int, known: dict[str, Any]) -> dict[str, Any]:
    """What made this run: versions, seed, counts. Nothing of any one patient."""
    packages = ("ecgveil", "torch", "numpy", "scipy", "wfdb")
    return {
        "synthetic": "this run generates synthetic ECGs; not for clinical use",
        "seed": seed,
        **known,
        "counts": {
            "all": {"windows": len(ecgs), "patients": len(set(ecgs.patient_id))},
            "train": {"windows": len(train_part), "patients": len(set(train_part.patient_id))},
        },
        "saturated": getattr(encoder.standardize, "saturated_", {}),
        "versions": {name: importlib.metadata.version(name) for name in packages}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def _picture(folder: RunFolder, generator: nn.Module, seed: int, step: int) -> None:
    """The same noise at every step, so that the strip shows training and not luck."""
    ecgs = _drawn(folder, generator, seed, 0, _PICTURED)
    figure = paper.draw_strips(ecgs, range(_PICTURED), title=f"step {step}", synthetic=True)
    folder.save_picture(step, paper.to_png(figure))


def _drawn(folder: RunFolder, generator: nn.Module, seed: int, first: int, number: int) -> ECGSet:
    """ECGs of a generator in training, in the form of those it learns from."""
    signal = folder.encoder.decode(draw(generator, seed, first, first + number, folder.conditions))
    names = tuple(f"sample {k}" for k in range(number))
    return ECGSet(signal, folder.recipe.data.fs, folder.encoder.leads, names, units=folder.recipe.data.units)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """True from the first SIGINT or SIGTERM on: the step under way is finished and saved."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: asked.set()) for number in numbers]
    try:
        yield asked.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
