"""Encoder = standardize . arrange: the only seam between signals and models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ecgveil.arrange import ARRANGEMENTS, Arrangement, arrangement, arrangement_settings
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RunError
from ecgveil.standardize import STANDARDIZERS


@dataclass
class Encoder:
    """Signals of one fixed form -> tensors in about [-1, 1], and back.

    Parameters
    ----------
    leads, fs, n_samples : the form of every signal
    standardize : a fitted standardizer (step 1)
    arrange : an arrangement (step 2)
    names : of the two
    layout : the arrangement's own settings
    """

    leads: tuple[str, ...]
    fs: float
    n_samples: int
    standardize: Any
    arrange: Arrangement
    names: tuple[str, str]
    layout: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, train: ECGSet, standardize: str, arrange: str, **settings: Any) -> Encoder:
        """Fit on the training part alone; `settings` that are not the arrangement's own go to the standardizer.

        Raises
        ------
        ConfigError
            Unknown standardizer or arrangement, or a length that the arrangement cannot take.
        """
        choices: list[tuple[str, str, dict[str, Any]]] = [
            ("standardizer", standardize, STANDARDIZERS),
            ("arrangement", arrange, ARRANGEMENTS),
        ]
        for kind, name, known in choices:
            if name not in known:
                raise ConfigError(f"unknown {kind} '{name}'; there are {', '.join(known)}")
        layout = {name: settings.pop(name) for name in arrangement_settings(arrange) & settings.keys()}
        arranged = arrangement(arrange, len(train.leads), train.n_samples, **layout)
        fitted = STANDARDIZERS[standardize](**settings).fit(train.signal)
        return cls(train.leads, train.fs, train.n_samples, fitted, arranged, (standardize, arrange), layout)

    @property
    def shape(self) -> tuple[int, ...]:
        """Tensor shape of one sample."""
        return self.arrange.shape

    @property
    def step_mv(self) -> float:
        """The stated quantisation: how far decode(encode(x)) may be from x where nothing was cut."""
        return self.standardize.step_mv

    def encode(self, ecgs: ECGSet) -> tuple[np.ndarray, np.ndarray | None]:
        """Tensor (n, *shape) float32, and the side values for the exact inverse (None where none are needed)."""
        if (ecgs.leads, ecgs.fs, ecgs.n_samples) != (self.leads, self.fs, self.n_samples):
            raise ConfigError(
                f"the encoder takes {self.n_samples} samples of {', '.join(self.leads)} at {self.fs:g} Hz, "
                f"not {ecgs.n_samples} of {', '.join(ecgs.leads)} at {ecgs.fs:g} Hz"
            )
        values, side = self.standardize.forward(ecgs.signal)
        return self.arrange.forward(values.astype(np.float32)), side

    def decode(self, tensor: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        """(n, *shape) -> mV float32 (n, n_leads, n_samples); without `side`, a typical value stands in."""
        return self.standardize.back(self.arrange.back(tensor), side).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {
            "leads": list(self.leads),
            "fs": self.fs,
            "n_samples": self.n_samples,
            "standardize": self.names[0],
            "arrange": self.names[1],
            "layout": self.layout,
            "fitted": vars(self.standardize),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Encoder:
        try:
            standardize = STANDARDIZERS[data["standardize"]]()
            if vars(standardize).keys() != data["fitted"].keys():
                raise KeyError("fitted")
            vars(standardize).update(data["fitted"])
            leads, n_samples = tuple(data["leads"]), data["n_samples"]
            layout = data.get("layout", {})  # absent before arrangements had settings
            arranged = arrangement(data["arrange"], len(leads), n_samples, **layout)
            names = (data["standardize"], data["arrange"])
            return cls(leads, data["fs"], n_samples, standardize, arranged, names, layout)
        except (KeyError, TypeError, ConfigError) as error:
            raise RunError(f"encoder.json is damaged ({error}); fit again") from error
