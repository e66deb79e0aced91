"""`fit`: ECGs, a table or images, and a recipe -> a run folder."""

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
from ecgveil.base import require_other_name
from ecgveil.classes import count_classes, in_classes, undersample
from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import ConfigError, RunError
from ecgveil.files import require_free
from ecgveil.kinds import KINDS, DataSet, draw_squares
from ecgveil.models import MODELS
from ecgveil.models.contract import Context
from ecgveil.models.draw import draw
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.split import Parts, split
from ecgveil.training.beginning import begun_from, inherited, origin, told_apart
from ecgveil.training.choosing import (
    FIRST,
    LEAST_PATIENTS,
    Chooser,
    Judge,
    candidate_steps,
    class_criterion,
    one_of_each,
)
from ecgveil.training.conditioning import encode, fit_conditions, fit_rhythm
from ecgveil.training.looks import Windows
from ecgveil.training.loop import train
from ecgveil.training.objectives import OBJECTIVES
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder
from ecgveil.training.team import require_processors
from ecgveil.training.tensors import load_tensors

_PICTURED = 3  # synthetic ECGs in each picture along training
_SQUARES = 8  # synthetic images or rows in each
_UNJUDGED = "no candidate was judged"
_LAST = "the weights of the last step are kept"


def fit(
    ecgs: DataSet,
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    resume: bool = False,
    use_all: bool = False,
    extra: ECGSet | None = None,
    judge: Judge | None = None,
    base: str | Path | None = None,
    on_prepare: Callable[[int, int], object] = lambda done, total: None,
    on_start: Callable[[int, int], None] = lambda step, total: None,
    on_log: Callable[[dict[str, Any]], None] = lambda row: None,
) -> RunFolder:
    """Split by patient, fit encoder and rhythm on the training part, and train the recipe's generator on it.

    Parameters
    ----------
    ecgs : windows in the form the recipe asks for (leads, fs, n_samples); a TableSet or an ImageSet for a recipe whose
        data.kind is table or images: wherever an ECG is spoken of, a row or an image stands in its place
    recipe : a recipe, its name, or the path of its file
    out : run folder to make
    seed : of the split, the initial weights and every draw of training
    resume : continue the run in `out` if there is one
    use_all : train on all these ECGs, because what is held out lies elsewhere
    extra : ECGs to train on beside the training part, in the same form: canaries
    judge : of (validation ECGs, synthetic ECGs), returns a dict with 'score', the lower the better, and its parts; what
        chooses between the recipe's `training.candidates`, such as `ecgveil.evaluation.choice.judge`; not asked where
        `training.choose_by` is 'class-accuracy'. Without one the last weights are kept
    base : a run to go on from, of the same model and form, or 'base' for the model that ships: its encoder and its
        weights are where training begins; rhythm and conditions are fitted anew. One that learned no conditions can be
        gone on from with some
    on_prepare : called with (done, all) ECGs, where an encoder takes its time over them
    on_start : called once with (first step, all steps)
    on_log : called with each row of metrics; what the monitors found is in its 'warning'

    Returns
    -------
    RunFolder
        Stopped early, by SIGINT or SIGTERM, it holds a checkpoint to resume from.

    Raises
    ------
    ConfigError, RecordError, RunError
        Settings, records or the folder do not allow it; the message says what to do.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    kind = KINDS[recipe.data.kind]
    if not isinstance(ecgs, kind.data):
        given, needed = type(ecgs).__name__, kind.data.__name__
        raise ConfigError(
            f"fit was given {given}, recipe {recipe.name} learns from {needed}: the first of what {kind.read} returns"
        )
    out = Path(out)
    require_other_name("out", out)
    begun = require_place(out, recipe, seed, resume)
    kind.check_form(ecgs, recipe)
    require_processors(recipe.training.processes)
    if recipe.data.exclusive:
        ecgs, _ = in_classes(ecgs, recipe.data.labels, recipe.data.other)
        extra = extra and in_classes(extra, recipe.data.labels, recipe.data.other)[0]
    parts = None if use_all else split(ecgs, seed=seed)
    train_part, balance = _balanced(parts.train if parts else ecgs, recipe, seed)
    people, unread = kind.learnable(train_part, recipe)
    train_part = people if extra is None else kind.learnable(concat([people, extra]), recipe)[0]
    fingerprint = _fingerprint(train_part, recipe.data.classes, recipe.data.conditions)
    choosing = _choosing(parts, recipe, judge)
    start = None if base is None else begun_from(base, recipe)
    known = {"data_sha256": fingerprint, **choosing, **balance, **unread, **origin(start)}
    if begun:
        folder = _resumed(begun, known)
        players = Players(recipe, folder.context, seed)
        with folder.locked():
            state, step = folder.load_state()
        players.load(state)
    else:
        folder, players = _begun(out, recipe, ecgs, people, train_part, seed, known, start, on_prepare)
        step = 0
    if hasattr(folder.encoder, "prepare"):
        folder.encoder.prepare(train_part, on_prepare)
    windows, _ = folder.encoder.encode(train_part)
    chooser = None
    if parts and choosing and not choosing["choice_note"]:
        chooser = _chooser(folder, judge, parts, seed)
    on_start(step, recipe.n_steps(len(windows)))
    with folder.locked(), _asked_to_stop() as stop:
        folder.require_step(step)
        train(
            players,
            windows,
            conditions=encode(folder.conditions, train_part),
            people=train_part.patient_id,
            recipe=recipe,
            seed=seed,
            folder=folder,
            start=step,
            on_log=on_log,
            on_picture=lambda at, generator: _picture(folder, generator, seed, at),
            stop=stop,
            chooser=chooser,
            validation=_validation(folder, parts),
        )
    if kind is KINDS["ecg"]:
        _drawn(folder, players.average, seed, 0, 1)  # losses are of before the last update
    return folder


def require_place(out: Path, recipe: Recipe, seed: int, resume: bool) -> RunFolder | None:
    """The run in `out` to go on with, if there is one: what can be told of it before any record is read.

    Raises
    ------
    RunError
        Something is there and is not to be gone on with, or was made with other settings or another seed.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not resume:
        if (out / "recipe.toml").is_file():
            raise RunError(f"{out} already holds a run; pass --resume to continue it, or choose another folder")
        require_free(out)
    folder = RunFolder(out)
    if folder.recipe != recipe:
        differing = told_apart(folder.recipe.model_dump(), recipe.model_dump())
        raise RunError(f"{out} was made with other settings ({differing}); give the same")
    if folder.provenance["seed"] != seed:
        raise RunError(f"{out} was made with seed {folder.provenance['seed']}, not {seed}; give the same seed")
    return folder


def _balanced(train_part: ECGSet, recipe: Recipe, seed: int) -> tuple[ECGSet, dict[str, Any]]:
    """The training part, undersampled where the recipe says so, and what provenance says of its classes."""
    data = recipe.data
    if not data.exclusive:
        return train_part, {}
    found = count_classes(train_part, data.classes)
    if data.undersample:
        train_part = undersample(train_part, data.classes, seed)
    return train_part, {"classes": {"found": found, "trained_on": count_classes(train_part, data.classes)}}


def _choosing(parts: Parts | None, recipe: Recipe, judge: Judge | None) -> dict[str, Any]:
    """What provenance says of the choice between candidates; nothing where the recipe has none."""
    number, by = recipe.training.candidates, recipe.training.choose_by
    if not number:
        if recipe.training.patience:
            raise ConfigError(
                f"training.patience is {recipe.training.patience}, but training.candidates is 0 and none is judged; "
                "give candidates, or set patience to 0"
            )
        return {}
    if by == "class-accuracy" and not OBJECTIVES[recipe.training.objective].classifies:
        able = " and ".join(name for name, each in OBJECTIVES.items() if each.classifies)
        raise ConfigError(
            f"training.choose_by is class-accuracy, but {recipe.training.objective} has no class head; {able} have one"
        )
    if parts is None:
        return {"choice_note": f"{_UNJUDGED}: with all ECGs trained on there is none to judge by; {_LAST}"}
    patients = len(set(parts.validation.patient_id))
    note = ""
    if judge is None and by != "class-accuracy":
        note = f"{_UNJUDGED}: fit was given no judge, such as ecgveil.evaluation.choice.judge; {_LAST}"
    elif patients < LEAST_PATIENTS:
        note = f"{_UNJUDGED}: the validation part has {patients} patients, fewer than {LEAST_PATIENTS}; {_LAST}"
    return {"validation_sha256": _fingerprint(parts.validation, recipe.data.classes), "choice_note": note}


def _chooser(folder: RunFolder, judge: Judge | None, parts: Parts, seed: int) -> Chooser:
    """Candidates of this run, and the best of those judged before it was stopped."""
    t, validation = folder.recipe.training, parts.validation
    steps = candidate_steps(folder.planned_steps, t.candidates)
    known = t.patience, folder.scores(), *folder.load_chosen()
    if judge is None or t.choose_by == "class-accuracy":
        return Chooser(steps, class_criterion, None, *known)
    reference = one_of_each(parts.train, seed)

    def criterion(generator: nn.Module, row: dict[str, Any]) -> dict[str, float]:
        return judge(validation, _drawn(folder, generator, seed, FIRST, len(reference)))

    return Chooser(steps, criterion, lambda: judge(validation, reference)["score"], *known)


def _validation(folder: RunFolder, parts: Parts | None) -> Windows | None:
    """What the class head is asked about, if there is one."""
    if parts is None or folder.conditions is None or not OBJECTIVES[folder.recipe.training.objective].classifies:
        return None
    windows, _ = folder.encoder.encode(parts.validation)
    return Windows(torch.from_numpy(windows), encode(folder.conditions, parts.validation))


def _begun(
    out: Path,
    recipe: Recipe,
    ecgs: ECGSet,
    people: ECGSet,
    train_part: ECGSet,
    seed: int,
    known: dict[str, Any],
    start: RunFolder | None,
    on_prepare: Callable[[int, int], object],
) -> tuple[RunFolder, Players]:
    """A new run at step 0: what is fitted on the training part, and players untrained or as those of `start`.

    Rhythm and conditions, of which nothing is told that few people share, are of `people`: the first of the training
    part, those that are nobody's ECGs left out.
    """
    encoder = start.encoder if start else KINDS[recipe.data.kind].fit_encoder(train_part, recipe, on_prepare)
    if start and hasattr(encoder, "limit_noise"):
        encoder.limit_noise(train_part, on_prepare)  # these people's own; all else is what the players know
    conditions = fit_conditions(people, recipe.data)
    rhythm = None
    if MODELS[recipe.model["architecture"]].needs_rhythm:
        beats = encoder.beats(train_part)[: len(people)] if hasattr(encoder, "beats") else None
        rhythm = fit_rhythm(people, conditions, seed, beats)
    size = conditions.size if conditions else 0
    players = Players(recipe, Context(encoder.shape, recipe.data.fs, rhythm, size), seed)
    if start is not None:
        state, _ = load_tensors(start.path / "state.safetensors")
        state = Players.networks(state)
        players.load(inherited(state, players.state()) if conditions and not start.conditions else state)
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
    folder.encoder = encoder  # the same, but for what it has taken apart already
    return folder, players


def _resumed(folder: RunFolder, known: dict[str, Any]) -> RunFolder:
    """A run of the same settings, if it learned from the same."""
    out = folder.path
    if "base_sha256" in known and folder.provenance.get("base_sha256") != known["base_sha256"]:
        raise RunError(f"{out} did not begin from that run; give the same --from, or none")
    if any(folder.provenance.get(key) != value for key, value in known.items() if key != "choice_note"):
        raise RunError(f"{out} was trained on other records than these; give the same data")
    if folder.provenance.get("choice_note") != known.get("choice_note"):
        raise RunError(f"{out} was begun with a judge and is now given none, or the reverse; give the same")
    return folder


def _fingerprint(ecgs: DataSet, labels: tuple[str, ...], conditions: tuple[str, ...] = ()) -> str:
    """A digest of the training windows, and of what is learned beside them: resuming on others must be noticed."""
    digest = hashlib.sha256()
    form, values = ecgs.content()
    digest.update(form.encode())
    for each in values:  # one after the other: together they may be half of the memory
        digest.update(np.ascontiguousarray(each).data)
    first, whose = np.unique(np.array(ecgs.patient_id, str), return_index=True, return_inverse=True)[1:]
    if len(first) < len(ecgs):  # who has several
        digest.update(first[whose].astype("<i8").tobytes())
    if labels:
        digest.update(repr([[label for label in labels if label in borne] for borne in ecgs.labels]).encode())
    if "sex" in conditions:
        digest.update(repr(ecgs.sex).encode())
    if "age" in conditions:
        digest.update(np.ascontiguousarray(ecgs.age).tobytes())
    return digest.hexdigest()


def _provenance(ecgs: DataSet, train_part: DataSet, encoder: Any, seed: int, known: dict[str, Any]) -> dict[str, Any]:
    """What made this run: versions, seed, counts. Nothing of any one patient."""
    packages = ("ecgveil", "torch", "numpy", "scipy", "wfdb")
    return {
        "synthetic": "this run generates synthetic data; not for clinical use",
        "seed": seed,
        **known,
        "counts": {
            "all": {"windows": len(ecgs), "patients": len(set(ecgs.patient_id))},
            "train": {"windows": len(train_part), "patients": len(set(train_part.patient_id))},
        },
        "saturated": getattr(getattr(encoder, "standardize", None), "saturated_", {}),
        "versions": {name: importlib.metadata.version(name) for name in packages}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def _picture(folder: RunFolder, generator: nn.Module, seed: int, step: int) -> None:
    """The same noise at every step, so that the strip shows training and not luck."""
    if folder.recipe.data.kind != "ecg":
        folder.save_picture(step, draw_squares(draw(generator, seed, 0, _SQUARES)))
        return
    ecgs = _drawn(folder, generator, seed, 0, _PICTURED)
    figure = paper.draw_strips(ecgs, range(_PICTURED), title=f"step {step}", synthetic=True)
    folder.save_picture(step, paper.to_png(figure))


def _drawn(folder: RunFolder, generator: nn.Module, seed: int, first: int, number: int) -> ECGSet:
    """ECGs of a generator in training, in the form of those it learns from."""
    signal = folder.encoder.decode(draw(generator, seed, first, first + number, folder.conditions))
    if not np.isfinite(signal).all():
        raise RunError(
            f"{folder.path}: the generator makes values that are no numbers: training diverged; "
            "fit again with a lower training.learning_rate"
        )
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
