"""ECGs -> the flat tensors that the veil model learns from, and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from ecgveil.complexes.analysis import Progress, Taken, analyse, readable, silent
from ecgveil.complexes.odd import Odd
from ecgveil.complexes.parts import BANDS, EDGES_HZ, LENGTH, Parts, bands_of, electrodes, numbers_of
from ecgveil.complexes.synthesis import synthesise
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.people import by_person, weights
from ecgveil.rhythm import STATISTICS, beat_times, plain_statistics, rhythm_statistics, standard_statistics

_FARTHEST = 15.0  # usual spreads: what lies beyond is no heart
_CUT = 5.0  # standard deviations of a number
_LOUDEST = 3.5  # standard deviations of a drawn one: beyond lie electrodes that fell off
_ALWAYS = 0.03  # of the mean electrode's power that each one has at the least: less is not to be told
_AMONG_BEATS_HZ = (0.6, 11.0)  # of noise that beats can be lost in
_LOUDER_SD = 2.05  # above the mean; that of Gaussian numbers 2 % exceed
_FLAT = 1e-3  # standard deviation of a lead that was not connected
_LEAST = 1e-9
_CONSTANT = 1e-3  # standard deviation of a number that does not vary


@dataclass
class ComplexEncoder:
    """ECGs (C leads) -> (n, C LENGTH + m): complexes in usual spreads of their leads, and m standardised numbers.

    Parameters
    ----------
    leads, fs, n_samples : of the ECGs
    scale_ : usual standard deviation of each lead, (C,)
    mean_, sd_ : of the numbers but the rhythm's statistics, (m - 4,)
    odd_ : beats that are not like the others of their record
    loudest_ : noise among beats, as `_loudness`, that few people have more of (2 % were it Gaussian); what is drawn
        louder is made as quiet. What is louder in recordings is so for a while, between beats that are seen, and would
        here be all over the record. None in encoders of runs from before it was known: no limit
    """

    leads: tuple[str, ...]
    fs: float
    n_samples: int
    scale_: list[float]
    mean_: list[float]
    sd_: list[float]
    odd_: Odd = field(default_factory=Odd)
    loudest_: float | None = None
    _last: tuple[ECGSet, Taken] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def fit(cls, train: ECGSet, progress: Progress = silent) -> ComplexEncoder:
        """Fit on the training part alone; `progress` is called with (ECGs taken apart, ECGs).

        Raises
        ------
        RecordError
            An ECG has no rhythm that can be read; `readable` says which have.
        """
        spread = np.array([each.std(axis=1) for each in train.signal])
        there = spread > _FLAT
        each_once = weights(train.patient_id)  # so that nothing here is mostly one person's
        known = there * each_once[:, None]
        total = (known * np.log(np.where(there, spread, 1.0))).sum(axis=0)
        scale = np.exp(total / np.where(there.any(axis=0), known.sum(axis=0), 1.0))
        encoder = cls(train.leads, train.fs, train.n_samples, scale.tolist(), [], [])
        found = encoder._taken(train, progress)
        numbers = encoder._numbers(found.parts)
        mean = np.average(numbers, axis=0, weights=each_once)
        sd = np.sqrt(np.average((numbers - mean) ** 2, axis=0, weights=each_once))
        encoder.mean_, encoder.sd_ = mean.tolist(), np.where(sd > _CONSTANT, sd, 1.0).tolist()
        encoder.odd_ = Odd.fit(found.odd, train.patient_id)
        encoder.limit_noise(train, progress)
        return encoder

    def limit_noise(self, train: ECGSet, progress: Progress = silent) -> None:
        """Take `loudest_` from the training part; errors as `fit`."""
        loudness = by_person(self._loudness(self._taken(train, progress).parts)[:, None], train.patient_id)
        self.loudest_ = float(loudness.mean() + _LOUDER_SD * loudness.std())

    def beats(self, ecgs: ECGSet) -> list[np.ndarray]:
        """R times of each ECG, s, where its complex fits best; errors as `encode`."""
        return [r[1:-1] for r in self._taken(ecgs).times]

    @staticmethod
    def readable(ecgs: ECGSet) -> np.ndarray:
        """Rows of the ECGs that have beats and a rhythm that can be read."""
        return readable(ecgs)[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.leads) * LENGTH + len(self.mean_) + len(STATISTICS),)

    def prepare(self, ecgs: ECGSet, progress: Progress) -> None:
        """Take apart what `encode` is to be asked for next, and tell how far that is."""
        self._taken(ecgs, progress)

    def _taken(self, ecgs: ECGSet, progress: Progress = silent) -> Taken:
        """ECGs in usual spreads, taken apart; those of the last ECGs are kept, as they are asked for twice."""
        if self._last is None or self._last[0] is not ecgs:
            rows, times = readable(ecgs)
            if len(rows) < len(ecgs):
                missing = sorted(set(range(len(ecgs))) - set(rows.tolist()))
                raise RecordError(
                    f"{len(missing)} of {len(ecgs)} ECGs have no rhythm that can be read (the first is "
                    f"{ecgs.record_name[missing[0]]}); leave them out"
                )
            self._last = ecgs, analyse(ecgs, times, progress, np.array(self.scale_))
        return self._last[1]

    def _numbers(self, parts: Parts) -> np.ndarray:
        power = np.nan_to_num(parts.noise[:, :, : bands_of(self.fs)])
        power = np.log(power + _ALWAYS * power.mean(axis=1, keepdims=True) + _LEAST)
        vary = np.log(np.concatenate([parts.variation.reshape(len(power), -1), parts.common], axis=1) + 0.01)
        return np.concatenate([power.reshape(len(power), -1), vary, parts.bursts], axis=1)

    def _loudness(self, parts: Parts) -> np.ndarray:
        """Log power of the noise among beats in all leads, in shares of that of their complexes, (n,)."""
        among = (EDGES_HZ[:-1] >= _AMONG_BEATS_HZ[0]) & (EDGES_HZ[1:] <= _AMONG_BEATS_HZ[1])
        of_electrodes = parts.noise[:, :, among] @ np.diff(EDGES_HZ)[among]  # (n, E)
        power = of_electrodes @ np.square(electrodes(self.leads)).sum(axis=0)
        return np.log(power + _LEAST) - np.log(parts.complexes.var(axis=2).sum(axis=1) + _LEAST)

    def encode(self, ecgs: ECGSet) -> tuple[np.ndarray, None]:
        """Tensor (n, C LENGTH + m) float32.

        Raises
        ------
        ConfigError
            The ECGs have another form.
        RecordError
            One of them has no rhythm that can be read; `readable` says which have.
        """
        if (ecgs.leads, ecgs.fs, ecgs.n_samples) != (self.leads, self.fs, self.n_samples):
            raise ConfigError(
                f"the encoder takes {self.n_samples} samples of {', '.join(self.leads)} at {self.fs:g} Hz, "
                f"not {ecgs.n_samples} of {', '.join(ecgs.leads)} at {ecgs.fs:g} Hz"
            )
        parts, times, _ = self._taken(ecgs)
        numbers = (self._numbers(parts) - self.mean_) / self.sd_
        rhythm = standard_statistics(np.array([rhythm_statistics(np.diff(r[1:-1])) for r in times]))
        complexes = np.clip(parts.complexes, -_FARTHEST, _FARTHEST).reshape(len(times), -1)
        return np.concatenate([complexes, np.clip(numbers, -_CUT, _CUT), rhythm], axis=1).astype(np.float32), None

    def decode(self, tensor: np.ndarray) -> np.ndarray:
        """(n, C LENGTH + m) -> (n, C, n_samples) float32.

        What is drawn for beats and noise follows from the row's rhythm statistics: a network passes them on to the last
        bit, on whatever machine, and all else with the last bit of its own arithmetic.
        """
        leads = len(self.leads)
        end = len(STATISTICS)
        given = np.ascontiguousarray(tensor[:, -end:], np.float32)
        named = (np.frombuffer(hashlib.sha256(row.tobytes()).digest()[:16], "<u4") for row in given)
        rngs = [np.random.default_rng(each) for each in named]
        numbers = np.clip(tensor[:, leads * LENGTH : -end], -2 * _CUT, _LOUDEST) * np.array(self.sd_) + self.mean_
        sensors = electrodes(self.leads).shape[1]
        power, rest = np.split(numbers, [sensors * bands_of(self.fs)], axis=1)
        noise = np.full((len(tensor), sensors, BANDS), np.nan)
        noise[:, :, : bands_of(self.fs)] = np.exp(power.reshape(len(tensor), sensors, -1))
        vary = np.maximum(np.exp(rest[:, : 4 * leads + 3]) - 0.01, 0)
        parts = Parts(
            tensor[:, : leads * LENGTH].reshape(len(tensor), leads, LENGTH),
            noise,
            vary[:, : 4 * leads].reshape(len(tensor), 4, leads),
            vary[:, 4 * leads :],
            np.clip(rest[:, 4 * leads + 3 :], 0, 3),
        )
        if self.loudest_ is not None:
            quieter = np.exp(np.minimum(self.loudest_ - self._loudness(parts), 0))
            parts = replace(parts, noise=parts.noise * quieter[:, None, None])
        statistics = plain_statistics(tensor[:, -end:].astype(float))
        seconds = self.n_samples / self.fs
        times = beat_times(rngs, statistics, seconds)
        made = synthesise(parts, times, self.leads, self.fs, self.n_samples, rngs, self.odd_)
        return made * np.array(self.scale_, np.float32)[:, None]

    def to_json(self) -> dict[str, Any]:
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return {"complexes": own | {"leads": list(self.leads), "odd_": self.odd_.to_json()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ComplexEncoder:
        try:
            own = data["complexes"]
            if "odd_" not in own:
                raise RunError("encoder.json knows no odd beats: an older one; fit again")
            leads = tuple(own["leads"])
            encoder = cls(**{**own, "leads": leads, "odd_": Odd.from_json(own["odd_"], len(leads))})
            numbers = numbers_of(leads, encoder.fs)
            sizes = len(encoder.scale_), len(encoder.mean_), len(encoder.sd_)
            told = [
                *encoder.scale_,
                *encoder.mean_,
                *encoder.sd_,
                0.0 if encoder.loudest_ is None else encoder.loudest_,
            ]
            finite = np.isfinite([encoder.fs, encoder.n_samples, *told]).all()
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"encoder.json is damaged ({error}); fit again") from error
        if sizes[1] != numbers:
            raise RunError(f"encoder.json has {sizes[1]} numbers, not {numbers}: an older one; fit again")
        if sizes != (len(leads), numbers, numbers) or not finite:
            raise RunError("encoder.json is damaged (its scales do not fit its leads); fit again")
        return encoder
