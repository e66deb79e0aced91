"""What an ECG may be asked to show: labels, and the sex, the age and the heart rate of whom it is of.

A condition is a vector, (k,): a 1 for each label borne (all 0 stands for none of them); then, of what a recipe learns
besides, sex (+1 female, -1 male, 0 unknown), age and heart rate (each standardised, 0 where unknown, and a 1 where
known). Conditions are drawn as the training population shows them: labels and sex from the combinations that at least
`LEAST_ALIKE` people share, since an ECG made for a rarer one could only be one of theirs; age and heart rate from a
smooth density over people (see `vitals`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ecgveil.errors import ConfigError, RecordError
from ecgveil.models.vitals import VITALS, Density
from ecgveil.people import LEAST_ALIKE, LEAST_PEOPLE, by_person

_SEX = {"female": 1.0, "male": -1.0, "": 0.0}

Labels = Sequence[Sequence[str]]
Traits = Mapping[str, Any]  # 'sex', 'age' in years, 'heart_rate' in bpm, each of n ECGs; '' and NaN unknown


class Shown(NamedTuple):
    """What one condition stands for: age in years, heart rate in bpm; '' and NaN where the run learned none."""

    labels: tuple[str, ...]
    sex: str
    age: float
    heart_rate: float


@dataclass(frozen=True)
class Conditions:
    """What is learned, and how often people show it.

    Parameters
    ----------
    names : of the labels
    combinations : of them, (K, any)
    counts : how many windows show each, (K,)
    sexes : of whom each combination is, (K,); empty where sex is not learned
    scale : mean and standard deviation of each vital that is learned, by name
    densities : of those vitals in each combination, (K,); empty where none is learned
    """

    names: list[str]
    combinations: list[list[str]]
    counts: list[float]
    sexes: list[str] = field(default_factory=list)
    scale: dict[str, list[float]] = field(default_factory=dict)
    densities: list[Density] = field(default_factory=list)

    @classmethod
    def fit(
        cls, labels: Labels, patients: Sequence[str], names: Sequence[str], traits: Traits | None = None
    ) -> Conditions:
        """Count the combinations in the training windows, and fit the density of age and heart rate.

        Parameters
        ----------
        labels, patients : of each window; labels that are not among `names` are passed over
        names : the labels that matter
        traits : what else is to be learned, of each window

        Raises
        ------
        RecordError
            A label, or a trait, is known of too few patients, or no combination is shared by `LEAST_ALIKE`.
        """
        traits = traits or {}
        own = [tuple(name for name in names if name in borne) for borne in labels]
        bearers: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for combination, patient in zip(own, patients, strict=True):
            bearers[combination].add(patient)
        for name in names:
            n = len(set().union(*(people for borne, people in bearers.items() if name in borne)))
            if n < LEAST_ALIKE:
                raise RecordError(
                    f"label '{name}' of data.labels is borne by {n} patients of the training part; "
                    f"{LEAST_ALIKE} are needed: leave it out, or give more records"
                )
        groups, counts = _frequent(own, patients, traits.get("sex"))
        scale, densities = _vitals(own, patients, traits, groups)
        return cls(
            list(names),
            [list(borne) for borne, _ in groups],
            counts,
            [sex for _, sex in groups] if "sex" in traits else [],
            scale,
            densities,
        )

    @property
    def learns(self) -> tuple[str, ...]:
        """Which of sex, age and heart rate are learned beside labels."""
        return (("sex",) if self.sexes else ()) + tuple(self.scale)

    @property
    def size(self) -> int:
        """Number of values of a condition."""
        return len(self.names) + bool(self.sexes) + 2 * len(self.scale)

    def encode(self, labels: Labels, traits: Traits | None = None) -> np.ndarray:
        """Labels and traits of n ECGs -> conditions, float32 (n, k); a trait that is not given is unknown."""
        traits, n = traits or {}, len(labels)
        borne = np.array([[name in each for name in self.names] for each in labels], np.float32)
        columns = [borne.reshape(n, len(self.names))]
        if self.sexes:
            columns.append(np.array([[_SEX[sex]] for sex in traits.get("sex", [""] * n)], np.float32).reshape(n, 1))
        for name, (mean, sd) in self.scale.items():
            value = np.asarray(traits.get(name, np.full(n, np.nan)), float)
            known = np.isfinite(value)
            columns.append(np.stack([np.where(known, (value - mean) / sd, 0.0), known], axis=1))
        return np.concatenate(columns, axis=1).astype(np.float32)

    def decode(self, condition: np.ndarray) -> tuple[str, ...]:
        """One condition, (k,) -> its labels."""
        return self.shown(condition).labels

    def shown(self, condition: np.ndarray) -> Shown:
        """What one condition, (k,), stands for."""
        labels = tuple(
            name for name, borne in zip(self.names, condition[: len(self.names)], strict=True) if borne > 0.5
        )
        sex = ""
        if self.sexes:
            sex = {1: "female", -1: "male"}.get(round(float(condition[len(self.names)])), "")
        found = dict.fromkeys(VITALS, np.nan)
        for name, (mean, sd) in self.scale.items():
            at = self.place(name)
            if condition[at + 1] > 0.5:
                found[name] = mean + sd * float(condition[at])
        return Shown(labels, sex, float(np.rint(found["age"])), float(np.round(found["heart_rate"], 3)))

    def place(self, vital: str) -> int:
        """Where in a condition this vital stands; the value after it tells whether it is known."""
        return len(self.names) + bool(self.sexes) + 2 * list(self.scale).index(vital)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One condition, as often as the population shows it, float32 (k,)."""
        share = np.array(self.counts) / np.sum(self.counts)
        group = rng.choice(len(share), p=share)
        traits: dict[str, Any] = {"sex": self.sexes[group : group + 1]} if self.sexes else {}
        if self.densities:
            density = self.densities[group]
            traits |= {name: [value] for name, value in zip(density.names, density.draw(rng), strict=True)}
        return self.encode([self.combinations[group]], traits)[0]

    def bearing(
        self, labels: Sequence[str], sex: str | None = None, ranges: Mapping[str, tuple[float, float]] | None = None
    ) -> Conditions:
        """Only what holds all of `labels`, this sex, and age and heart rate within `ranges`, (low, high) by name.

        All that is not asked for comes along as often as it does in people of whom that is true.

        Raises
        ------
        ConfigError
            Something asked for was not learned, or too few people show it together.
        """
        ranges = ranges or {}
        self._check_learned(labels, ([] if sex is None else ["sex"]) + list(ranges))
        kept = [
            i
            for i, borne in enumerate(self.combinations)
            if set(labels) <= set(borne) and (sex is None or self.sexes[i] == sex)
        ]
        if not kept:
            told = "; ".join(filter(None, (self._group(i) for i in range(len(self.combinations)))))
            raise ConfigError(
                f"{' + '.join([*labels, *filter(None, [sex])])} was borne by fewer than {LEAST_ALIKE} training "
                f"patients in any combination, so it is not drawn; what can be drawn is {told}"
            )
        return self._take(kept)._within(ranges) if ranges else self._take(kept)

    def _check_learned(self, labels: Sequence[str], traits: Sequence[str]) -> None:
        for label in labels:
            if label not in self.names:
                known = f"it knows {', '.join(self.names)}" if self.names else "it has learned no labels"
                raise ConfigError(f"label '{label}' is none that the run has learned; {known}")
        for name in traits:
            if name not in self.learns:
                raise ConfigError(
                    f"{name.replace('_', ' ')} is nothing that the run has learned; "
                    f"fit a recipe with '{name}' in data.conditions, such as veil-conditional"
                )

    def _group(self, i: int) -> str:
        return " + ".join([*self.combinations[i], *filter(None, self.sexes[i : i + 1])])

    def _take(self, kept: Sequence[int]) -> Conditions:
        return replace(
            self,
            combinations=[self.combinations[i] for i in kept],
            counts=[self.counts[i] for i in kept],
            sexes=[self.sexes[i] for i in kept if self.sexes],
            densities=[self.densities[i] for i in kept if self.densities],
        )

    def _within(self, ranges: Mapping[str, tuple[float, float]]) -> Conditions:
        """Each group cut to `ranges`, and as often as it has people there."""
        cut = [density.within(ranges) for density in self.densities]
        shares = [part.mass / whole.mass if part else 0.0 for part, whole in zip(cut, self.densities, strict=True)]
        kept = [i for i, share in enumerate(shares) if share > 0]
        if not kept:
            asked = " and ".join(
                f"{name.replace('_', ' ')} {low:g} to {high:g}" for name, (low, high) in ranges.items()
            )
            raise ConfigError(f"{asked} is beyond the training patients; those asked for reach over {self._covered()}")
        return replace(
            self._take(kept),
            counts=[self.counts[i] * shares[i] for i in kept],
            densities=[part for i in kept if (part := cut[i])],
        )

    def _covered(self) -> str:
        return " and ".join(
            f"{name.replace('_', ' ')} {min(each.low[at] for each in self.densities):g} "
            f"to {max(each.high[at] for each in self.densities):g}"
            for at, name in enumerate(self.scale)
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Conditions:
        """What `to_json` gave; runs that learned labels only may lack the rest."""
        return cls(**{**data, "densities": [Density(**each) for each in data.get("densities", [])]})


_Group = tuple[tuple[str, ...], str]  # a combination of labels, and the sex of its people


def _frequent(
    own: list[tuple[str, ...]], patients: Sequence[str], sex: Sequence[str] | None
) -> tuple[list[_Group], list[float]]:
    """Groups of at least `LEAST_ALIKE` people and how many windows show each, most first.

    Where sex is learned, people of unknown sex are in none: an ECG to draw is always of somebody.
    """
    groups = [(borne, who) for borne, who in zip(own, sex or [""] * len(own), strict=True)]
    bearers: dict[_Group, set[str]] = defaultdict(set)
    for group, patient in zip(groups, patients, strict=True):
        if sex is None or group[1]:
            bearers[group].add(patient)
    frequent = [group for group, people in bearers.items() if len(people) >= LEAST_ALIKE]
    if not frequent and sex is not None and not any(sex):
        raise RecordError("no training record names a sex, which is to be learned; leave it out of data.conditions")
    if not frequent:
        of = "data.labels" if sex is None else "data.labels and a known sex"
        raise RecordError(
            f"no combination of {of} is shared by {LEAST_ALIKE} patients of the training part; "
            "name fewer labels, or give more records"
        )
    counted = Counter(groups)
    frequent.sort(key=lambda group: (-counted[group], group))
    return frequent, [counted[group] for group in frequent]


def _vitals(
    own: list[tuple[str, ...]], patients: Sequence[str], traits: Traits, groups: list[_Group]
) -> tuple[dict[str, list[float]], list[Density]]:
    """The scale of each vital, and its density in each group: of its own people where they are enough, else of those
    who bear the same labels, else of all who bear that one of them which tells most, else of all."""
    learned = [name for name in VITALS if name in traits]
    if not learned:
        return {}, []
    values = np.array([traits[name] for name in learned], float).T  # (n, d)
    sex = list(traits.get("sex", [""] * len(own)))

    def fitted(mine: Sequence[bool]) -> Density | None:
        rows = np.flatnonzero(mine)
        people = by_person(values[rows], np.array(patients, str)[rows])
        return Density.fit(learned, people) if len(people) >= LEAST_PEOPLE else None

    whole = fitted([True] * len(own))
    if whole is None:
        n = len(by_person(values, patients))
        raise RecordError(
            f"{' and '.join(learned)} of data.conditions can be told of {n} patients of the training part; "
            f"{LEAST_PEOPLE} are needed: leave it out, or give more records"
        )
    spread = np.sqrt(np.diag(whole.covariance))

    def tells(of: Density) -> float:
        return float(np.linalg.norm((np.array(of.mean) - whole.mean) / spread))

    names = dict.fromkeys(name for borne, _ in groups for name in borne)
    of_label = {name: found for name in names if (found := fitted([name in each for each in own]))}
    densities = []
    for borne, who in groups:
        of_any = max((of_label[name] for name in borne if name in of_label), key=tells, default=whole)
        same = [each == borne and s == who for each, s in zip(own, sex, strict=True)]
        densities.append(fitted(same) or fitted([each == borne for each in own]) or of_any)
    scale = {name: [whole.mean[at], float(np.sqrt(whole.covariance[at][at]))] for at, name in enumerate(learned)}
    return scale, densities
