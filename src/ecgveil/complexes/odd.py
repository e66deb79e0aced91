"""Beats that are not like the others of their record: ventricular ones, and those that an artefact lies on.

They belong to no complex: what a record's other beats are is found without them. How a population's odd beats differ
from their record's usual one is summed up by a mean form and a few principal ones, of those that come early and of all
others, each person counting once and each form standing for many people. What is drawn for a record is drawn from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ecgveil.complexes.parts import LENGTH, RATE_HZ
from ecgveil.complexes.variation import LEAST_BEATS, TIME_S, Beat, at_places, inside
from ecgveil.people import by_person
from ecgveil.rhythm import premature_intervals

_COMPARED_S = (-0.1, 0.1)
_TIMES, _SHARE = 3.0, 0.25  # what an odd beat leaves over, as a multiple of the usual, and of the complex
_MOST = 1 / 3  # of beats that can be odd: else it is no rule that they break
_REACH_S = (-0.25, 0.6)
_PEOPLE_A_FORM, _FORMS = 20, 6
_MOST_OF_AN_AXIS = 5.0  # that one person has of it, times what people have
_SMOOTH_S = 0.006
_FADE_S = 0.04
_PERCENTILES = (10, 25, 50, 70, 85)  # beyond lie electrodes that fell off
_LEAST_IN_QRS = 0.4  # of its root mean square


class Oddities(NamedTuple):
    """Of one record.

    Parameters
    ----------
    odd, early : of each beat whether it is odd, and whether it comes early, (beats,) bool, beats at the ends left out
    forms : what odd ones that lie whole in it, between others, have beyond the record's complex, over the size of
        that, (k, C, LENGTH)
    of_early : of each of these whether it comes early, (k,) bool
    """

    odd: np.ndarray
    early: np.ndarray
    forms: np.ndarray
    of_early: np.ndarray


def odd_beats(complex_: np.ndarray, rest: np.ndarray, beats: list[Beat]) -> np.ndarray:
    """Which beats leave far more over around QRS than the others, (beats,) bool.

    From the complex (LENGTH, C) and what is left over (T, C).
    """
    compared = inside(*_COMPARED_S)
    much = np.full(len(beats), np.nan)
    for i, (covered, before, _) in enumerate(beats):
        at = covered[compared[before]]
        if len(at) > compared.sum() / 2:
            much[i] = _rms(rest[at])
    if np.isfinite(much).sum() < LEAST_BEATS:
        return np.zeros(len(beats), bool)
    odd = (much > _TIMES * np.nanmedian(much)) & (much > _SHARE * _rms(complex_[compared]))
    return odd if odd.sum() <= _MOST * len(odd) else np.zeros(len(beats), bool)


def odd_stretches(odd: np.ndarray, beats: list[Beat], length: int) -> np.ndarray:
    """Samples that odd beats lie on, (length,) bool."""
    there = np.zeros(length, bool)
    for beat, strange in zip(beats, odd, strict=True):
        if strange:
            there[beat.covered[inside(*_REACH_S)[beat.before]]] = True
    return there


def taken(odd: np.ndarray, r: np.ndarray, complex_: np.ndarray, rest: np.ndarray, beats: list[Beat]) -> Oddities:
    """The odd beats of a record, of its R times and what complexes leave over (T, C)."""
    early = _early(r)
    alone = odd & ~np.append(odd[1:], False) & ~np.append(False, odd[:-1])  # else the next one lies in its stretch
    clear = [i for i in np.flatnonzero(alone[1:-1]) + 1 if beats[i].whole]  # the beats at the ends are invented
    size = _rms(complex_[inside(*_COMPARED_S)]) + 1e-9
    forms = [at_places(rest, beats[i], np.ones(LENGTH, bool)).T / size for i in clear]
    shape = (len(clear), complex_.shape[1], LENGTH)
    return Oddities(odd[1:-1], early[1:-1], np.array(forms, np.float32).reshape(shape), early[clear])


@dataclass
class OddForms:
    """How odd beats of one kind differ from the usual ones.

    Parameters
    ----------
    records : share of people whose records have any (of early ones: of people who have early beats)
    beats : in these, share of beats (of early ones: of early beats)
    log_sizes : logarithm of how large they are in QRS, over the record's complex there, at `_PERCENTILES`
    mean : (C, LENGTH) of unit root mean square
    axes : (k, C, LENGTH), each as large as what usually lies along it
    """

    records: float
    beats: float
    log_sizes: list[float]
    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, found: list[Oddities], people: Sequence[str], early: bool) -> OddForms | None:
        """Of a population, whose record each is; None where too few people have odd beats of the kind."""
        shares = by_person(np.array([[_mean(each.odd[each.early == early])] for each in found]), people)[:, 0]
        theirs: dict[str, list[np.ndarray]] = {}
        for each, person in zip(found, people, strict=True):
            theirs.setdefault(person, []).extend(each.forms[each.of_early == early])
        mine = [np.stack(forms) for forms in theirs.values() if forms]
        k = min(_FORMS, len(mine) // _PEOPLE_A_FORM)
        if not k or not shares.any():
            return None
        mine = [gaussian_filter1d(forms, _SMOOTH_S * RATE_HZ, axis=2) * _fade() for forms in mine]
        sizes = [np.mean([np.log(_in_qrs(form) + 1e-9) for form in forms]) for forms in mine]
        forms = np.stack([_unit(np.mean([_unit(form) for form in forms], axis=0)) for forms in mine])  # one of each
        mean = forms.mean(axis=0)
        axes = _axes((forms - np.median(forms, axis=0)).reshape(len(forms), -1), k).reshape(-1, *mean.shape)
        often = float((shares > 0).mean()), float(shares[shares > 0].mean())
        log_sizes = np.round(np.percentile(sizes, _PERCENTILES), 1).tolist()  # that none is one patient's own
        return cls(*often, log_sizes, np.round(mean, 4), np.round(axes, 4))  # as they are written

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One form, (C, LENGTH), in sizes of a record's complex."""
        form = self.mean + np.tensordot(rng.standard_normal(len(self.axes)), self.axes, 1)
        size = max(_in_qrs(form), _LEAST_IN_QRS * np.sqrt((form**2).mean()), 1e-6)
        share = rng.uniform(_PERCENTILES[0], _PERCENTILES[-1])
        return form * (np.exp(np.interp(share, _PERCENTILES, self.log_sizes)) / size)

    def among_others(self, beats: int) -> float:
        """How probably each beat is odd beside a first one that is, so that of so many the share is as it should be."""
        return float(np.clip((self.beats * beats - 1) / max(beats - 1, 1), 0, 1))

    def to_json(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "beats": self.beats,
            "log_sizes": self.log_sizes,
            "mean": self.mean.tolist(),
            "axes": self.axes.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], channels: int) -> OddForms:
        """What `to_json` gave; ValueError or TypeError where it cannot be that."""
        mean, axes = np.array(data["mean"], float), np.array(data["axes"], float)
        axes = axes.reshape(len(axes), channels, LENGTH)
        log_sizes = np.array(data["log_sizes"], float)
        often = float(data["records"]), float(data["beats"])
        if mean.shape != (channels, LENGTH) or log_sizes.shape != (len(_PERCENTILES),):
            raise ValueError("odd beats of another form")
        if not all(np.isfinite(each).all() for each in (mean, axes, log_sizes, often)):
            raise ValueError("odd beats that are not finite")
        return cls(*often, log_sizes.tolist(), mean, axes)


@dataclass
class Odd:
    """Odd beats of a population: of those that come early, and of all others; None where there are too few."""

    early: OddForms | None = None
    other: OddForms | None = None

    @classmethod
    def fit(cls, found: list[Oddities], people: Sequence[str]) -> Odd:
        """Of records, and whose each is."""
        return cls(OddForms.fit(found, people, True), OddForms.fit(found, people, False))

    def draw(self, r: np.ndarray, complex_: np.ndarray, rng: np.random.Generator) -> dict[int, np.ndarray]:
        """Which beats of a record are odd, by number, and what they have beyond its complex (C, LENGTH).

        Early ones are alike, as if from one place; what an artefact does is another thing each time.
        """
        found: dict[int, np.ndarray] = {}
        kinds = self.early, self.other
        has = [kind is not None and chance < kind.records for kind, chance in zip(kinds, rng.random(2), strict=True)]
        if not any(has):
            return found
        early = _early(r)
        size = _in_qrs(complex_)
        for kind, there, mine in zip(kinds, has, (early, ~early), strict=True):
            if kind is None or not there or not mine.any():
                continue
            number = 1 + rng.binomial(mine.sum() - 1, kind.among_others(mine.sum()))
            odd = rng.permutation(np.flatnonzero(mine))[: min(number, max(1, int(_MOST * len(r))))]
            form = None
            for i in odd:
                if form is None or kind is self.other:
                    form = kind.draw(rng) * size
                found[int(i)] = form
        return found

    def to_json(self) -> dict[str, Any]:
        return {name: kind and kind.to_json() for name, kind in (("early", self.early), ("other", self.other))}

    @classmethod
    def from_json(cls, data: dict[str, Any], channels: int) -> Odd:
        """What `to_json` gave; errors as `OddForms.from_json`."""
        return cls(*(data[name] and OddForms.from_json(data[name], channels) for name in ("early", "other")))


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else np.nan


def _early(r: np.ndarray) -> np.ndarray:
    """Which beats at these R times come early, (beats,) bool."""
    return np.append(False, premature_intervals(np.diff(r))) if len(r) > 1 else np.zeros(len(r), bool)


def _axes(away: np.ndarray, k: int) -> np.ndarray:
    """Principal axes of people's differences from their median, (n, d): (k, d) at most, each as long as usual scores.

    Of the directions of these differences, whatever their size, so that an axis is where many lie, and not where one
    whose beats are like nobody else's does (spherical principal components; Locantore et al., Test 1999); one that is
    mostly one person's all the same is left out.
    """
    directions = away / (np.linalg.norm(away, axis=1, keepdims=True) + 1e-9)
    axes = np.linalg.svd(directions, full_matrices=False)[2][:k]
    lies = np.square(directions @ axes.T)
    axes = axes[lies.max(axis=0) < _MOST_OF_AN_AXIS * lies.mean(axis=0)]
    low, high = np.percentile(away @ axes.T, [16, 84], axis=0)
    return (high - low)[:, None] / 2 * axes


def _fade() -> np.ndarray:
    """From 0 at both ends of an odd stretch to 1 within it, (LENGTH,)."""
    near = np.minimum(TIME_S - _REACH_S[0], _REACH_S[1] - TIME_S)
    return np.clip(near / _FADE_S, 0, 1)


def _rms(x: np.ndarray) -> float:
    """Of (samples, C), the mean over time taken off."""
    return float(np.sqrt(((x - x.mean(axis=0)) ** 2).mean()))


def _in_qrs(form: np.ndarray) -> float:
    """How large a form, (C, LENGTH), is around R."""
    return _rms(form[:, inside(*_COMPARED_S)].T)


def _unit(form: np.ndarray) -> np.ndarray:
    """A form of root mean square 1."""
    return form / (np.sqrt((form**2).mean()) + 1e-9)
