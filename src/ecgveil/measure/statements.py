"""Statements on an ECG and whether it is normal, from its measurements by the rules of `rules.toml`.

The rules are data: read once, validated, and evaluated here over all ECGs at a time. Nothing in them is executed.
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecgveil.ecg import SEXES
from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_12

CONCLUSIONS = ("normal", "otherwise normal", "abnormal", "not interpretable")  # the strongest last
GROUPS = ("rhythm", "conduction", "axis", "voltage", "repolarisation", "quality")

_OF_A_LEAD = re.compile(rf"_({'|'.join(LEADS_12)})_(uv|ms)$", re.IGNORECASE)  # NaN where the lead was not recorded

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

Lead = Literal["i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6"]
Leads = Annotated[tuple[Lead, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Statement = Annotated[str, Field(pattern=r"^[^;]+$")]  # ';' separates them in the table


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Data):
    """A limit for those whom it fits: all of what is given must be known to fit."""

    value: float
    sex: Literal["female", "male"] | None = None
    age_from: float | None = None
    age_below: float | None = None
    leads: Leads | None = None

    @property
    def general(self) -> bool:
        return self.sex is None and self.age_from is None and self.age_below is None and self.leads is None


class Compare(_Data):
    column: Text
    is_: Literal["<", "<=", ">", ">="] = Field(alias="is")
    value: float | Annotated[tuple[Case, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _last_is_general(self) -> Compare:
        if not isinstance(self.value, float) and not self.value[-1].general:
            raise ValueError(f"the last case of {self.column} must hold for all, without sex, age and leads")
        return self


class Fired(_Data):
    fired: Text


class Missing(_Data):
    missing: Annotated[tuple[Text, ...], Field(min_length=1)]


class Reason(_Data):
    reason: Text


class Every(_Data):
    all: Conditions


class Some(_Data):
    any: Conditions


class EveryLead(_Data):
    every_lead: Leads
    hold: Conditions


class SomeLead(_Data):
    any_lead: Leads
    hold: Conditions


class Neighbours(_Data):
    neighbours: Annotated[tuple[Annotated[tuple[Lead, ...], Field(min_length=2)], ...], Field(min_length=1)]
    hold: Conditions


Condition = Compare | Fired | Missing | Reason | Every | Some | EveryLead | SomeLead | Neighbours
Conditions = Annotated[tuple[Condition, ...], Field(min_length=1)]


class Derived(_Data):
    """A column made of others; `{lead}` in its name makes one for each lead. A missing part makes it missing."""

    column: Text
    sum: dict[str, float] | None = None
    max: tuple[str, ...] | None = None
    min: tuple[str, ...] | None = None
    ratio: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one_operation(self) -> Derived:
        if sum(part is not None for part in (self.sum, self.max, self.min, self.ratio)) != 1:
            raise ValueError(f"{self.column} needs one of sum, max, min and ratio")
        return self


class Pattern(_Data):
    """A finding that rules refer to, without a statement of its own."""

    name: Text
    source: Text
    note: Text | None = None
    when: Conditions


class Rule(_Data):
    code: Annotated[str, Field(pattern=r"^[A-Z0-9_]+$")]
    text: Statement
    group: Literal[GROUPS]  # type: ignore[valid-type]
    level: Literal[CONCLUSIONS]  # type: ignore[valid-type]
    gives_way: bool = False
    source: Text
    minnesota: Text | None = None
    note: Text | None = None
    when: Conditions
    unless: tuple[Text, ...] = ()


class Rules(_Data):
    derived: tuple[Derived, ...] = ()
    pattern: tuple[Pattern, ...] = ()
    rule: Annotated[tuple[Rule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _refer_backwards(self) -> Rules:
        known: set[str] = set()
        named = [(each.name, each.when, ()) for each in self.pattern]
        for name, when, unless in [*named, *((each.code, each.when, each.unless) for each in self.rule)]:
            used = {part.fired for part in _parts(when) if isinstance(part, Fired)} | set(unless)
            if used - known:
                raise ValueError(f"{name} refers to {min(used - known)!r}, which no earlier rule or pattern is called")
            if name in known:
                raise ValueError(f"{name} is there twice; give each rule its own code")
            known.add(name)
        return self


@cache
def rules() -> Rules:
    """The rules of `rules.toml`, validated."""
    text = resources.files("ecgveil.measure").joinpath("rules.toml").read_text("utf-8")
    return Rules.model_validate(tomllib.loads(text))


def statements(table: pd.DataFrame, age: np.ndarray, sex: Sequence[str]) -> pd.DataFrame:
    """Statements and conclusion of each ECG.

    Parameters
    ----------
    table : measurements, one row for each ECG, as of `ecgveil.measure`
    age : (n,) years, NaN where unknown
    sex : n times 'female', 'male' or '' (unknown)

    Returns
    -------
    DataFrame
        With the table's index and the columns statements (texts, '; ' between), codes (';' between, in the same
        order) and conclusion: 'normal', 'otherwise normal', 'abnormal' or 'not interpretable'.

    Raises
    ------
    RecordError
        Age or sex are not one for each row, a sex is unknown, or the table lacks a column that a rule reads, unless
        it is one of a lead, which is then taken for one that was not recorded.

    Notes
    -----
    Sources are with the rules, in `rules.toml`. An ECG with a value missing that 'normal' rests on is not
    interpretable, or abnormal where what was measured says so. Where the unit is not mV, rhythm and intervals alone
    decide, and a statement says so.
    """
    facts = _facts(table, age, sex)
    given = rules()
    for derived in given.derived:
        _derive(derived, facts)
    for pattern in given.pattern:
        facts.fired[pattern.name] = _every(pattern.when, facts)
    for rule in given.rule:
        stopped = [facts.fired[name] for name in rule.unless]
        facts.fired[rule.code] = _every(rule.when, facts) & ~np.any([facts.none, *stopped], axis=0)
    fired = np.stack([facts.fired[rule.code] for rule in given.rule], axis=1)  # (n, rules)
    keys = [row.tobytes() for row in fired]
    told = {key: _tell([rule for rule, yes in zip(given.rule, key, strict=True) if yes]) for key in set(keys)}
    columns = ["statements", "codes", "conclusion"]
    return pd.DataFrame([told[key] for key in keys], index=table.index, columns=columns, dtype=object)


@dataclass
class _Facts:
    """What rules are judged on, (n,) each: columns as floats, reason codes, and what has fired so far."""

    columns: dict[str, np.ndarray]
    sex: np.ndarray
    reasons: list[tuple[str, ...]]
    fired: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def none(self) -> np.ndarray:
        return np.zeros(len(self.sex), bool)

    def column(self, name: str, lead: str = "") -> np.ndarray:
        name = name.replace("{lead}", lead)
        if name not in self.columns and not _OF_A_LEAD.search(name):
            raise RecordError(f"the measurements have no column {name}; make them with ecgveil.measure")
        return self.columns.get(name, np.full(len(self.sex), np.nan))


def _facts(table: pd.DataFrame, age: np.ndarray, sex: Sequence[str]) -> _Facts:
    n = len(table)
    age = np.asarray(age, float)
    if age.shape != (n,) or len(sex) != n:
        raise RecordError(f"{age.size} ages and {len(sex)} sexes for {n} rows; give one of each for each row")
    unknown = set(sex) - set(SEXES)
    if unknown:
        raise RecordError(f"sex is {min(unknown)!r}; use 'female', 'male' or '' for unknown")
    numbers = table.select_dtypes(["number", "bool"])
    columns = {str(name): numbers[name].to_numpy(float, na_value=np.nan) for name in numbers}
    if "reasons" not in table:
        raise RecordError("the measurements have no column reasons; make them with ecgveil.measure")
    reasons = [tuple(part.strip() for part in str(text).split(";")) for text in table["reasons"].fillna("")]
    return _Facts(columns | {"age": age}, np.asarray(sex, object), reasons)


def _derive(derived: Derived, facts: _Facts) -> None:
    leads: Iterable[str] = [lead.lower() for lead in LEADS_12] if "{lead}" in derived.column else [""]
    for lead in leads:
        if derived.sum is not None:
            value = np.sum([factor * facts.column(part, lead) for part, factor in derived.sum.items()], axis=0)
        elif derived.max is not None:
            value = np.max([facts.column(part, lead) for part in derived.max], axis=0)
        elif derived.min is not None:
            value = np.min([facts.column(part, lead) for part in derived.min], axis=0)
        else:
            above, below = (facts.column(part, lead) for part in derived.ratio or ())
            value = np.full(len(above), np.nan)
            np.divide(above, below, out=value, where=below > 0)
        facts.columns[derived.column.replace("{lead}", lead)] = value


def _every(conditions: Sequence[Condition], facts: _Facts, lead: str = "") -> np.ndarray:
    return np.all([_holds(each, facts, lead) for each in conditions], axis=0)


def _holds(condition: Condition, facts: _Facts, lead: str) -> np.ndarray:
    """Where a condition holds, (n,) bool."""
    match condition:
        case Compare():
            # a comparison with NaN is false
            return _COMPARE[condition.is_](facts.column(condition.column, lead), _limit(condition, facts, lead))
        case Fired():
            return facts.fired[condition.fired]
        case Missing():
            return np.any([np.isnan(facts.column(name, lead)) for name in condition.missing], axis=0)
        case Reason():
            return np.array([any(code.startswith(condition.reason) for code in each) for each in facts.reasons], bool)
        case Every():
            return _every(condition.all, facts, lead)
        case Some():
            return np.any([_holds(each, facts, lead) for each in condition.any], axis=0)
        case EveryLead():
            return np.all([_every(condition.hold, facts, each) for each in condition.every_lead], axis=0)
        case SomeLead():
            return np.any([_every(condition.hold, facts, each) for each in condition.any_lead], axis=0)
        case Neighbours():
            held = {each: _every(condition.hold, facts, each) for chain in condition.neighbours for each in chain}
            pairs = [pair for chain in condition.neighbours for pair in pairwise(chain)]
            return np.any([held[one] & held[other] for one, other in pairs], axis=0)


def _limit(condition: Compare, facts: _Facts, lead: str) -> float | np.ndarray:
    if isinstance(condition.value, float):
        return condition.value
    limit = np.full(len(facts.sex), np.nan)
    for case in reversed(condition.value):  # the first that fits is written last
        limit[_fits(case, facts, lead)] = case.value
    return limit


def _fits(case: Case, facts: _Facts, lead: str) -> np.ndarray:
    fits = ~facts.none
    age = facts.column("age")
    if case.sex is not None:
        fits &= facts.sex == case.sex
    if case.age_from is not None:
        fits &= age >= case.age_from
    if case.age_below is not None:
        fits &= age < case.age_below
    return fits if case.leads is None or lead in case.leads else facts.none


def _tell(said: Sequence[Rule]) -> tuple[str, str, str]:
    """Texts, codes and conclusion of the rules that fired; group by group, in the order of the file."""
    said = sorted(said, key=lambda rule: GROUPS.index(rule.group))
    levels = [rule.level for rule in said]
    if "abnormal" in levels:
        levels = [rule.level for rule in said if not rule.gives_way]
    conclusion = max(levels, key=CONCLUSIONS.index, default=CONCLUSIONS[-1])  # of nothing known, nothing said
    return "; ".join(rule.text for rule in said), ";".join(rule.code for rule in said), conclusion


def _parts(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions and all within them."""
    found: list[Condition] = []
    for each in conditions:
        inner: Sequence[Condition] = ()
        match each:
            case Every():
                inner = each.all
            case Some():
                inner = each.any
            case EveryLead() | SomeLead() | Neighbours():
                inner = each.hold
        found += [each, *_parts(inner)]
    return found
