"""What the trained critic makes of ECGs: the attack on membership of whoever holds the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import RunError
from ecgveil.models.contract import looked
from ecgveil.training.conditioning import encode
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder

_BATCH = 32
_LOOKS = 8  # a critic that sees random crops looks so often


@torch.no_grad()
def critic_scores(folder: RunFolder, train: ECGSet, holdout: ECGSet, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the run's critic, the higher the more real to it (Hayes et al., PoPETs 2019(1):133).

    ECGs of both sets are scored together, in batches drawn at random: a critic may judge a batch as a whole.

    Parameters
    ----------
    folder : a run with its training state
    train, holdout : ECGs in the run's form
    seed : of batches and crops

    Returns
    -------
    (n_train,), (n_holdout,)
        ECGs that cannot be taken apart, where the run's encoder does that, have the lowest score of all: whoever
        attacks knows as well that none of them was learned.

    Raises
    ------
    RunError
        The state is missing or damaged.
    """
    critic = _critic(folder, seed)
    both = concat([train, holdout])
    rows_read = folder.encoder.readable(both) if hasattr(folder.encoder, "readable") else np.arange(len(both))
    if len(rows_read) < 2:
        raise RunError(
            f"{len(rows_read)} of {len(both)} ECGs have beats that can be read; the critic judges 2 at least"
        )
    everything, both = len(both), both.take(rows_read.tolist())
    windows, _ = folder.encoder.encode(both)
    conditions = encode(folder.conditions, both)
    rng, crops = np.random.default_rng([seed, 50]), torch.Generator().manual_seed(seed)
    scores = np.zeros(len(windows))
    batches = -(-len(windows) // _BATCH)  # of about equal size: a batch of one has no variety to be judged by
    for _ in range(_LOOKS):
        for rows in np.array_split(rng.permutation(len(windows)), batches):
            told = {} if conditions is None else {"condition": torch.from_numpy(conditions[rows])}
            scores[rows] += (
                critic(looked(critic, torch.from_numpy(windows[rows])), crops, **told).flatten(1).mean(dim=1).numpy()
            )
    all_scores = np.full(everything, scores.min() / _LOOKS)
    all_scores[rows_read] = scores / _LOOKS
    return all_scores[: len(train)], all_scores[len(train) :]


@torch.no_grad()
def class_logits(folder: RunFolder, ecgs: ECGSet, *, seed: int = 0) -> np.ndarray:
    """What the class head of the run's critic gives each ECG, (n, n_conditions); the largest is the class it calls.

    ECGs are judged in batches drawn at random.

    Raises
    ------
    RunError
        The state is missing or damaged.
    """
    critic: Any = _critic(folder, seed)
    windows, _ = folder.encoder.encode(ecgs)
    rng, order = torch.Generator().manual_seed(seed), np.random.default_rng([seed, 51]).permutation(len(windows))
    logits = np.empty((len(windows), folder.context.n_conditions), np.float32)
    for rows in np.array_split(order, max(1, len(windows) // _BATCH)):  # at random: it may judge a batch as a whole
        logits[rows] = critic.classified(torch.from_numpy(windows[rows]), rng)[1].numpy()
    return logits


def _critic(folder: RunFolder, seed: int) -> nn.Module:
    return Players.saved(folder, seed).critic.eval()
