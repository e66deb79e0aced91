"""Run folder -> synthetic ECGs.

Sample k depends on (weights, seed, k) alone; see `models.draw`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import nn

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RunError
from ecgveil.formats.wfdb_write import UNITS_PER_MV, quantise
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.models import MODELS
from ecgveil.models.contract import Context
from ecgveil.models.draw import BLOCK, draw
from ecgveil.training.run import RunFolder


class Run:
    """A trained generator, ready to draw from; made by `load`."""

    def __init__(self, folder: RunFolder):
        self.folder, self.encoder, self.recipe = folder, folder.encoder, folder.recipe
        weights, self.step = folder.load_weights()
        self.steps = folder.total_steps
        model = MODELS[self.recipe.model["architecture"]]
        context = Context(self.encoder.shape, self.recipe.data.fs, folder.rhythm)
        self.generator: nn.Module = model.generator(self.recipe.model_settings(), context)
        try:
            self.generator.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"{folder.path}: weights.safetensors does not fit recipe.toml; fit again") from error
        self.generator.requires_grad_(False).eval()

    def stream(self, number: int, *, seed: int = 0, batch_size: int = 64) -> Iterator[ECGSet]:
        """`number` synthetic ECGs in batches, 12 leads where the model has the 8 independent ones.

        Records are named synthetic_000000 and on; values lie on a grid of 1 uV.

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
                ready = np.concatenate([ready, draw(self.generator, seed, drawn, drawn + BLOCK)])
                drawn += BLOCK
            yield self._ecgs(ready[:size], first)
            ready = ready[size:]

    def sample(self, number: int, *, seed: int = 0, batch_size: int = 64) -> ECGSet:
        """`number` synthetic ECGs as one set; see `stream`."""
        batches = list(self.stream(number, seed=seed, batch_size=batch_size))
        signal = np.concatenate([batch.signal for batch in batches])
        names = tuple(name for batch in batches for name in batch.record_name)
        return ECGSet(signal, batches[0].fs, batches[0].leads, names)

    def _ecgs(self, tensor: np.ndarray, first: int) -> ECGSet:
        """On the 1 uV grid of written records, so that restored limb leads are exact there too."""
        signal, leads = self.encoder.decode(tensor), self.encoder.leads
        units, leads = (quantise(signal), LEADS_12) if leads == LEADS_8 else (np.rint(signal * UNITS_PER_MV), leads)
        names = tuple(f"synthetic_{k:06d}" for k in range(first, first + len(signal)))
        return ECGSet((units / UNITS_PER_MV).astype(np.float32), self.recipe.data.fs, leads, names)


def load(run: str | Path) -> Run:
    """The generator of a run folder; nothing is pickled, nothing executed.

    Raises
    ------
    RunError
        No such folder, no run, or a damaged one.
    """
    return Run(RunFolder(run))
