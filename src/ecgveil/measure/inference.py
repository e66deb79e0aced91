"""The delineating network at work: ECGs at 250 Hz in, probabilities out."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ecgveil.measure.network import Delineator

CLASSES = {"p": 1, "N": 2, "t": 3}  # by their WFDB symbols; 0 is none of them
_FLAT = 1e-6  # of the largest lead
_BATCH = 32


@lru_cache(maxsize=1)
def delineator() -> Delineator:
    """The network with the weights that ship with the package."""
    from safetensors.torch import load

    from ecgveil.measure.network import Delineator

    network = Delineator()
    network.load_state_dict(load(files("ecgveil.measure").joinpath("delineator.safetensors").read_bytes()))
    return network.eval()


def probabilities(signal: np.ndarray, network: Delineator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each class, for each lead and for all leads together.

    Parameters
    ----------
    signal : float32 (n, L, T) at 250 Hz, any unit, high-passed
    network : default, the one that ships with the package

    Returns
    -------
    by_lead : float32 (n, L, 4, T)
    overall : float32 (n, 4, T)
    """
    import torch

    from ecgveil.measure.network import STRIDE

    network = network or delineator()
    n, _, size = signal.shape
    fill = -size % STRIDE
    by_lead, overall = [], []
    for start in range(0, n, _BATCH):
        scaled, present = scale(signal[start : start + _BATCH])
        scaled = np.pad(scaled, ((0, 0), (0, 0), (0, fill)), mode="edge" if size else "empty")
        with torch.inference_mode():
            leads, trunk = network(torch.from_numpy(scaled), torch.from_numpy(present))
            by_lead.append(torch.softmax(leads, 2)[..., :size].numpy())
            overall.append(torch.softmax(trunk, 1)[..., :size].numpy())
    return np.concatenate(by_lead), np.concatenate(overall)


def scale(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each lead at unit spread, and which leads carry anything; (n, L, T) -> (n, L, T), bool (n, L)."""
    spread = signal.std(axis=-1)
    present = spread > _FLAT * np.maximum(spread.max(axis=1, keepdims=True), 1e-30)
    scaled = np.where(present[..., None], signal / np.where(present, spread, 1)[..., None], 0)
    return scaled.astype(np.float32), present
