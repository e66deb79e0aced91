"""The command `ecgveil`: parses, calls the API, prints. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ecgveil.console import (
    error_console,
    listed,
    out_console,
    print_answers,
    print_intake,
    print_notes,
    print_summary,
    progress,
)
from ecgveil.errors import ConfigError, EcgveilError, Stopped

# Idle threads of torch soon sleep instead of spinning: beside other work on the same cores, spinning slows training
# twentyfold, and sleeping at once slows it by a quarter where there is none. Read once, when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

app = typer.Typer(
    help="A private ECG database in, a synthetic one out, with the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The error of a wrong option: typer exports it under this heir only, and where it comes from differs by version.
_UsageError: Any = typer.BadParameter.__mro__[1]

Data = Annotated[list[Path], typer.Argument(help="Folders of WFDB records.", show_default=False)]
AnyData = Annotated[
    list[Path], typer.Argument(help="Folders of WFDB records; tables or folders of images as well.", show_default=False)
]
_UNTESTED = "not tested for whom they may betray: release and evaluate do that"
OTHERS = {"table": "rows", "images": "images"}  # what a sample of other data is called
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all random draws: the same seed, the same ECGs.")]
Resample = Annotated[bool, typer.Option("--resample", help="Allow any change of sampling rate.")]
Base = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Run folder to go on from: of the recipe, or veil for veil-conditional; base: the model that ships.",
        show_default=False,
    ),
]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Setting to change, as group.name=value.")]


@app.command()
def inspect(
    data: Annotated[Path, typer.Argument(help="Folder of WFDB records.", show_default=False)],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the finding of every record here.")] = None,
) -> None:
    """What a folder of records holds, and every record left out with its reason."""
    from ecgveil.files import write_atomic
    from ecgveil.formats import as_json, inspect, summary

    if json_file is not None and not _replaceable(json_file, ".json"):
        raise ConfigError(f"--json {json_file} is there already and is no plain .json file; name another file")
    with progress() as tell:
        findings = inspect(data, progress=lambda done, total: tell("reading", done, total, {}))
    if json_file is not None:
        write_atomic(json_file, json.dumps(as_json(findings), indent=1) + "\n")
    print_summary(summary(findings))
    for finding in findings:
        if not finding.kept:
            told = "; ".join(f"{code}: {text}" for code, text in zip(finding.reasons, finding.details, strict=True))
            out_console.print(f"left out  {finding.record}  {told}", soft_wrap=True)


@app.command()
def measure(
    data: Annotated[Path, typer.Argument(help="Folder of WFDB records.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write.", show_default=False)],
    annotations: Annotated[
        Path | None, typer.Option(help="Folder to make, for the marks of every beat as WFDB annotations.")
    ] = None,
) -> None:
    """Rate, intervals, axes, amplitudes and statements of every record, a row each."""
    from ecgveil.measuring import measure_folder

    if not _replaceable(out, ".csv"):
        raise ConfigError(f"--out {out} is there already and is no plain .csv file; name another file")
    with progress() as tell:
        summary = measure_folder(
            data, out, annotations=annotations, progress=lambda done, total: tell("measuring", done, total, {})
        )
    table = Table(box=None, show_header=False)
    table.add_row("records", f"{summary.records}, of which {summary.measured} measured")
    for title in ("conclusions", "reasons", "notes"):
        counted = dict(getattr(summary, title).most_common())
        table.add_row("put right" if title == "notes" else title, listed(counted, most=12))
    out_console.print(table)
    out_console.print(f"measurements: {out}" + (f"; marks: {annotations}" if annotations else ""), soft_wrap=True)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    patients: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of patients.")] = 200,
    seed: Seed = 0,
) -> None:
    """Write a simulated clinic: 12-lead records of patients who never were."""
    from ecgveil.simulate import write_clinic

    names = write_clinic(out, patients, seed=seed)
    out_console.print(f"{len(names)} simulated records of {patients} patients in {out}", soft_wrap=True)


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="One recipe to show whole.")] = None) -> None:
    """List the recipes, or show one with its source."""
    from ecgveil.recipe import load_recipe, recipe_names

    if name is not None:
        sys.stdout.write(load_recipe(name).to_toml())
        return
    table = Table("recipe", "what it is", "source", box=None)
    for each in recipe_names():
        recipe = load_recipe(each)
        table.add_row(each, recipe.summary, recipe.source)
    out_console.print(table)


@app.command()
def fit(
    data: AnyData,
    out: Annotated[Path, typer.Option(help="Run folder to make.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Recipe: a name, or the path of a .toml file.")] = "veil",
    assignments: Assignments = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    resample: Resample = False,
    base: Base = None,
) -> None:
    """Train a generator on the training part of the records."""
    from ecgveil.base import require_other_name
    from ecgveil.evaluation.choice import judge_by
    from ecgveil.files import require_apart
    from ecgveil.intake import take_in
    from ecgveil.kinds import read_others
    from ecgveil.recipe import load_recipe, parse_overrides
    from ecgveil.training.fit import begun_from, fit, require_place

    resolved = load_recipe(recipe, parse_overrides(assignments or []))
    require_other_name("--out", out)
    require_apart("--out", out, data)
    if base is not None:
        begun_from(base, resolved)  # before the records are read, not after
    require_place(out, resolved, seed, resume)  # before the records are read, not after
    with progress() as tell:
        if resolved.data.kind == "ecg":
            taken = take_in(data, resolved, resample=resample, progress=lambda done, n: tell("reading", done, n, {}))
            print_intake(taken)
            learned: Any = taken.ecgs
        else:
            learned, notes = read_others(data, resolved, progress=lambda done, n: tell("reading", done, n, {}))
            print_notes(notes)
        total = 0

        def started(step: int, steps: int) -> None:
            nonlocal total
            total = steps
            tell("training", step, steps, {})

        folder = fit(
            learned,
            resolved,
            out,
            seed=seed,
            resume=resume,
            judge=judge_by(resolved.training.choose_by, seed),
            base=base,
            on_prepare=lambda done, n: tell("taking apart", done, n, {}),
            on_start=started,
            on_log=lambda row: tell("training", row["step"], total, row),
        )
    _, done = folder.load_weights()
    steps = folder.total_steps
    if done < steps:
        raise Stopped(f"stopped at step {done} of {steps}; go on with the same command and --resume")
    for note in folder.remarks():
        error_console.print(f"note: {note}", soft_wrap=True)
    choice = folder.choice()
    if choice and choice["note"]:
        error_console.print(f"note: {choice['note']}", soft_wrap=True)
    elif choice:
        floor = "" if choice["floor"] is None else f"; real ECGs score {choice['floor']:.3f}"
        error_console.print(
            f"of {len(choice['candidates'])} candidates that of step {choice['step']} is kept: score "
            f"{choice['score']:.3f}, lower is better{floor}",
            soft_wrap=True,
        )
        if choice["ended"]:
            patience = resolved.training.patience
            error_console.print(f"training ended at step {steps}: {patience} candidates in a row were no better")
    out_console.print(f"trained {steps} steps; run folder {out}", soft_wrap=True)
    out_console.print(
        "It stays with you: whoever has its critic can ask that who was trained on. What can be shared is what release "
        "makes, with its evidence.",
        soft_wrap=True,
    )


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="The --out of a fit; base: the model that ships.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    number: Annotated[int, typer.Option(min=1, max=1_000_000, help="ECGs to draw.")] = 100,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="Label that every ECG shall bear; of several, all at once.")
    ] = None,
    sex: Annotated[str | None, typer.Option(help="female or male.")] = None,
    age: Annotated[str | None, typer.Option(help="Years, as 63 or 60:70.")] = None,
    heart_rate: Annotated[str | None, typer.Option(help="Beats per minute, as 70 or 60:75.")] = None,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="ECGs that each core draws at a time.")] = 64,
) -> None:
    """Draw synthetic ECGs from a run into WFDB records; rows into a CSV file, images into PNG files."""
    from ecgveil.base import NAME, require_other_name
    from ecgveil.files import new_folder, require_free

    require_other_name("--out", out)
    require_free(out)  # before torch is loaded

    from ecgveil.kinds import write_others
    from ecgveil.pipeline import write_samples
    from ecgveil.sampling import load

    spans = {"age": _span("--age", age), "heart_rate": _span("--heart-rate", heart_rate)}
    generator = load(run).bearing(labels or (), sex, **spans)
    if not generator.finished:
        error_console.print(f"note: {run} is trained to step {generator.step} of {generator.steps}")
    if generator.recipe.data.kind != "ecg":
        with new_folder(out) as folder, progress() as tell:
            write_others(
                generator.stream(number, seed=seed, batch_size=batch_size),
                folder,
                lambda done: tell("sampling", done, number, {}),
            )
        if generator.recipe.data.kind == "table":
            share = generator.null_share(number, seed)
            error_console.print(f"cells that bear no feature are all 0 in {share:.1%} of rows")
        out_console.print(f"{number} synthetic {OTHERS[generator.recipe.data.kind]} in {out}", soft_wrap=True)
        return
    with new_folder(out) as folder, progress() as tell:
        clipped = write_samples(
            generator,
            folder,
            number,
            seed=seed,
            batch_size=batch_size,
            progress=lambda done, total: tell("sampling", done, total, {}),
        )
    if clipped:
        error_console.print(f"note: {clipped} values beyond +-32.767 mV were clipped; the headers say where")
    out_console.print(f"{number} synthetic records in {out}", soft_wrap=True)
    if generator.name != NAME:
        error_console.print(_UNTESTED)


@app.command()
def release(
    data: Data,
    out: Annotated[Path, typer.Option(help="Release folder to make.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Recipe: a name, or the path of a .toml file.")] = "veil",
    number: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="ECGs to draw; default: as many as real ones.")
    ] = None,
    assignments: Assignments = None,
    seed: Seed = 0,
    run: Annotated[Path | None, typer.Option(help="Run folder to train in; default: OUT-run.")] = None,
    base: Base = None,
    resample: Resample = False,
    canaries: Annotated[
        int, typer.Option(min=0, max=1000, help="Odd ECGs to plant in training, to see how well they are remembered.")
    ] = 0,
    drop_copies: Annotated[
        bool, typer.Option("--drop-copies", help="Release no ECG that is a copy of a real one.")
    ] = False,
) -> None:
    """The whole way: read, train, sample, measure, report. Interrupted, the same command goes on."""
    from ecgveil.pipeline import Listener, release
    from ecgveil.recipe import load_recipe, parse_overrides
    from ecgveil.report import ANSWERS

    resolved = load_recipe(recipe, parse_overrides(assignments or []))
    with progress() as tell:
        report = release(
            data,
            out,
            recipe=resolved,
            number=number,
            seed=seed,
            run=run,
            base=base,
            resample=resample,
            canaries=canaries,
            drop_copies=drop_copies,
            listener=Listener(tell, print_intake),
        )
    print_answers(report.with_name(ANSWERS))
    out_console.print(f"report: {report}", soft_wrap=True)
    out_console.print(
        f"{report.name} draws real ECGs and copies.csv names real records: both stay with you. Whether to share the "
        "rest is yours to decide, by these answers.",
        soft_wrap=True,
    )


@app.command()
def augment(
    data: Data,
    label: Annotated[str, typer.Option(help="Label that every ECG shall bear.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    number: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="ECGs to draw; default: up to the most frequent label."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that learns the label; default: superclass. Trained in OUT-run.")
    ] = None,
    assignments: Assignments = None,
    seed: Seed = 0,
    run: Annotated[Path | None, typer.Option(help="Trained run to draw from; nothing is trained then.")] = None,
    resample: Resample = False,
) -> None:
    """Synthetic ECGs of a label that is too rare. It learns from all of DATA: keep what you will test on out of it."""
    from ecgveil.augmenting import RECIPE, augment
    from ecgveil.pipeline import Listener
    from ecgveil.recipe import load_recipe, parse_overrides

    resolved = None
    if run is None or recipe is not None or assignments:
        resolved = load_recipe(recipe or RECIPE, parse_overrides(assignments or []))
    with progress() as tell:
        done = augment(
            data,
            out,
            label=label,
            number=number,
            recipe=resolved,
            run=run,
            seed=seed,
            resample=resample,
            listener=Listener(tell, print_intake),
        )
    table = Table("label", "ECGs before", "with the synthetic ones", box=None)
    for name, before in done.before.items():
        table.add_row(name, str(before), str(done.after[name]))
    out_console.print(table)
    if done.clipped:
        error_console.print(f"note: {done.clipped} values beyond +-32.767 were clipped; the headers say where")
    out_console.print(f"{done.number} synthetic records that bear {label} in {out}", soft_wrap=True)
    error_console.print(_UNTESTED)


@app.command()
def evaluate(
    train: Annotated[
        Path, typer.Option(help="Folder of the ECGs that the generator learned from.", show_default=False)
    ],
    holdout: Annotated[
        Path, typer.Option(help="Folder of ECGs of other people, never learned from.", show_default=False)
    ],
    synthetic: Annotated[Path, typer.Option(help="Folder of what it made.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    quick: Annotated[
        bool, typer.Option("--quick", help="Few records, nothing that takes training; a first look.")
    ] = False,
    drop_copies: Annotated[
        bool,
        typer.Option(
            "--drop-copies", help="Leave copies of real ECGs out of the figures; RECORDS-without-copies names the rest."
        ),
    ] = False,
    others: Annotated[
        Path | None, typer.Option(help="Folder of other recordings of the same people, for the attack by linkage.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Is it real enough, is it useful, whom does it betray: the evidence on any synthetic ECGs."""
    from ecgveil.evaluating import evaluate_folders
    from ecgveil.report import ANSWERS

    with progress() as tell:
        report = evaluate_folders(
            train,
            holdout,
            synthetic,
            out,
            seed=seed,
            quick=quick,
            drop_copies=drop_copies,
            others=others,
            tell=lambda part, done, total: tell(part, done, total, {}),
        )
    print_answers(report.with_name(ANSWERS))
    out_console.print(f"report: {report}", soft_wrap=True)
    out_console.print("It draws real ECGs, and copies.csv names real records: both stay with you.", soft_wrap=True)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="Study; without one, all are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default=False)] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder of records, again for more; default: the embedded clinic.")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Share of the published epochs, of what is drawn, and of the patients.")
    ] = 1.0,
    all_patients: Annotated[
        bool, typer.Option("--all-patients", help="Train on all patients whatever the scale.")
    ] = False,
    assignments: Assignments = None,
    seed: Seed = 0,
) -> None:
    """Run a paper's study on given data: its figures and tables, beside what was published."""
    from ecgveil.recipe import parse_overrides
    from ecgveil.studies import STUDIES, reproduce

    if name is None:
        table = Table("study", "what it shows", "source", box=None)
        for each, study in STUDIES.items():
            table.add_row(each, study.summary, study.source)
        out_console.print(table)
        return
    if out is None:
        raise ConfigError(f"reproduce {name} makes a folder; name it with --out")
    with progress() as tell:
        page = reproduce(
            name,
            out,
            data=data or (),
            scale=scale,
            all_patients=all_patients,
            seed=seed,
            changes=parse_overrides(assignments or []),
            tell=tell,
        )
    out_console.print(f"page: {page}", soft_wrap=True)
    out_console.print("It draws real data beside synthetic: it is the keeper's.", soft_wrap=True)


def main() -> None:
    """Entry point: whatever goes wrong for a reason becomes one line and exit code 2, or 130 when interrupted."""
    for end in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(end, _interrupt)  # so that what is half-written is cleared away
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _end("interrupted", 130)
    except Stopped as error:
        _end(str(error), 130)
    except EcgveilError as error:
        _end(str(error), 2)
    except _UsageError as error:
        _end(f"{error.format_message()} (see --help)".replace("\n", " "), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        sys.exit(1)
    except OSError as error:
        _end(f"{error.filename or 'output'}: {error.strerror or error}; choose another place", 2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        _end("not enough memory; lower training.batch or the widths of the model, or read fewer records", 2)
    if code == 130:  # newer versions of typer turn an interruption into this
        _end("interrupted", 130)
    sys.exit(code if isinstance(code, int) else 0)


def _replaceable(file: Path, suffix: str) -> bool:
    """Nothing is there, or an earlier file of the same kind; never a device, a link or somebody's record."""
    there = file.is_symlink() or file.exists()
    return not there or (file.suffix == suffix and file.is_file() and not file.is_symlink())


def _span(option: str, text: str | None) -> tuple[float, float] | None:
    """'63' or '60:70' -> (from, to)."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        return float(low), float(high if colon else low)
    except ValueError:
        raise ConfigError(f"{option} {text}: write it as 63, or as 60:70") from None


def _end(message: str, code: int) -> None:
    error_console.print(f"ecgveil: {message}", soft_wrap=True)
    sys.exit(code)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
