"""Folders -> one ECGSet in the form a recipe asks for, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecgveil.ecg import ECGSet, concat
from ecgveil.formats import Finding
from ecgveil.formats.wfdb import OURS
from ecgveil.recipe import Recipe
from ecgveil.windows import read


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
    folders : of WFDB records; with several, records and patients are prefixed by the folder's place (1, 2, ...)
    recipe : says leads, sampling rate and window
    resample : allow any change of sampling rate
    progress : called with (done, total) for each folder

    Raises
    ------
    RecordError
        A folder cannot be used as it is; the message says what to do.
    """
    sets, findings = [], []
    data = recipe.data
    for place, folder in enumerate(folders, start=1):
        ecgs, found = read(
            folder,
            leads=data.leads,
            fs=data.fs,
            n_samples=data.n_samples,
            resample=resample,
            reduce=data.reduce,
            progress=progress,
        )
        if len(folders) > 1:
            ecgs = replace(
                ecgs,
                record_name=tuple(f"{place}-{name}" for name in ecgs.record_name),
                patient_id=tuple(f"{place}-{patient}" for patient in ecgs.patient_id),
            )
        sets.append(ecgs)
        findings.extend(found)
    return Intake(concat(sets), findings, _notes(findings, data.fs))


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
    if OURS in repairs:
        told.append("What is called real here was itself made by ecgveil: this shows the program, not a clinic.")
    return told
