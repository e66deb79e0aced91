"""Run folder -> synthetic ECGs.

Sample k depends on (weights, seed, k) alone; see `models.draw`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from ecgveil.base import FOLDER, NAME, find_run
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RunError
from ecgveil.formats.wfdb_write import UNITS_PER_MV, quantise
from ecgveil.kinds import KINDS, DataSet
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.models import MODELS
from ecgveil.models.conditions import Shown
from ecgveil.models.draw import BLOCK, draw, draw_conditions
from ecgveil.rhythm import PACES_BPM, Paced
from ecgveil.threads import Done, side_by_side
from ecgveil.training.run import RunFolder

Span = float | tuple[float, float]


class Run:
    """A trained generator, ready to draw from; made by `load`."""

    def __init__(self, folder: RunFolder, snapshot: int | None = None):
        self.folder, self.encoder, self.recipe = folder, folder.encoder, folder.recipe
        self.name = NAME if folder.path == FOLDER else str(folder.path)
        self.conditions = folder.conditions
        self.asked = ""  # beside what each record bears: the heart rate
        weights, self.step = folder.load_weights(snapshot)
        self.steps = folder.total_steps
        model = MODELS[self.recipe.model["architecture"]]
        self.generator: nn.Module = model.generator(self.recipe.model_settings(), folder.context)
        try:
            self.generator.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"{folder.path}: weights.safetensors does not fit recipe.toml; fit again") from error
        self.generator.requires_grad_(False).eval()

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return self.step >= self.steps

    def bearing(
        self,
        labels: Sequence[str] = (),
        sex: str | None = None,
        age: Span | None = None,
        heart_rate: Span | None = None,
    ) -> Run:
        """The same generator, for ECGs of what is asked for; all else goes along as often as it does in people.

        Parameters
        ----------
        labels : that every ECG shall bear
        sex : 'female' or 'male'
        age : whole years, or (from, to); drawn as the training population has it between them
        heart_rate : bpm, or (from, to), likewise

        Raises
        ------
        ConfigError
            The run has not learned what is asked for, or from too few people of whom all of it is true.
        """
        asked = {"age": age, "heart_rate": heart_rate}
        ranges = {name: _range(name, span) for name, span in asked.items() if span is not None}
        if sex not in (None, "female", "male"):
            raise ConfigError(f"sex is '{sex}'; ask for female or male, or for none")
        if not labels and sex is None and not ranges:
            return self
        narrowed = copy.copy(self)
        if "heart_rate" in ranges:
            low, high = (f"{bpm:g}" for bpm in ranges["heart_rate"])
            narrowed.asked = f"a heart rate of {low if low == high else f'{low} to {high}'} bpm"
            if not (self.conditions and "heart_rate" in self.conditions.learns):
                narrowed._pace(*ranges.pop("heart_rate"))
        if not labels and sex is None and not ranges:
            return narrowed
        if self.conditions is None:
            raise ConfigError(
                f"{self.name} was trained without labels; fit a recipe with data.labels, such as superclass"
                if labels
                else f"{self.name} was trained on signals alone; fit a recipe with data.conditions, such as "
                "veil-conditional"
            )
        narrowed.conditions = self.conditions.bearing(labels, sex, ranges)
        return narrowed

    def _pace(self, low: float, high: float) -> None:
        """To heart rates that it has not learned as a condition: the rhythm is told from outside."""
        if self.folder.rhythm is None:
            raise ConfigError(
                f"{self.name} has not learned the heart rate; fit one that learns the rhythm, such as veil, "
                "or one with 'heart_rate' in data.conditions, such as veil-conditional"
            )
        if not PACES_BPM[0] <= low <= high <= PACES_BPM[1]:
            raise ConfigError(
                f"heart_rate is asked for from {low:g} to {high:g}; give bpm from {PACES_BPM[0]:g} to {PACES_BPM[1]:g}"
            )
        self.generator = copy.copy(self.generator)
        self.generator.rhythm = Paced(self.folder.rhythm, low, high)  # type: ignore[assignment]

    def stream(self, number: int, *, seed: int = 0, batch_size: int = 64) -> Iterator[DataSet]:
        """`number` synthetic ECGs in batches, 12 leads where the model has the 8 independent ones.

        Records are named synthetic_000000 and on; values lie on a grid of 1 uV (or 0.001 sd). Where the run learned
        labels, sex or age, each record bears those that it was drawn for. A run that learned from a table or from
        images gives TableSets or ImageSets. A batch is of `batch_size`, rounded up to whole blocks of the network.

        Raises
        ------
        ConfigError
            `number` or `batch_size` is not positive, or `seed` is negative.
        """
        yield from self.each(lambda batch: batch, number, seed=seed, batch_size=batch_size)

    def each(
        self, work: Callable[[DataSet], Done], number: int, *, seed: int = 0, batch_size: int = 64
    ) -> Iterator[Done]:
        """What `work` makes of each batch of `stream`, in order; the batches are made and worked on side by side.

        `work` is called in threads; see `threads.side_by_side`. Errors as `stream`.
        """
        yield from side_by_side(lambda span: work(self._made(span, seed)), _spans(number, seed, batch_size))

    def tensors(self, number: int, *, seed: int = 0, batch_size: int = 64) -> Iterator[np.ndarray]:
        """The same samples as the network gives them, (n, *encoder.shape); see `stream`."""
        for span in _spans(number, seed, batch_size):
            yield draw(self.generator, seed, *span, self.conditions)

    def sample(self, number: int, *, seed: int = 0, batch_size: int = 64) -> DataSet:
        """`number` synthetic ECGs as one set; see `stream`."""
        return KINDS[self.recipe.data.kind].join(list(self.stream(number, seed=seed, batch_size=batch_size)))

    def null_share(self, number: int, seed: int = 0) -> float:
        """Of a run that learned from a table: share of its first `number` rows whose NULL area is all 0 (P1 Fig. 6)."""
        return self.encoder.null_share(np.concatenate(list(self.tensors(number, seed=seed))))

    def _made(self, span: tuple[int, int], seed: int) -> DataSet:
        tensor = draw(self.generator, seed, *span, self.conditions)
        if self.recipe.data.kind == "ecg":
            return self._ecgs(tensor, span[0], seed)
        return self.encoder.decode(tensor, span[0])

    def _ecgs(self, tensor: np.ndarray, first: int, seed: int) -> ECGSet:
        """On the 1 uV grid of written records, so that restored limb leads are exact there too."""
        signal, leads, data = self.encoder.decode(tensor), self.encoder.leads, self.recipe.data
        if not np.isfinite(signal).all():
            raise RunError(f"{self.folder.path}: what it makes is no numbers, as its training diverged; fit again")
        if leads == LEADS_8 and data.units == "mV":  # in sd, III = II - I no longer holds, and none is restored
            counts, leads = quantise(signal), LEADS_12
        else:
            counts = np.rint(signal * UNITS_PER_MV)
        last = first + len(signal)
        shown: list[Shown] = []
        if self.conditions is not None:
            shown = [self.conditions.shown(each) for each in draw_conditions(self.conditions, seed, first, last)]
        return ECGSet(
            signal=np.divide(counts, np.float32(UNITS_PER_MV), dtype=np.float32),
            fs=data.fs,
            leads=leads,
            record_name=tuple(f"synthetic_{k:06d}" for k in range(first, last)),
            labels=tuple(each.labels for each in shown),
            age=np.array([each.age for each in shown], np.float32),
            sex=tuple(each.sex for each in shown),
            units=data.units,
        )


def _spans(number: int, seed: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Samples from where to where are drawn together: in whole blocks, so that none is drawn twice."""
    for name, value, least in (("number", number, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}")
    size = -(-batch_size // BLOCK) * BLOCK
    return ((first, min(first + size, number)) for first in range(0, number, size))


def _range(name: str, span: Span) -> tuple[float, float]:
    """(low, high) of what was asked for."""
    try:
        low, high = (float(each) for each in (span if isinstance(span, tuple | list) else (span, span)))
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {span!r}; ask for a number, or for (from, to)") from None
    if not 0 <= low <= high < np.inf:
        raise ConfigError(f"{name} is asked for from {low:g} to {high:g}; give two numbers from 0 up, the lower first")
    if name == "age" and (low % 1 or high % 1):
        raise ConfigError(f"age is asked for from {low:g} to {high:g}; give whole years")
    return low, high


def load(run: str | Path, *, snapshot: int | None = None) -> Run:
    """The generator of a run folder; nothing is pickled, nothing executed.

    Parameters
    ----------
    run : folder, or 'base' for the model that ships
    snapshot : step along training whose generator is wanted, one of `RunFolder.snapshots`; default: the one to sample

    Raises
    ------
    RunError
        No such folder, no run, or a damaged one.
    """
    folder = find_run(run)
    try:
        return Run(RunFolder(folder), snapshot)
    except RunError as error:
        if folder != FOLDER or snapshot is not None:
            raise
        raise RunError(f"the model that ships is damaged here; install ecgveil again ({error})") from error
