"""Folders -> one ECGSet in the form a recipe asks for, and what was left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecgveil.classes import in_classes
from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import RecordError
from ecgveil.formats import Finding
from ecgveil.formats.wfdb import OURS
from ecgveil.kinds import require_ecgs
from ecgveil.recipe import Recipe
from ecgveil.singles import SECONDS, single_beats
from ecgveil.windows import left_out, read


@dataclass(frozen=True)
class Intake:
    """The windows read, the finding of every record, and sentences on what was done to the signals."""

    ecgs: ECGSet
    findings: list[Finding]
    notes: list[str]

    @property
    def kept(self) -> int:
        return sum(finding.kept for finding in self.findings)

    @property
    def left_out(self) -> dict[str, int]:
        """Records left out, by reason, most first."""
        codes = (code for finding in self.findings if not finding.kept for code in finding.reasons)
        return dict(Counter(codes).most_common())

    @property
    def made_here(self) -> bool:
        """Whether some of the records were themselves made by ecgveil."""
        return _made_here(self.findings)


def take_in(
    folders: Sequence[str | Path],
    recipe: Recipe,
    *,
    resample: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Intake:
    """Read every folder as `recipe` needs it.

    Parameters
    ----------
    folders : of WFDB records; of several, records that an earlier one holds too are left out, and a patient named
        alike in two is taken for one person
    recipe : says leads, sampling rate and window
    resample : allow any change of sampling rate
    progress : called with (done, total) for each folder

    Raises
    ------
    RecordError
        A folder cannot be used as it is; the message says what to do.
    """
    require_ecgs(recipe, "what is read here")
    sets: list[ECGSet] = []
    findings: list[Finding] = []
    seen: dict[bytes, int] = {}
    data = recipe.data
    for place, folder in enumerate(folders, start=1):
        ecgs, found = read(
            folder,
            leads=data.leads,
            fs=data.fs,
            n_samples=data.n_samples if data.cut == "windows" else round(SECONDS * data.fs),
            resample=resample,
            reduce=data.reduce,
            allow=() if data.units == "mV" else ("wrong_unit",),
            progress=progress,
        )
        if ecgs.units != data.units:
            raise RecordError(f"{folder}: the records are in {ecgs.units}, recipe {recipe.name} takes {data.units}")
        if len(folders) > 1:
            ecgs, found = _without_copies(ecgs, found, seen, place)
        if data.cut == "beats":
            ecgs, found = _single_beats(ecgs, found, data.n_samples)
        if len(folders) > 1:
            ecgs = _placed(ecgs, {finding.patient_id for finding in found}, place)
        sets.append(ecgs)
        findings.extend(found)
    ecgs, notes = concat(sets), _notes(findings, data.fs)
    if data.cut == "beats":
        notes.append(f"{len(ecgs)} single beats were cut out around their R peaks, baseline wander taken off.")
    if data.exclusive:
        ecgs, bare = in_classes(ecgs, data.labels, data.other)
        if bare:
            notes.append(f"{bare} windows bear none of {', '.join(data.labels)} and were left out.")
    return Intake(ecgs, findings, notes)


def _without_copies(
    ecgs: ECGSet, findings: list[Finding], seen: dict[bytes, int], place: int
) -> tuple[ECGSet, list[Finding]]:
    """Leave out records that an earlier folder holds too: trained on and held out, they would pass for two people."""
    digests = [hashlib.sha256(signal.tobytes()).digest() for signal in ecgs.signal]
    records = _records(ecgs, findings)
    copies = {
        record for record, digest in zip(records, digests, strict=True) if seen.setdefault(digest, place) != place
    }
    kept = [i for i, record in enumerate(records) if record not in copies]
    return ecgs.take(kept), _left_out(findings, copies, "duplicate", "an earlier folder holds the same record")


def _single_beats(ecgs: ECGSet, findings: list[Finding], n_samples: int) -> tuple[ECGSet, list[Finding]]:
    """The beats, and the findings of records of which there are none."""
    beats = single_beats(ecgs, n_samples)
    lost = set(_records(ecgs, findings)) - set(_records(beats, findings))
    return beats, _left_out(findings, lost, "no_beat", f"no whole beat of {n_samples / ecgs.fs:.3g} s is seen in it")


def _records(ecgs: ECGSet, findings: Sequence[Finding]) -> list[str]:
    """Of each window its record's name, which may hold a '#' itself."""
    known = {each.record for each in findings}
    return [name if name in known else name.rpartition("#")[0] for name in ecgs.record_name]


def _left_out(findings: Sequence[Finding], records: set[str], code: str, detail: str) -> list[Finding]:
    return [left_out(each, code, detail) if each.record in records else each for each in findings]


def _placed(ecgs: ECGSet, known: set[str], place: int) -> ECGSet:
    """Record names made unique by the folder's place. A patient named alike in two folders is taken for one person."""
    names = tuple(f"{place}-{name}" for name in ecgs.record_name)
    patients = tuple(patient if patient in known else f"{place}-{patient}" for patient in ecgs.patient_id)
    return replace(ecgs, record_name=names, patient_id=patients)


def _made_here(findings: Sequence[Finding]) -> bool:
    return any(OURS in finding.notes for finding in findings if finding.kept)


def _notes(findings: Sequence[Finding], fs: float) -> list[str]:
    rates = Counter(finding.fs for finding in findings if finding.kept and finding.fs != fs)
    told = [f"{n} records were resampled from {rate:g} to {fs:g} Hz." for rate, n in sorted(rates.items())]
    repairs = Counter(note for finding in findings if finding.kept for note in finding.notes)
    told += [f"{n} records: {note}." for note, n in repairs.most_common()]
    unnamed = sum(finding.kept and not finding.patient_id for finding in findings)
    if unnamed:
        told.append(
            f"{unnamed} records name no patient; each was taken for a person of its own when the set was split."
        )
    if _made_here(findings):
        told.append("What is called real here was itself made by ecgveil: this shows the program, not a clinic.")
    return told
