"""What an ECG may be asked to show: the labels a recipe names, and how often people bear them together.

A condition is a vector with a 1 for each label borne, (k,); all 0 stands for none of them. Conditions are drawn from
the combinations that the training population shows, as often as it shows them. A combination that fewer than
`LEAST_PATIENTS` people bear is never drawn: an ECG made for it could only be one of theirs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ecgveil.errors import ConfigError, RecordError

LEAST_PATIENTS = 5

Labels = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Conditions:
    """`names` of the labels; `combinations` of them, (K, any), and in `counts` how many windows show each, (K,)."""

    names: list[str]
    combinations: list[list[str]]
    counts: list[int]

    @classmethod
    def fit(cls, labels: Labels, patients: Sequence[str], names: Sequence[str]) -> Conditions:
        """Count the combinations of `names` in the training windows.

        Parameters
        ----------
        labels, patients : of each window; labels that are not among `names` are passed over
        names : the labels that matter

        Raises
        ------
        RecordError
            A label is borne by fewer than `LEAST_PATIENTS` patients, or no combination by so many.
        """
        own = [tuple(name for name in names if name in borne) for borne in labels]
        bearers: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for combination, patient in zip(own, patients, strict=True):
            bearers[combination].add(patient)
        for name in names:
            n = len(set().union(*(people for borne, people in bearers.items() if name in borne)))
            if n < LEAST_PATIENTS:
                raise RecordError(
                    f"label '{name}' of data.labels is borne by {n} patients of the training part; "
                    f"{LEAST_PATIENTS} are needed: leave it out, or give more records"
                )
        frequent = [borne for borne, people in bearers.items() if len(people) >= LEAST_PATIENTS]
        if not frequent:
            raise RecordError(
                f"no combination of data.labels is shared by {LEAST_PATIENTS} patients of the training part; "
                "name fewer labels, or give more records"
            )
        counted = Counter(own)
        frequent.sort(key=lambda borne: (-counted[borne], borne))
        return cls(list(names), [list(borne) for borne in frequent], [counted[borne] for borne in frequent])

    def encode(self, labels: Labels) -> np.ndarray:
        """Labels of n ECGs -> conditions, float32 (n, k)."""
        return np.array([[name in borne for name in self.names] for borne in labels], np.float32)

    def decode(self, condition: np.ndarray) -> tuple[str, ...]:
        """One condition, (k,) -> its labels."""
        return tuple(name for name, borne in zip(self.names, condition, strict=True) if borne > 0.5)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One condition, as often as the population shows it, float32 (k,)."""
        share = np.array(self.counts) / np.sum(self.counts)
        return self.encode([self.combinations[rng.choice(len(share), p=share)]])[0]

    def bearing(self, labels: Sequence[str]) -> Conditions:
        """Only the combinations that hold all of `labels`; the others come along as often as they do in people.

        Raises
        ------
        ConfigError
            A label is not among `names`, or too few people bear these labels together.
        """
        for label in labels:
            if label not in self.names:
                raise ConfigError(f"label '{label}' is none that the run has learned; it knows {', '.join(self.names)}")
        kept = [i for i, borne in enumerate(self.combinations) if set(labels) <= set(borne)]
        if not kept:
            told = "; ".join(" + ".join(borne) for borne in self.combinations if borne)
            raise ConfigError(
                f"{' + '.join(labels)} was borne by fewer than {LEAST_PATIENTS} training patients in any combination, "
                f"so it is not drawn; what can be drawn is {told}"
            )
        return Conditions(self.names, [self.combinations[i] for i in kept], [self.counts[i] for i in kept])

    def to_json(self) -> dict:
        return asdict(self)
