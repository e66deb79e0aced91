"""Run folder -> synthetic ECGs.

Sample k depends on (weights, seed, k) alone; see `models.draw`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import ConfigError, RunError
from ecgveil.formats.wfdb_write import UNITS_PER_MV, quantise
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.models import MODELS
from ecgveil.models.draw import BLOCK, draw, draw_conditions
from ecgveil.training.run import RunFolder


class Run:
    """A trained generator, ready to draw from; made by `load`."""

    def __init__(self, folder: RunFolder):
        self.folder, self.encoder, self.recipe = folder, folder.encoder, folder.recipe
        self.conditions = folder.conditions
        weights, self.step = folder.load_weights()
        self.steps = folder.total_steps
        model = MODELS[self.recipe.model["architecture"]]
        self.generator: nn.Module = model.generator(self.recipe.model_settings(), folder.context)
        try:
            self.generator.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"{folder.path}: weights.safetensors does not fit recipe.toml; fit again") from error
        self.generator.requires_grad_(False).eval()

    def bearing(self, labels: Sequence[str]) -> Run:
        """The same generator, for ECGs that bear all of `labels` and others as often as these go along with them.

        Raises
        ------
        ConfigError
            The run has learned no labels, or not these, or from too few people who bear them together.
        """
        if not labels:
            return self
        if self.conditions is None:
            raise ConfigError(
                f"{self.folder.path} was trained without labels; fit a recipe with data.labels, such as superclass"
            )
        narrowed = copy.copy(self)
        narrowed.conditions = self.conditions.bearing(labels)
        return narrowed

    def stream(self, number: int, *, seed: int = 0, batch_size: int = 64) -> Iterator[ECGSet]:
        """`number` synthetic ECGs in batches, 12 leads where the model has the 8 independent ones.

        Records are named synthetic_000000 and on; values lie on a grid of 1 uV (or 0.001 sd). Where the run learned
        labels, each record bears those that it was drawn for.

        Raises
        ------
        ConfigError
            `number` or `batch_size` is not positive, or `seed` is negative.
        """
        for name, value, least in (("number", number, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
            if value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")
        # The blocks of the network and the batches asked for need not match: what is left over is kept.
        ready = np.empty((0, *self.encoder.shape), np.float32)
        drawn = 0
        for first in range(0, number, batch_size):
            size = min(batch_size, number - first)
            while len(ready) < size:
                more = draw(self.generator, seed, drawn, drawn + BLOCK, self.conditions)
                ready = np.concatenate([ready, more])
                drawn += BLOCK
            yield self._ecgs(ready[:size], first, seed)
            ready = ready[size:]

    def sample(self, number: int, *, seed: int = 0, batch_size: int = 64) -> ECGSet:
        """`number` synthetic ECGs as one set; see `stream`."""
        return concat(list(self.stream(number, seed=seed, batch_size=batch_size)))

    def _ecgs(self, tensor: np.ndarray, first: int, seed: int) -> ECGSet:
        """On the 1 uV grid of written records, so that restored limb leads are exact there too."""
        signal, leads, data = self.encoder.decode(tensor), self.encoder.leads, self.recipe.data
        if leads == LEADS_8 and data.units == "mV":  # in sd, III = II - I no longer holds, and none is restored
            counts, leads = quantise(signal), LEADS_12
        else:
            counts = np.rint(signal * UNITS_PER_MV)
        last = first + len(signal)
        labels: tuple[tuple[str, ...], ...] = ()
        if self.conditions is not None:
            borne = draw_conditions(self.conditions, seed, first, last)
            labels = tuple(self.conditions.decode(each) for each in borne)
        return ECGSet(
            signal=(counts / UNITS_PER_MV).astype(np.float32),
            fs=data.fs,
            leads=leads,
            record_name=tuple(f"synthetic_{k:06d}" for k in range(first, last)),
            labels=labels,
            units=data.units,
        )


def load(run: str | Path) -> Run:
    """The generator of a run folder; nothing is pickled, nothing executed.

    Raises
    ------
    RunError
        No such folder, no run, or a damaged one.
    """
    return Run(RunFolder(run))
