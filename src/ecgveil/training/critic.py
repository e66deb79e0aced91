"""What the trained critic makes of ECGs: the attack on membership of whoever holds the weights."""

from __future__ import annotations

import numpy as np
import torch

from ecgveil.ecg import ECGSet, concat
from ecgveil.training.loop import Players
from ecgveil.training.run import RunFolder
from ecgveil.training.tensors import load_tensors

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

    Raises
    ------
    RunError
        The state is missing or damaged.
    """
    players = Players(folder.recipe, folder.context, seed)
    players.load(load_tensors(folder.path / "state.safetensors")[0])
    critic = players.critic.eval()
    windows, _ = folder.encoder.encode(concat([train, holdout]))
    labels = [*train.labels, *holdout.labels]
    conditions = folder.conditions.encode(tuple(labels)) if folder.conditions else None
    rng, crops = np.random.default_rng([seed, 50]), torch.Generator().manual_seed(seed)
    scores = np.zeros(len(windows))
    batches = -(-len(windows) // _BATCH)  # of about equal size: a batch of one has no variety to be judged by
    for _ in range(_LOOKS):
        for rows in np.array_split(rng.permutation(len(windows)), batches):
            told = {} if conditions is None else {"condition": torch.from_numpy(conditions[rows])}
            scores[rows] += critic(torch.from_numpy(windows[rows]), crops, **told).flatten(1).mean(dim=1).numpy()
    return scores[: len(train)] / _LOOKS, scores[len(train) :] / _LOOKS
