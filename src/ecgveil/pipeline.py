"""The whole way, for people who want one command: records in, a synthetic release with its report out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgveil import intake
from ecgveil.base import NAME, require_other_name
from ecgveil.classes import undersample
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, Stopped
from ecgveil.evaluation import Evaluation, Means, evaluate
from ecgveil.evaluation.canaries import make_canaries
from ecgveil.evaluation.choice import judge_by
from ecgveil.files import new_folder, require_apart, require_free, write_atomic
from ecgveil.formats.wfdb_write import count_clipped, write, write_records_file
from ecgveil.intake import Intake
from ecgveil.kinds import readable, require_ecgs
from ecgveil.leads import LEADS_8
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.report import COPIES, About, write_figures, write_report
from ecgveil.sampling import Run, load
from ecgveil.split import Parts, split
from ecgveil.store import READABLE, read_stored, usual_form
from ecgveil.training.beginning import begun_from
from ecgveil.training.critic import critic_scores
from ecgveil.training.fit import fit

NOTICE = "synthetic; not for clinical use; expert review pending"
KEEPERS_REPORT, PUBLIC_REPORT = "report.html", "report-public.html"
KEEPERS = (KEEPERS_REPORT, COPIES)  # what is not to be shared
_HEADER_NOTE = "synthetic ECG made by ecgveil, which learned from recordings; not for clinical use"


@dataclass(frozen=True)
class Listener:
    """Called as the work goes on: `tell` with (stage, done, total, details), `say` with what was read."""

    tell: Callable[[str, int, int, dict[str, Any]], None] = lambda stage, done, total, details: None
    say: Callable[[Intake], None] = lambda taken: None

    def progress(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.tell(stage, done, total, {})


def release(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recipe: str | Path | Recipe = "veil",
    number: int | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    base: str | Path | None = None,
    resample: bool = False,
    canaries: int = 0,
    drop_copies: bool = False,
    listener: Listener | None = None,
) -> Path:
    """Read, train, sample, measure, and write a folder to look at and to share.

    Interrupted, the same command goes on where it stopped. The folder holds synthetic records with `RECORDS`,
    `manifest.json`, `answers.json`, `evaluation.json`, `report.html` for the keeper of the data (it draws real ECGs
    beside synthetic ones), `report-public.html` without those, and `SHA256SUMS` of all but what is the keeper's.

    Parameters
    ----------
    data : folder, or folders, of WFDB records
    out : release folder to make; it appears whole or not at all
    recipe : name, path or recipe
    number : synthetic ECGs; by default as many as there are real windows
    seed : of everything drawn
    run : run folder to train in or to continue; by default `<out>-run`
    base : a run whose weights training begins with, or 'base' for the model that ships; see `fit`
    resample : allow any change of sampling rate
    canaries : odd ECGs to plant among the training ECGs, to measure by how well they are remembered
    drop_copies : leave synthetic ECGs that were flagged as copies out of the release
    listener : told of progress

    Returns
    -------
    Path
        Of the keeper's report.

    Raises
    ------
    ConfigError, RecordError, RunError, EvaluationError
        With the value and the remedy; what was there before is untouched.
    """
    listener = listener or Listener()
    out = Path(out)
    folders = [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]
    run_path = places(folders, out, run)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    require_ecgs(recipe, "release")
    if base is not None:
        begun_from(base, recipe)  # before the records are read, not after
    if recipe.data.cut == "beats":
        raise ConfigError(
            f"recipe {recipe.name} makes single beats, of which rate, intervals and privacy cannot be told; release "
            "takes ECGs: set data.cut = 'windows' and data.n_samples, or use fit and sample"
        )
    taken = intake.take_in(folders, recipe, resample=resample, progress=listener.progress("reading"))
    listener.say(taken)
    parts = split(taken.ecgs, seed=seed)
    if recipe.data.undersample:  # evidence on privacy is about those who were trained on
        parts = parts._replace(train=undersample(parts.train, recipe.data.classes, seed))
    parts, unlearned = _learned(parts, recipe)
    odd = make_canaries(parts.train, canaries, seed=seed) if canaries else None
    generator = trained(taken.ecgs, recipe, run_path, seed, listener, canaries=odd[0] if odd else None, base=base)
    number = len(taken.ecgs) if number is None else number
    with new_folder(out) as building:
        clipped = write_samples(
            generator, building, number, seed=seed, batch_size=64, progress=listener.progress("sampling")
        )
        signals = building / ".signals"
        synthetic = read_stored(building, signals, usual_form(building, allow=READABLE), allow=READABLE).ecgs
        train, holdout = (part.pick(synthetic.leads) for part in (parts.train, parts.holdout))
        means = Means(
            critic=critic_scores(generator.folder, parts.train, parts.holdout, seed=seed),
            canaries=(odd[0].pick(synthetic.leads), odd[1].pick(synthetic.leads)) if odd else None,
        )
        evaluation = evaluate(
            train,
            holdout,
            synthetic,
            seed=seed,
            drop_copies=drop_copies,
            means=means,
            tell=lambda part, done, total: listener.tell(part, done, total, {}),
        )
        dropped = _drop(building, evaluation) if drop_copies else 0
        about = _about(taken, generator, number - dropped, seed, parts, clipped, (*unlearned, *evaluation.notes))
        history, pictures = generator.folder.metrics(), generator.folder.pictures()
        for name, show_real in ((KEEPERS_REPORT, True), (PUBLIC_REPORT, False)):
            write_report(
                building / name,
                train=train,
                holdout=holdout,
                synthetic=synthetic,
                evaluation=evaluation,
                about=about,
                history=history,
                pictures=pictures,
                show_real=show_real,
            )
        signals.unlink(missing_ok=True)
        write_figures(building, evaluation)
        write_atomic(building / "manifest.json", json.dumps(_manifest(about, generator), indent=1) + "\n")
        write_atomic(building / "SHA256SUMS", _checksums(building))
        for name in KEEPERS:
            if (building / name).exists():
                (building / name).chmod(0o600)  # real ECGs, and names of records
    return out / KEEPERS_REPORT


def _learned(parts: Parts, recipe: Recipe) -> tuple[Parts, list[str]]:
    """The training and the holdout part without what the recipe cannot learn from; and a note where that is some.

    Who was not learned from is no member of the training set, and the holdout must be like it but for that.
    """
    train, holdout = (readable(part, recipe) for part in (parts.train, parts.holdout))
    n = len(parts.holdout) - len(holdout)
    note = f"{n} of {len(parts.holdout)} holdout windows have no four beats to take apart, and were not compared with."
    return parts._replace(train=train, holdout=holdout), [note] if n else []


def _drop(folder: Path, evaluation: Evaluation) -> int:
    """Take the records that were flagged as copies out of the release; how many they were."""
    if evaluation.copies is None:
        return 0
    table = evaluation.copies
    for name in table["record_name"][table["flagged"]]:
        for suffix in (".hea", ".dat"):
            (folder / f"{name}{suffix}").unlink()
    write_records_file(folder, list(table["record_name"][~table["flagged"]]))
    return int(table["flagged"].sum())


def places(folders: list[Path], out: Path, run: str | Path | None) -> Path:
    """The run folder, once all places are known not to be in each other's way."""
    require_free(out)
    target = out.absolute()
    run_path = Path(run) if run is not None else target.with_name(f"{target.name}-run")
    require_other_name("--out", out)
    require_other_name("--run", run_path)
    if run_path.absolute() == target or target in run_path.absolute().parents:
        raise ConfigError(f"--run {run_path} lies in --out {out}, which is made last and whole; choose another place")
    require_apart("--out", out, folders)
    require_apart("--run", run_path, folders)
    return run_path


def trained(
    ecgs: ECGSet,
    recipe: Recipe,
    path: Path,
    seed: int,
    listener: Listener,
    *,
    canaries: ECGSet | None = None,
    use_all: bool = False,
    base: str | Path | None = None,
) -> Run:
    """Train, or go on training, to the end; see `fit`. Stopped where that was interrupted."""
    total = 0

    def started(step: int, steps: int) -> None:
        nonlocal total
        total = steps
        listener.tell("training", step, steps, {})

    folder = fit(
        ecgs,
        recipe,
        path,
        seed=seed,
        resume=True,
        use_all=use_all,
        extra=canaries,
        base=base,
        judge=judge_by(recipe.training.choose_by, seed),
        on_prepare=lambda done, all_: listener.tell("taking apart", done, all_, {}),
        on_start=started,
        on_log=lambda row: listener.tell("training", row["step"], total, row),
    )
    generator = load(folder.path)
    if not generator.finished:
        raise Stopped(f"stopped at step {generator.step} of {generator.steps}; run the same command again to go on")
    return generator


def write_samples(
    generator: Run, folder: Path, number: int, *, seed: int, batch_size: int, progress: Callable[[int, int], object]
) -> int:
    """Draw and write `number` records with RECORDS into a new folder; how many values had to be clipped."""
    names: list[str] = []
    clipped = 0
    of = f"{NAME} model, " if generator.name == NAME else ""
    asked = f"; {generator.asked} asked for" if generator.asked else ""
    comments = [_HEADER_NOTE, f"{of}recipe {generator.recipe.name}, seed {seed}{asked}"]

    def written(batch: ECGSet) -> tuple[tuple[str, ...], int]:
        write(batch, folder, comments=comments, unfinished=True)
        return batch.record_name, sum(int(count_clipped(each).sum()) for each in batch.signal)

    for done, cut in generator.each(written, number, seed=seed, batch_size=batch_size):
        names.extend(done)
        clipped += cut
        progress(len(names), number)
    write_records_file(folder, names)
    return clipped


def _about(
    taken: Intake, generator: Run, number: int, seed: int, parts: Parts, clipped: int, notes: Sequence[str]
) -> About:
    provenance = generator.folder.provenance
    counts = provenance["counts"]
    recipe = generator.recipe
    settings = {
        f"{group}.{key}": value
        for group, table in recipe.model_dump(mode="json", exclude_none=True).items()
        if isinstance(table, dict)
        for key, value in table.items()
    }
    told = [*taken.notes, *notes]
    if recipe.data.leads == LEADS_8:
        told.append("III, aVR, aVL and aVF are computed from I and II, in real and synthetic ECGs alike.")
    if saturated := provenance["saturated"]:
        told.append(
            f"Standardising cut {saturated['values']:.2%} of the values, in {saturated['windows']:.1%} of the windows."
        )
    told += [f"{each[0].upper()}{each[1:]}." for each in generator.folder.remarks()]
    told += [*_choice(generator), *_warned(generator)]
    if clipped:
        told.append(f"{clipped} synthetic values beyond +-32.767 {recipe.data.units} were clipped when written.")
    return About(
        title="Synthetic ECG release",
        recipe=recipe.name,
        settings=settings,
        seed=seed,
        versions=provenance["versions"],
        counts={
            "real windows": counts["all"]["windows"],
            "real patients": counts["all"]["patients"],
            "training windows": len(parts.train),  # canaries, which were trained on too, are nobody's
            "training patients": len(set(parts.train.patient_id)),
            "holdout windows": len(parts.holdout),
            "synthetic ECGs": number,
        },
        fs=recipe.data.fs,
        seconds=recipe.data.n_samples / recipe.data.fs,
        notes=tuple(told),
        kept=taken.kept,
        left_out=taken.left_out,
    )


def _choice(generator: Run) -> list[str]:
    """Which checkpoint was kept, where the recipe lets the validation part choose."""
    choice = generator.folder.choice()
    if choice is None:
        return []
    if choice["note"]:
        return [choice["note"]]
    kept = f"Of {len(choice['candidates'])} checkpoints the one of step {choice['step']} was kept"
    if choice["floor"] is None:
        told = [f"{kept}: it had the best score, {choice['score']:.3f}, by training.choose_by."]
    else:
        told = [
            f"{kept}: it came nearest to the validation part, which it never saw (score {choice['score']:.3f}; real "
            f"ECGs {choice['floor']:.3f})."
        ]
    if choice.get("ended"):
        told.append(f"Training ended at step {generator.step}, as no better checkpoint came.")
    return told


def _warned(generator: Run) -> list[str]:
    """What the monitors of training found."""
    told = []
    for warning in generator.folder.warnings():
        until = "to the end" if warning["until"] is None else f"to step {warning['until']}"
        told.append(f"Training showed {warning['kind']} from step {warning['since']} {until}.")
    return told


def _manifest(about: About, generator: Run) -> dict[str, Any]:
    units = generator.recipe.data.units
    return {
        "notice": NOTICE,
        "recipe": about.recipe,
        "source": generator.recipe.source,
        "settings": dict(about.settings),
        "seed": about.seed,
        "steps": generator.step,
        "checkpoint_choice": generator.folder.choice(),
        "versions": dict(about.versions),
        "counts": dict(about.counts),
        "records_read": {"kept": about.kept, "left_out": dict(about.left_out)},
        "notes": list(about.notes),
        "form": {
            "fs_hz": about.fs,
            "seconds": about.seconds,
            "units": units,
            "format": f"WFDB 16, 0.001 {units} per unit",
        },
        "not_to_be_shared": list(KEEPERS),
    }


def _checksums(folder: Path) -> str:
    """`sha256sum` lines of all but what is the keeper's."""
    lines = []
    for file in sorted(folder.iterdir()):
        if file.name not in (*KEEPERS, "SHA256SUMS"):
            lines.append(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n")
    return "".join(lines)
