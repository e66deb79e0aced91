"""When the heart beats: a smooth density of heart rhythms, fitted on a population.

Each record is summed up by four numbers (its rhythm statistics); a Gaussian mixture is fitted to them over people, each
counting once, with so few components, each of so many people, that no component is one patient's own numbers. Drawing
goes the other way: statistics from the mixture, then R times from the statistics. Where labels are learned, records
are parted by the label they bear that tells most of the rhythm, and each part of enough people has a mixture of its
own. Where the heart rate is learned, the other statistics are drawn as the mixture has them at that rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from sklearn.mixture import GaussianMixture

from ecgveil.errors import RecordError
from ecgveil.people import LEAST_PEOPLE, by_person

STATISTICS = ("log mean RR in s", "log RMSSD in s", "log SD of 5-beat mean RR in s", "share of premature beats")
LEAST_RECORDS = 5  # whose rhythm can be read
_PEOPLE_A_COMPONENT = 25  # on the mean
_MAX_COMPONENTS = 4
_CENTRE, _SCALE = np.array([-0.2, -3.5, -3.5, 0.0]), np.array([0.25, 1.0, 1.0, 0.1])  # about those of adults
_GRID = 0.2  # of standard statistics, that bounds lie on
_FLOOR_S = 0.004  # variations below one sample of 250 Hz are not resolved
_RR_RANGE_S = (0.25, 3.0)
PACES_BPM = (30.0, 150.0)  # that may be asked for; faster ones lose beats to premature ones and to each other
# Of the usual RR, that of a premature beat and the one after it, about as 291 premature beats of 693 recordings (CinC
# 2011 and 2021) have them: most come a little early, and not every pause compensates.
_EARLY, _RATHER_LATE, _AFTER = (0.4, 0.84), 0.6, (0.8, 1.3)
_MOST_EARLY = 0.2  # share of beats that are premature: with more, as often as not, 10 s would be irregular throughout
_MOST_VARYING = (0.45, 0.25)  # RMSSD and slow variation over mean RR: what has more has lost beats
_LEAST_WITHIN = 8  # beats of a record that tell how it varies; of slower hearts those before and after it count too
_AS_ASKED = 0.02  # share by which the mean RR of a record may miss what was asked for
_MOST_ATTEMPTS = 30
_TRIES = 50  # draws from the population before a rate is taken from the span itself
_PREMATURE = 0.85  # a beat is premature when its RR is below this share of the record's median


def rhythm_statistics(rr: np.ndarray) -> np.ndarray | None:
    """The four `STATISTICS` of one record's RR intervals in s; None with fewer than 3 plausible intervals."""
    rr = np.asarray(rr, float)
    rr = rr[(rr > _RR_RANGE_S[0]) & (rr < _RR_RANGE_S[1])]
    if rr.size < 3:
        return None
    premature = premature_intervals(rr)
    # A premature beat and the pause after it are described by their share, not by the variability.
    regular = rr[_regular(premature)]
    rmssd = np.sqrt(np.mean(np.diff(regular) ** 2))
    width = min(5, regular.size)
    slow = np.convolve(regular, np.ones(width) / width, "valid").std()
    return np.array(
        [np.log(regular.mean()), np.log(rmssd + _FLOOR_S), np.log(slow + _FLOOR_S), premature.mean()], dtype=float
    )


def premature_intervals(rr: np.ndarray) -> np.ndarray:
    """Which RR intervals, (k,), end in a premature beat, (k,) bool; none where all is irregular."""
    premature = np.asarray(rr < _PREMATURE * np.median(rr))
    if _regular(premature).sum() < 3 or premature.mean() > 0.3:  # as in atrial fibrillation: nothing to set apart
        return np.zeros_like(premature)
    return premature


def _regular(premature: np.ndarray) -> np.ndarray:
    """Intervals that neither end in a premature beat nor are the pause after it."""
    return ~premature & ~np.append(False, premature[:-1])


def standard_statistics(statistics: np.ndarray) -> np.ndarray:
    """`STATISTICS` (..., 4) on a scale of about 1, the same for every population."""
    return (statistics - _CENTRE) / _SCALE


def plain_statistics(standard: np.ndarray) -> np.ndarray:
    """The inverse of `standard_statistics`."""
    return standard * _SCALE + _CENTRE


class _Beating:
    """Whatever tells the `STATISTICS` of a record, and so when its heart beats."""

    def statistics(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> np.ndarray:
        """One record's `STATISTICS`, (4,), of somebody with this condition, (k,)."""
        raise NotImplementedError

    def draw(
        self, rng: np.random.Generator, seconds: float, condition: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One rhythm: R times in s from about -3 to `seconds` + 3, and the statistics drawn, (4,).

        `condition` changes nothing in a `Rhythm`; it does in a `LabelledRhythm`.
        """
        drawn = self.statistics(rng, condition)
        return beat_times([rng], drawn[None], seconds)[0], drawn


@dataclass(frozen=True)
class Rhythm(_Beating):
    """A Gaussian mixture over `STATISTICS`: weights (K,), means (K, 4), covariances (K, 4, 4), bounds (2, 4)."""

    weights: list[float]
    means: list[list[float]]
    covariances: list[list[list[float]]]
    bounds: list[list[float]]

    @classmethod
    def fit(cls, rr_intervals: list[np.ndarray], seed: int, people: Sequence[str] | None = None) -> Rhythm:
        """Fit on the RR intervals in s of each training record, and on whose each is: default, each somebody else's.

        Raises
        ------
        RecordError
            Fewer than `LEAST_RECORDS` have a rhythm that can be read.
        """
        table, _, whose = _table(rr_intervals, people)
        return cls._of(table, whose, seed)

    @classmethod
    def _of(cls, table: np.ndarray, whose: np.ndarray, seed: int) -> Rhythm:
        """Of statistics of records, (n, 4), and whose each is; records count where people are too few to fit on."""
        people = len(np.unique(whose))
        table = by_person(table, whose) if people >= LEAST_RECORDS else table
        standard = standard_statistics(table)
        for k in range(int(np.clip(people // _PEOPLE_A_COMPONENT, 1, _MAX_COMPONENTS)), 0, -1):
            # On scales of about 1: what is added to variances must not make premature beats common; most lack them.
            mixture = GaussianMixture(k, reg_covar=3e-3, random_state=seed, n_init=3).fit(standard)
            if np.bincount(mixture.predict(standard), minlength=k).min() >= LEAST_PEOPLE:
                break
        means, covariances = plain_statistics(mixture.means_), mixture.covariances_ * np.outer(_SCALE, _SCALE)
        # Bounds keep draws physiological; percentiles rounded outwards, so that no bound is one patient's own extreme.
        low, high = np.percentile(standard, [2, 98], axis=0)
        margin = 0.15 * (high - low)
        rounded = np.floor((low - margin) / _GRID) * _GRID, np.ceil((high + margin) / _GRID) * _GRID
        bounds = plain_statistics(np.array(rounded))
        return cls(*(each.tolist() for each in (mixture.weights_, means, covariances, bounds)))

    def _statistics(self, rng: np.random.Generator) -> np.ndarray:
        """One record's `STATISTICS`, (4,)."""
        k = rng.choice(len(self.weights), p=np.array(self.weights) / np.sum(self.weights))
        low, high = np.array(self.bounds)
        return np.clip(self.means[k] + self._roots[k] @ rng.standard_normal(len(STATISTICS)), low, high)

    @cached_property
    def _roots(self) -> np.ndarray:
        """Of each covariance, (K, 4, 4)."""
        return np.stack([_root(np.array(each)) for each in self.covariances])

    def _statistics_at(self, rng: np.random.Generator, mean_rr: float) -> np.ndarray:
        """The same for a mean RR in s: of that the others follow as in the mixture, conditioned on it."""
        at = np.log(mean_rr)  # of all beats; that of the regular ones follows from how many are premature
        means, covariances = np.array(self.means), np.array(self.covariances)
        away, variance = at - means[:, 0], covariances[:, 0, 0]
        log_weights = np.log(self.weights) - 0.5 * (away**2 / variance + np.log(variance))
        weights = np.exp(log_weights - log_weights.max())
        k = rng.choice(len(weights), p=weights / weights.sum())
        slope = covariances[k, 1:, 0] / variance[k]
        rest = covariances[k, 1:, 1:] - np.outer(slope, covariances[k, 0, 1:])
        drawn = means[k, 1:] + slope * away[k] + _root(rest) @ rng.standard_normal(len(rest))
        low, high = np.array(self.bounds)
        others = np.clip(drawn, low[1:], high[1:])
        return np.concatenate([[at - np.log(_with_premature(others[2]))], others])

    def statistics(
        self, rng: np.random.Generator, condition: np.ndarray | None = None, mean_rr: float | None = None
    ) -> np.ndarray:
        """One record's `STATISTICS`, (4,), as for `draw`."""
        return self._statistics(rng) if mean_rr is None else self._statistics_at(rng, mean_rr)

    def to_json(self) -> dict:
        return asdict(self)


def _root(covariance: np.ndarray) -> np.ndarray:
    """A matrix that makes numbers of this covariance, (k, k), of independent ones: the same on every machine."""
    return np.linalg.cholesky(covariance + 1e-12 * np.eye(len(covariance)))


def beat_times(rngs: Sequence[np.random.Generator], statistics: np.ndarray, seconds: float) -> list[np.ndarray]:
    """R times in s from about -3 to `seconds` + 3 of records with these `STATISTICS`, (n, 4), each by its stream."""
    mean_rr = np.exp(statistics[:, :1])  # (n, 1)
    beats = ((seconds + 6.0) / np.minimum(mean_rr[:, 0], 1.0) * 1.6).astype(int) + 8
    normal = np.zeros((len(rngs), beats.max()))
    even, spare = np.ones((len(rngs), 3, beats.max())), np.empty((len(rngs), 5, 1))
    for i, (rng, number) in enumerate(zip(rngs, beats, strict=True)):
        normal[i, :number], even[i, :, :number] = rng.standard_normal(number), rng.random((3, number))
        spare[i, :, 0] = rng.random(5)
    place = np.arange(beats.max())
    # Breathing goes with every few beats, slower waves with ten and more: sinusoids of random phase over the beats.
    cycle = np.array([[3.0], [10.0]]) + np.array([[3.0], [15.0]]) * spare[:, :2]  # beats a cycle
    breath, slow = np.sin(2 * np.pi * (place / cycle + spare[:, 2:4])).transpose(1, 0, 2)
    first, many = (3.0 / mean_rr).astype(int), (seconds / mean_rr).astype(int)
    within = np.where(many < _LEAST_WITHIN, place < beats[:, None], (place >= first) & (place < first + many))
    asked = np.clip(np.exp(statistics[:, 1:3]) - _FLOOR_S, 0.0, np.array(_MOST_VARYING) * mean_rr)
    rr = mean_rr + _varying(normal + breath, slow, within, asked)
    early = _early(even[:, 0], statistics[:, 3])
    rr[early] *= _EARLY[0] + (_EARLY[1] - _EARLY[0]) * even[:, 1][early] ** _RATHER_LATE
    after = np.pad(early, ((0, 0), (1, 0)))[:, :-1]
    rr[after] *= _AFTER[0] + (_AFTER[1] - _AFTER[0]) * even[:, 2][after]
    rr = np.clip(rr, *_RR_RANGE_S)
    mean = _total(rr * within) / _total(within)
    rr *= (mean_rr[:, 0] * _with_premature(statistics[:, 3]) / mean)[:, None]  # whichever came early, or was cut
    starts = -3.0 - spare[:, 4] * mean_rr
    times = _as_fast_as_asked(starts, rr, mean_rr[:, 0] * _with_premature(statistics[:, 3]), seconds)
    last = np.minimum((times < seconds + 3.0).sum(axis=1) + 1, beats)
    return [each[:number] for each, number in zip(times, last, strict=True)]


def _as_fast_as_asked(starts: np.ndarray, rr: np.ndarray, asked: np.ndarray, seconds: float) -> np.ndarray:
    """R times, (n, beats), of RR that start at `starts`, (n, 1), whose mean in the record is the one asked for, (n,).

    Of irregular hearts other beats than were counted may come to lie in the record, or many of the shortest RR in a
    row: these are put right. Where so much variation cannot be had at this rate, they vary less.
    """
    for attempt in range(_MOST_ATTEMPTS):
        times = starts + np.cumsum(rr, axis=1)
        there = (times >= 0) & (times < seconds)
        there[:, 1:] &= there[:, :-1].copy()  # RR whose both ends lie in the record
        there[:, 0] = False
        mean = _total(rr * there) / np.maximum(_total(there), 1)
        shortest = _total(there & (rr <= _RR_RANGE_S[0] * 1.02))
        known = _total(there) >= 2
        wrong = known & ((np.abs(mean / asked - 1) > _AS_ASKED) | (shortest > 2))
        if not wrong.any():
            break
        rr[wrong] *= (asked / np.where(known, mean, asked))[wrong, None]
        if attempt >= _MOST_ATTEMPTS // 3:
            rr[wrong] += 0.2 * (asked[wrong, None] - rr[wrong])
        rr[wrong] = np.clip(rr[wrong], *_RR_RANGE_S)
    return times


def _early(even: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Which beats are premature, (n, beats), from numbers even in 0 to 1: a share of them, (n,), and none of the two
    after one."""
    share = np.clip(share, 0.0, _MOST_EARLY)
    chance = share / (1 - 2 * share)  # of a beat that may be
    early = np.zeros((len(even), even.shape[1] + 2), bool)
    for beat in range(even.shape[1]):
        early[:, beat + 2] = (even[:, beat] < chance) & ~early[:, beat] & ~early[:, beat + 1]
    return early[:, 2:]


def heart_rate(statistics: np.ndarray) -> float:
    """Of all beats, bpm, of a record with these `STATISTICS`, (4,)."""
    return float(60.0 / (np.exp(statistics[0]) * _with_premature(statistics[3])))


def _with_premature(share: np.ndarray) -> np.ndarray:
    """Mean RR of all beats over that of the regular ones, where so many are premature."""
    early = _EARLY[0] + (_EARLY[1] - _EARLY[0]) / (1 + _RATHER_LATE)
    return 1 + np.clip(share, 0.0, _MOST_EARLY) * (early + sum(_AFTER) / 2 - 2)


def _varying(fast: np.ndarray, slow: np.ndarray, within: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """So much of both forms, (n, beats) each, that beats `within` the record, (n, beats), vary as `asked`, (n, 2):
    RMSSD, and SD of their 5-beat means. Either form adds to both, and neither changes the heart rate."""
    fast, slow = (each - (_total(each * within) / _total(within))[:, None] for each in (fast, slow))
    (a, b), (c, d) = (_variances(each, within) for each in (fast, slow))  # (n,) each
    fine, broad = (asked**2).T
    of_slow = np.clip((broad * a - fine * b) / np.maximum(a * d - b * c, 1e-9), 0.0, broad / np.maximum(d, 1e-9))
    of_fast = np.maximum(fine - of_slow * c, 0.0) / np.maximum(a, 1e-9)
    return np.sqrt(of_fast)[:, None] * fast + np.sqrt(of_slow)[:, None] * slow


def _variances(x: np.ndarray, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of beats within records, (n, beats), at least 5 each in a row, the mean squared successive difference and the
    variance of the 5-beat means, (n,) each."""
    pairs = within[:, 1:] & within[:, :-1]
    fine = _total(np.diff(x, axis=1) ** 2 * pairs) / np.maximum(_total(pairs), 1)
    sums, whole = (np.pad(np.cumsum(each, axis=1), ((0, 0), (1, 0))) for each in (x, within))
    means = (sums[:, 5:] - sums[:, :-5]) / 5
    there = whole[:, 5:] - whole[:, :-5] == 5
    many = _total(there)
    centre = _total(means * there) / many
    return fine, _total(((means - centre[:, None]) * there) ** 2) / many


def _total(x: np.ndarray) -> np.ndarray:
    """Sums of rows, one after the other: to the last bit the same however many zeros follow."""
    return np.cumsum(x, axis=1)[:, -1]


class RatePlace(NamedTuple):
    """Where in a condition the heart rate stands, and what it was standardised with, bpm; the value after it is 1
    where it is known."""

    place: int
    mean: float
    sd: float

    def mean_rr(self, condition: np.ndarray) -> float | None:
        """Mean RR in s that a condition asks for, if it asks for any."""
        if condition[self.place + 1] < 0.5:
            return None
        return float(np.clip(60.0 / max(self.mean + self.sd * float(condition[self.place]), 1.0), *_RR_RANGE_S))


@dataclass(frozen=True)
class LabelledRhythm(_Beating):
    """Rhythms under conditions.

    Parameters
    ----------
    whole : of all records
    order : labels, by number, that which tells most of the rhythm first, (k,)
    parts : of the records whose first label in `order` is this one, (k,), and last of those that bear none; None where
        these are too few for a density of their own
    rate : where the condition holds the heart rate; None where that is not learned
    """

    whole: Rhythm
    order: list[int]
    parts: list[Rhythm | None]
    rate: RatePlace | None = None

    @classmethod
    def fit(
        cls,
        rr_intervals: list[np.ndarray],
        conditions: np.ndarray,
        seed: int,
        rate: RatePlace | None = None,
        people: Sequence[str] | None = None,
    ) -> LabelledRhythm:
        """Fit on the RR intervals in s and the labels, (n, k) of 0 and 1, of each training record; whose each is.

        Errors as `Rhythm.fit`.
        """
        table, rows, whose = _table(rr_intervals, people)
        borne = conditions[rows] > 0.5  # (n, k)
        spread = table.std(axis=0) + 1e-3

        def enough(mine: np.ndarray) -> bool:
            return len(np.unique(whose[mine])) >= LEAST_PEOPLE

        tells = [
            np.linalg.norm((table[mine].mean(axis=0) - table.mean(axis=0)) / spread) if enough(mine) else 0.0
            for mine in borne.T
        ]
        order = [int(label) for label in np.argsort(-np.array(tells), kind="stable")]
        part_of = np.array([cls._part(order, each) for each in borne])
        parts = [part_of == part for part in range(len(order) + 1)]
        return cls(
            Rhythm._of(table, whose, seed),
            order,
            [Rhythm._of(table[mine], whose[mine], seed) if enough(mine) else None for mine in parts],
            rate,
        )

    @staticmethod
    def _part(order: list[int], condition: np.ndarray) -> int:
        return next((place for place, label in enumerate(order) if condition[label]), len(order))

    def statistics(
        self, rng: np.random.Generator, condition: np.ndarray | None = None, mean_rr: float | None = None
    ) -> np.ndarray:
        """One record's `STATISTICS`, (4,), of somebody with this condition, (k,)."""
        part = None if condition is None else self.parts[self._part(self.order, condition)]
        if mean_rr is None and condition is not None and self.rate is not None:
            mean_rr = self.rate.mean_rr(condition)
        return (part or self.whole).statistics(rng, mean_rr=mean_rr)

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> LabelledRhythm:
        parts = [part and Rhythm(**part) for part in data["parts"]]
        rate = data.get("rate")  # runs from before it was learned have none
        return cls(Rhythm(**data["whole"]), data["order"], parts, RatePlace(*rate) if rate else None)


@dataclass(frozen=True)
class Paced(_Beating):
    """A rhythm held to heart rates from `low` to `high`, bpm: as often as the population has them, else evenly."""

    rhythm: Rhythm | LabelledRhythm
    low: float
    high: float

    def statistics(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> np.ndarray:
        """One record's `STATISTICS`, (4,)."""
        for _ in range(_TRIES if self.low < self.high else 0):
            drawn = self.rhythm.statistics(rng, condition)
            if self.low <= heart_rate(drawn) <= self.high:
                return drawn
        return self.rhythm.statistics(rng, condition, 60.0 / rng.uniform(self.low, self.high))


def _table(rr_intervals: list[np.ndarray], people: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Statistics of the records whose rhythm can be read, (n, 4), their rows, (n,), and whose each is, (n,)."""
    found = {i: row for i, rr in enumerate(rr_intervals) if (row := rhythm_statistics(rr)) is not None}
    if len(found) < LEAST_RECORDS:
        raise RecordError(
            f"a heart rhythm could be read from {len(found)} of {len(rr_intervals)} training records; "
            f"{LEAST_RECORDS} are needed: use longer windows or records with visible beats"
        )
    rows = np.array(list(found))
    whose = rows.astype(str) if people is None else np.array(people, str)[rows]
    return np.array(list(found.values())), rows, whose
