"""Three folders of records -> evaluation.json, copies.csv and report.html: the evidence on anybody's synthetic ECGs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, EvaluationError
from ecgveil.evaluation import QUICK, Means, evaluate
from ecgveil.files import new_folder, require_free, within, write_atomic
from ecgveil.formats.inspect import record_names
from ecgveil.formats.wfdb import OURS
from ecgveil.leads import DERIVED, LEADS_8, LEADS_12
from ecgveil.report import About, write_figures, write_report
from ecgveil.store import READABLE, Form, Stored, read_stored, usual_form

PARTS = ("train", "holdout", "synthetic")
OTHERS = "others"
REPORT = "report.html"
# A flaw of a synthetic ECG is no reason to look away from it; that of a real ECG is one, as it is in training.
ALLOWED = {"train": ("wrong_unit",), "holdout": ("wrong_unit",), "synthetic": READABLE, OTHERS: ("wrong_unit",)}

Tell = Callable[[str, int, int], object]


def evaluate_folders(
    train: str | Path,
    holdout: str | Path,
    synthetic: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    quick: bool = False,
    drop_copies: bool = False,
    others: str | Path | None = None,
    tell: Tell = lambda part, done, total: None,
) -> Path:
    """Evaluate the ECGs of a folder, whoever made them.

    All are brought to one form: the leads that the three have in common, the lowest sampling rate and the shortest
    length, by the commonest form of each folder's first records. Signals are kept on disk meanwhile, below `out`.

    Parameters
    ----------
    train, holdout, synthetic : folders of WFDB records
    out : folder to make, with `report.html`, `evaluation.json`, `copies.csv`; it appears whole or not at all
    seed : of every draw
    quick : read a few hundred records only, and leave out what takes training
    drop_copies : leave synthetic ECGs that were flagged as copies out of the figures, and name the other records in
        `RECORDS-without-copies`
    others : folder of other recordings of train and holdout patients, that training never saw, named by patient: of
        an attacker who holds them
    tell : called with (part, done, total)

    Returns
    -------
    Path
        Of the report, which draws real ECGs: it is the keeper's.

    Raises
    ------
    ConfigError, RecordError, EvaluationError, RunError
        With the folder and the remedy; what was there before is untouched.
    """
    if quick and drop_copies:
        raise ConfigError("--drop-copies has to look at every record, --quick looks at few; leave one of them out")
    out = Path(out)
    folders = dict(zip(PARTS, map(Path, (train, holdout, synthetic)), strict=True))
    if others is not None:
        folders[OTHERS] = Path(others)
    _require_apart(folders, out)
    form = _common_form(folders)
    with new_folder(out) as building:
        stored = {
            name: _read(name, folder, building, form, quick and name != OTHERS, seed, tell)
            for name, folder in folders.items()
        }
        sets, notes = _different_people(stored)
        means = Means(others=sets.get(OTHERS))

        def tell_and_free(part: str, done: int, total: int) -> None:
            for each in stored.values():
                each.free()  # a set larger than memory passes through it
            tell(part, done, total)

        evaluation = evaluate(
            sets["train"],
            sets["holdout"],
            sets["synthetic"],
            seed=seed,
            quick=quick,
            drop_copies=drop_copies,
            means=means,
            tell=tell_and_free,
        )
        notes = [*_reading_notes(stored, form, folders if quick else {}), *notes, *evaluation.notes]
        about = _about(stored, sets, seed, notes)
        tell("report", 0, 1)
        write_report(
            building / REPORT,
            train=sets["train"],
            holdout=sets["holdout"],
            synthetic=sets["synthetic"],
            evaluation=evaluation,
            about=about,
        )
        write_figures(building, evaluation)
        if drop_copies and evaluation.copies is not None:
            kept = _without_copies(evaluation.copies, stored["synthetic"].records)
            write_atomic(building / "RECORDS-without-copies", kept)
        for name in folders:
            (building / f"{name}.signals").unlink(missing_ok=True)
        tell("report", 1, 1)
    return out / REPORT


def _require_apart(folders: dict[str, Path], out: Path) -> None:
    require_free(out)
    for name, folder in folders.items():
        if within(out, folder):
            raise ConfigError(f"--out {out} lies in --{name} {folder}, among the records; choose another place")
    for one, other in permutations(folders, 2):
        inner, outer = folders[one].resolve(), folders[other].resolve()
        if inner == outer:
            raise ConfigError(f"--{one} and --{other} are the same folder, {folders[one]}; each set needs its own")
        if outer in inner.parents:
            raise ConfigError(f"--{one} {folders[one]} lies in --{other}, whose records it would join; move it out")


def _common_form(folders: dict[str, Path]) -> Form:
    """Leads of all, the lowest rate and the shortest length, by the commonest form of each."""
    forms = {name: usual_form(folder, allow=ALLOWED[name]) for name, folder in folders.items()}
    common = tuple(lead for lead in LEADS_12 if all(_have(each, (lead,)) for each in forms.values()))
    leads = next((every for every in (LEADS_12, LEADS_8) if set(every) <= set(common)), common)
    if not leads:
        told = "; ".join(f"{name}: {', '.join(each.leads)}" for name, each in forms.items())
        raise EvaluationError(f"the three sets have no lead in common ({told}); give them one")
    fs = min(each.fs for each in forms.values())
    units = {each.units for each in forms.values()}
    n_samples = int(min(each.seconds for each in forms.values()) * fs + 1e-6)
    return Form(leads, fs, n_samples, units.pop() if len(units) == 1 else "")


def _have(form: Form, leads: tuple[str, ...]) -> bool:
    """Whether the leads are there, or can be computed from I and II."""
    given = set(form.leads)
    return set(leads) <= given | (set(DERIVED) if {"I", "II"} <= given else set())


def _read(name: str, folder: Path, building: Path, form: Form, quick: bool, seed: int, tell: Tell) -> Stored:
    names = None
    if quick:
        every = record_names(folder)
        rng = np.random.default_rng([seed, 40])
        names = {every[i] for i in rng.choice(len(every), min(QUICK, len(every)), replace=False)}
    return read_stored(
        folder,
        building / f"{name}.signals",
        form,
        allow=ALLOWED[name],
        names=names,
        progress=lambda done, total: tell(f"reading {name}", done, total),
    )


def _different_people(stored: dict[str, Stored]) -> tuple[dict[str, ECGSet], list[str]]:
    """The sets, unnamed patients of one told from those of another, and no record in both train and holdout."""
    sets = {}
    for name, each in stored.items():
        known = {finding.patient_id for finding in each.findings}
        people = tuple(who if who in known else f"{name}-{who}" for who in each.ecgs.patient_id)
        sets[name] = replace(each.ecgs, patient_id=people)
    digests = {name: [hashlib.blake2b(x.tobytes()).digest() for x in sets[name].signal] for name in PARTS[:2]}
    trained = set(digests["train"])
    kept = [i for i, digest in enumerate(digests["holdout"]) if digest not in trained]
    twice = len(digests["holdout"]) - len(kept)
    if not twice:
        return sets, []
    if not kept:
        raise EvaluationError("holdout: every record is in train too; give real ECGs that training never saw")
    sets["holdout"] = sets["holdout"].take(kept)
    return sets, [f"holdout: left out because they are in train too: {twice}."]


def _reading_notes(stored: dict[str, Stored], form: Form, sampled: dict[str, Path]) -> list[str]:
    told = [f"Compared are windows of {form.seconds:g} s at {form.fs:g} Hz, {len(form.leads)} leads."]
    for name in PARTS:
        if name in sampled and (n := len(record_names(sampled[name]))) > QUICK:
            told.append(f"A quick look: {name}: {QUICK} of {n} records, drawn at random, were read.")
    for name, each in stored.items():
        told += [f"{name}: resampled from {rate:g} Hz: {n}." for rate, n in sorted(each.resampled.items())]
        left_out = Counter(code for finding in each.findings if not finding.kept for code in finding.reasons)
        if left_out:
            n = sum(not finding.kept for finding in each.findings)
            listed = ", ".join(f"{code} {count}" for code, count in left_out.most_common())
            told.append(f"{name}: left out: {n} of {len(each.findings)} records ({listed}).")
    flawed = Counter(code for finding in stored["synthetic"].findings if finding.kept for code in finding.reasons)
    if flawed:
        n = sum(bool(finding.reasons) for finding in stored["synthetic"].findings if finding.kept)
        listed = ", ".join(f"{code} {count}" for code, count in flawed.most_common())
        told.append(f"synthetic: records that no training set would hold, but that count here: {n} ({listed}).")
    if any(OURS in finding.notes for name in PARTS[:2] for finding in stored[name].findings):
        told.append("What is called real here was itself made by ecgveil: this shows the program, not a clinic.")
    return told


def _about(stored: dict[str, Stored], sets: dict[str, ECGSet], seed: int, notes: list[str]) -> About:
    counts = {}
    for name, title in (("train", "training"), ("holdout", "holdout"), ("synthetic", "synthetic")):
        counts[f"{title} ECGs"] = len(sets[name])
        if name != "synthetic":
            counts[f"{title} patients"] = len(set(sets[name].patient_id))
    findings = [finding for each in stored.values() for finding in each.findings]
    return About(
        title="Evidence on synthetic ECGs",
        recipe="",
        settings={},
        seed=seed,
        versions={name: importlib.metadata.version(name) for name in ("ecgveil", "numpy", "scipy", "torch")}
        | {"python": platform.python_version()},
        counts=counts,
        fs=sets["synthetic"].fs,
        seconds=sets["synthetic"].seconds,
        notes=tuple(notes),
        kept=sum(finding.kept for finding in findings),
        left_out=dict(Counter(code for each in findings if not each.kept for code in each.reasons).most_common()),
    )


def _without_copies(copies: pd.DataFrame, records: tuple[str, ...]) -> str:
    """Names of the records of which no window was flagged, a line each; `records` has the record of each window."""
    flagged = {name for name, copied in zip(records, copies["flagged"], strict=True) if copied}
    return "".join(f"{name}\n" for name in dict.fromkeys(records) if name not in flagged)
