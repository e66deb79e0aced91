"""Who a record is of, and what it shows: from header comments and from the tables beside the records.

Only a vocabulary enters a Record (class names, codes, coded names, the values of `labels.csv`): no free text, no dates.

Sources: header comments of PTB (grouped as Piacentino et al. 2021, Table 1), of the PhysioNet/CinC Challenges 2020 and
2021 (SNOMED CT codes), of the Lobachevsky database and of ecgveil's own; `ptbxl_database.csv`; and `labels.csv`, which
wins over all.
"""

from __future__ import annotations

import ast
import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from ecgveil.errors import RecordError
from ecgveil.formats.record import Record

COLUMNS = ("record_name", "patient_id", "label", "age", "sex")

PTB_CLASSES = (
    "Myocardial infarction",
    "Cardiomyopathy or Heart failure",
    "Bundle branch block",
    "Dysrhythmia",
    "Myocardial hypertrophy",
    "Valvular heart disease",
    "Myocarditis",
    "Miscellaneous",
    "Healthy control",
)
# How PTB's 'Reason for admission' starts -> class of Table 1; all others, 'n/a' among them, are its Miscellaneous.
_PTB_REASONS = {
    "myocardial infarction": "Myocardial infarction",
    "cardiomyopathy": "Cardiomyopathy or Heart failure",
    "heart failure": "Cardiomyopathy or Heart failure",
    "bundle branch block": "Bundle branch block",
    "dysrhythmia": "Dysrhythmia",
    "hypertrophy": "Myocardial hypertrophy",
    "myocardial hypertrophy": "Myocardial hypertrophy",
    "valvular heart disease": "Valvular heart disease",
    "myocarditis": "Myocarditis",
    "healthy control": "Healthy control",
}
# How the statements of the Lobachevsky database start; nothing else below '<diagnoses>:' is taken.
_LUDB_TERMS = re.compile(
    r"(Rhythm:|Electric axis of the heart:|Non-specific (repolarization|intravintricular)"
    r"|(Left|Right) (atrial|ventricular)|Left (anterior|posterior) hemiblock|(Inc|C)omplete (left|right) bundle"
    r"|Undefined ischemia|Early repolarization|Aberrant conduction|Wandering atrial pacemaker|Sinoatrial blockade"
    r"|(Atrial|Ventricular) extrasystole|(UNI|BI)polar (atrial|ventricular) pacing|Biventricular pacing|P-synchrony"
    r"|I{1,3} degree AV|STEMI:|Ischemia:|Scar formation:)[^\d]{0,60}$"
)
_KEY = re.compile(r"<?([A-Za-z][A-Za-z ]*?)>?\s*:\s*(.*)$")
_PLAIN = " ,:()'+*/&<>=!?@[]"  # beside letters, digits and _.-~; other characters are written as in an address
_OWN_KEY = "Record labels"  # a key that no other source is known to use: what follows it must be a vocabulary
_SEX = {"m": "male", "male": "male", "f": "female", "female": "female"}


@dataclass(frozen=True)
class Facts:
    """What one source says of a record; '', () and NaN where it is silent."""

    patient_id: str = ""
    labels: tuple[str, ...] = ()
    age: float = math.nan
    sex: str = ""
    meta: dict[str, object] = field(default_factory=dict)

    def over(self, other: Facts) -> Facts:
        """These facts, and the other's where these are silent."""
        return Facts(
            self.patient_id or other.patient_id,
            self.labels or other.labels,
            other.age if math.isnan(self.age) else self.age,
            self.sex or other.sex,
            other.meta | self.meta,
        )


def ptb_class(reason: str) -> str:
    """Diagnostic class (Piacentino et al. 2021, Table 1) of PTB's 'Reason for admission'.

    >>> ptb_class("Heart failure (NYHA 2)"), ptb_class("Unstable angina")
    ('Cardiomyopathy or Heart failure', 'Miscellaneous')
    """
    text = reason.strip().lower()
    return next((name for start, name in _PTB_REASONS.items() if text.startswith(start)), "Miscellaneous")


def ptb_three_class(label: str) -> str:
    """The three-class grouping of Piacentino et al. 2021, Table 2: infarction, healthy, and all others.

    >>> ptb_three_class("Dysrhythmia"), ptb_three_class("Healthy control")
    ('Miscellaneous', 'Healthy control')
    """
    return label if label in ("Myocardial infarction", "Healthy control") else "Miscellaneous"


@cache
def snomed_names() -> dict[str, str]:
    """SNOMED CT code -> name, of the codes of the PhysioNet/CinC Challenges 2020 and 2021."""
    text = resources.files("ecgveil.formats").joinpath("snomed.csv").read_text("utf-8")
    return {row["code"]: row["name"] for row in csv.DictReader(text.splitlines())}


def annotate(record: Record, comments: Sequence[str], facts: dict[str, Facts]) -> Record:
    """The record with its labels, patient, age and sex from its header's comments and the folder's tables."""
    known = from_comments(record.name, comments)
    if record.name in facts:
        known = facts[record.name].over(known)
    return replace(
        record,
        patient_id=known.patient_id,
        labels=known.labels,
        age=known.age,
        sex=known.sex,
        meta=known.meta,
    )


def from_comments(name: str, comments: Sequence[str]) -> Facts:
    """Facts in the comments of a header (without '#'), and PTB's patient in the record's path."""
    pairs = [match.groups() for match in map(_KEY.match, comments) if match]
    said = {key.lower(): value.strip() for key, value in reversed(pairs)}  # the first of a repeated key wins
    labels: tuple[str, ...] = ()
    if _OWN_KEY.lower() in said:
        labels = tuple(unquote(part) for part in said[_OWN_KEY.lower()].split("; ") if part)
    elif "reason for admission" in said:
        labels = (ptb_class(said["reason for admission"]),)
    elif "dx" in said:
        codes = re.findall(r"\d{5,18}", said["dx"])
        labels = tuple(dict.fromkeys(snomed_names().get(code, code) for code in codes))
    elif "diagnoses" in said:
        labels = _ludb_labels(comments)
    patient = next((part for part in PurePosixPath(name).parts[:-1] if re.fullmatch(r"patient\d+", part)), "")
    return Facts(patient, labels, _age(said.get("age", "")), _SEX.get(said.get("sex", "").lower(), ""))


def labels_comment(labels: Sequence[str]) -> str:
    """Labels as a header's comment, in ASCII; `from_comments` gives them back.

    >>> labels_comment(["MI", "Atrial fibrillation"])
    'Record labels: MI; Atrial fibrillation'
    """
    return f"{_OWN_KEY}: {'; '.join(quote(label, safe=_PLAIN) for label in labels)}"


def facts_comments(labels: Sequence[str], age: float, sex: str) -> list[str]:
    """What is known of a record as a header's comments, age in whole years; `from_comments` gives it back.

    >>> facts_comments([], 63.2, "female")
    ['Age: 63', 'Sex: F']
    """
    told = [labels_comment(labels)] if labels else []
    told += [] if math.isnan(age) else [f"Age: {age:.0f}"]
    return told + ([f"Sex: {sex[0].upper()}"] if sex else [])


def _ludb_labels(comments: Sequence[str]) -> tuple[str, ...]:
    """Statements of the Lobachevsky database, the rhythm first."""
    start = next(i for i, line in enumerate(comments) if line.startswith("<diagnoses>"))
    lines = (line.strip().rstrip(".").strip() for line in comments[start + 1 :])
    said = [line for line in lines if _LUDB_TERMS.match(line)]
    rhythm = [line.removeprefix("Rhythm:").strip() for line in said if line.startswith("Rhythm:")]
    return tuple(dict.fromkeys(rhythm + [line for line in said if not line.startswith("Rhythm:")]))


def tables(folder: Path, names: Sequence[str]) -> dict[str, Facts]:
    """What `ptbxl_database.csv` and `labels.csv` say of the records, by record name.

    PTB-XL's table is also looked for in the parent folder, where it is when `folder` is its `records500`.

    Raises
    ------
    RecordError
        A table is damaged, has a wrong column or value, or names none of the records.
    """
    facts: dict[str, Facts] = {}
    ptbxl = next(
        (p for p in (folder / "ptbxl_database.csv", folder.parent / "ptbxl_database.csv") if p.is_file()), None
    )
    if ptbxl:
        facts, _ = _match(_ptbxl(ptbxl), names, ptbxl, required=ptbxl.parent == folder)
    own = folder / "labels.csv"
    visible = (
        file
        for file in folder.rglob("labels.csv")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)  # as records are looked for
    )
    deeper = next((file for file in sorted(visible) if file != own), None)
    if deeper:  # overlooked, it would let one person be trained on and held out
        raise RecordError(f"{deeper} would not be read: labels.csv belongs at the top, in {folder}; move it there")
    if own.is_file():
        matched, odd = _match(_labels_csv(own), names, own, required=True)
        if odd and len(matched) < len(names):
            raise RecordError(
                f"labels.csv: {len(odd)} rows fit no record (such as '{odd[0]}') while "
                f"{len(names) - len(matched)} records have no row; correct the names or delete the rows"
            )
        for name, said in matched.items():
            facts[name] = said.over(facts.get(name, Facts()))
    return facts


def _match(
    rows: dict[str, Facts], names: Sequence[str], file: Path, required: bool
) -> tuple[dict[str, Facts], list[str]]:
    """Rows by full record name, and the rows that fit no record.

    A row may give the bare last part of a name, where only one record has it.
    """
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(PurePosixPath(name).name, []).append(name)
    exact = set(names)
    facts: dict[str, Facts] = {}
    odd: list[str] = []
    for key, said in rows.items():
        stem = PurePosixPath(key).name
        candidates = (
            [key] if key in exact else by_stem.get(stem, []) if file.name != "labels.csv" or stem == key else []
        )
        if len(candidates) > 1:
            raise RecordError(f"{file.name}: '{key}' fits {len(candidates)} records; write it as '{candidates[0]}'")
        if candidates and candidates[0] in facts:
            raise RecordError(f"{file.name}: record '{candidates[0]}' has two rows; keep one")
        if candidates:
            facts[candidates[0]] = said
        else:
            odd.append(key)
    if required and rows and names and not facts:
        raise RecordError(
            f"{file.name} names none of the records: it has '{next(iter(rows))}', the folder '{names[0]}'"
        )
    return facts, odd


def _labels_csv(file: Path) -> dict[str, Facts]:
    facts: dict[str, Facts] = {}
    for number, row in _rows(file, required=("record_name",), known=COLUMNS):
        name = row["record_name"]
        for suffix in (".hea", ".dat", ".mat"):
            name = name.removesuffix(suffix)
        if not name or name in facts:
            problem = f"repeats record '{name}'" if name else "has no record_name"
            raise RecordError(f"{file.name}: line {number} {problem}; give each record one row")
        sex, age = row.get("sex", "").lower(), row.get("age", "")
        if sex not in ("", "unknown", *_SEX):
            raise RecordError(f"{file.name}: line {number} has sex '{sex}'; use female, male or nothing")
        if age.lower() not in ("", "nan", "unknown") and math.isnan(_age(age)):
            raise RecordError(f"{file.name}: line {number} has age '{age}'; use years from 0 to 120, or nothing")
        labels = tuple(part.strip() for part in row.get("label", "").split(";") if part.strip())
        facts[name] = Facts(row.get("patient_id", ""), labels, _age(age), _SEX.get(sex, ""))
    return facts


def _ptbxl(file: Path) -> dict[str, Facts]:
    """Rows of PTB-XL's table by file name. Labels are superclasses; the table's free-text report is not read."""
    superclass = _superclasses(file.with_name("scp_statements.csv"))
    facts: dict[str, Facts] = {}
    for number, row in _rows(file, required=("patient_id", "scp_codes")):
        try:
            codes = tuple(str(code) for code in ast.literal_eval(row["scp_codes"] or "{}"))
            patient = str(int(float(row["patient_id"]))) if row["patient_id"] else ""
            fold = int(float(row["strat_fold"])) if row.get("strat_fold") else None
        except (ValueError, SyntaxError, TypeError):
            raise RecordError(
                f"{file.name}: line {number} has unreadable scp_codes, patient_id or strat_fold"
            ) from None
        if "superclass" in row:
            labels = tuple(part for part in row["superclass"].split(";") if part)
        else:
            labels = tuple(sorted({superclass[code] for code in codes if code in superclass}))
        # PTB-XL writes 300 for patients over 89; 90 keeps them the oldest.
        age = 90.0 if row.get("age") in ("300", "300.0") else _age(row.get("age", ""))
        sex = {"0": "male", "1": "female"}.get(row.get("sex", "").removesuffix(".0"), "")
        meta: dict[str, object] = {"scp_codes": codes, "strat_fold": fold}
        for column in ("filename_hr", "filename_lr"):
            if row.get(column):
                facts[row[column].removesuffix(".hea")] = Facts(patient, labels, age, sex, meta)
    return facts


def _superclasses(file: Path) -> dict[str, str]:
    """SCP code -> diagnostic superclass, from PTB-XL's `scp_statements.csv` (its first column has no name)."""
    if not file.is_file():
        return {}
    rows = _rows(file, required=("diagnostic_class",))
    return {row[""]: row["diagnostic_class"] for _, row in rows if row.get("") and row["diagnostic_class"]}


def _rows(file: Path, required: Iterable[str], known: Iterable[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a table, its cells stripped; `known`, if given, are all columns it may have."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            _check_columns(file, columns, tuple(required), tuple(known))
            reader.fieldnames = columns
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise RecordError(f"{file.name}: line {reader.line_num} does not have {len(columns)} cells")
                rows.append((reader.line_num, {key: value.strip() for key, value in row.items()}))
    except UnicodeDecodeError:
        raise RecordError(f"{file.name} is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise RecordError(f"{file.name} is not a comma-separated table: {error}") from None
    except OSError as error:
        raise RecordError(f"{file.name} cannot be opened: {error.strerror}") from None
    return rows


def _check_columns(file: Path, columns: list[str], required: tuple[str, ...], known: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in columns]
    unknown = [name for name in columns if known and name not in known]
    if missing or len(set(columns)) < len(columns):
        need = ", ".join(known or required)
        raise RecordError(f"{file.name} has columns {', '.join(columns)[:120] or 'none'}; it needs {need}, each once")
    if unknown:  # a mistyped patient_id, passed over, would let one person into both sides of a split
        raise RecordError(f"{file.name}: column '{unknown[0][:60]}' is not known; its columns are {', '.join(known)}")


def _age(text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        return math.nan
    return age if 0 <= age <= 120 else math.nan
