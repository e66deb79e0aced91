"""Class balancing by generation: a folder of records, and how many ECGs of one label it lacks -> those, synthetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgveil.errors import ConfigError, RunError
from ecgveil.files import new_folder, require_free
from ecgveil.intake import take_in
from ecgveil.kinds import KINDS, require_ecgs
from ecgveil.models.draw import draw_conditions
from ecgveil.pipeline import Listener, places, trained, write_samples
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.sampling import Run, load
from ecgveil.training.conditioning import fit_conditions

RECIPE = "superclass"  # where none is asked for


@dataclass(frozen=True)
class Augmented:
    """How many ECGs bear each label that the generator knows: in the data, and with the `number` synthetic ones."""

    before: dict[str, int]
    after: dict[str, int]
    number: int
    clipped: int  # values beyond what a record holds


def augment(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    label: str,
    number: int | None = None,
    recipe: str | Path | Recipe | None = None,
    run: str | Path | None = None,
    seed: int = 0,
    resample: bool = False,
    listener: Listener | None = None,
) -> Augmented:
    """Write synthetic ECGs that bear a label, to put beside the real ones when a classifier is trained.

    The generator learns from every record of `data`: give the part that the classifier is to be trained on, and none of
    the records that it is to be tested on. Interrupted, the same call goes on where it stopped. What is written has not
    been evaluated: `evaluate` says whom it may betray.

    Parameters
    ----------
    data : folder, or folders, of WFDB records
    out : folder to make, of synthetic records and `RECORDS` alone; it appears whole or not at all
    label : what every ECG shall bear; one that the recipe names
    number : synthetic ECGs; by default as many as bring `label` up to the most frequent label of `data`
    recipe : name, path or recipe, with data.labels; by default superclass. It is trained in `<out>-run`
    run : run folder to draw from instead, trained to its end; nothing is trained then
    seed : of everything drawn
    resample : allow any change of sampling rate
    listener : told of progress

    Raises
    ------
    ConfigError, RecordError, RunError
        With the value and the remedy; what was there before is untouched.
    """
    listener = listener or Listener()
    out = Path(out)
    folders = [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]
    if number is not None and number < 1:
        raise ConfigError(f"number is {number}; it must be at least 1")
    run_path = places(folders, out, run)
    generator = None if run is None else _finished(run_path, recipe)
    if generator is not None:
        resolved = generator.recipe
    else:
        resolved = recipe if isinstance(recipe, Recipe) else load_recipe(RECIPE if recipe is None else recipe)
    require_ecgs(resolved, "augment")
    _require_label(resolved, label)
    taken = take_in(folders, resolved, resample=resample, progress=listener.progress("reading"))
    listener.say(taken)
    classes = resolved.data.classes
    before = _counted(taken.ecgs.labels, classes)
    number = _lacking(before, label) if number is None else number
    if generator is None:
        learnable, _ = KINDS["ecg"].learnable(taken.ecgs, resolved)
        if learned := fit_conditions(learnable, resolved.data):
            learned.bearing([label])  # what cannot be drawn is said before it is trained
        generator = trained(taken.ecgs, resolved, run_path, seed, listener, use_all=True)
    bearing = generator.bearing([label])
    require_free(out)
    with new_folder(out) as building:
        clipped = write_samples(
            bearing, building, number, seed=seed, batch_size=64, progress=listener.progress("sampling")
        )
    assert bearing.conditions is not None  # it bears labels
    made = (bearing.conditions.decode(each) for each in draw_conditions(bearing.conditions, seed, 0, number))
    added = _counted(made, classes)
    return Augmented(before, {name: before[name] + added[name] for name in classes}, number, clipped)


def _finished(path: Path, recipe: str | Path | Recipe | None) -> Run:
    """The run to draw from."""
    if recipe is not None:
        raise ConfigError(f"run {path} has its recipe already; leave recipe and settings out, or the run")
    generator = load(path)
    if not generator.finished:
        raise RunError(
            f"{path} is trained to step {generator.step} of {generator.steps}; go on with fit --resume first"
        )
    return generator


def _require_label(recipe: Recipe, label: str) -> None:
    classes = recipe.data.classes
    if not classes:
        raise ConfigError(f"recipe {recipe.name} learns no labels; set data.labels, or take one that does ({RECIPE})")
    if label not in classes:
        told = ", ".join(classes)
        raise ConfigError(f"label '{label}' is none that recipe {recipe.name} learns ({told}); set data.labels")


def _counted(labels: Iterable[Sequence[str]], classes: Sequence[str]) -> dict[str, int]:
    """How many ECGs bear each class."""
    found = Counter(name for borne in labels for name in set(borne))
    return {name: found[name] for name in classes}


def _lacking(before: dict[str, int], label: str) -> int:
    most = max(before, key=lambda name: before[name])
    if before[most] == before[label]:
        raise ConfigError(f"label '{label}' is the most frequent already, in {before[label]} ECGs; give number")
    return before[most] - before[label]
