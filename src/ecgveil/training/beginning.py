"""Where training begins when it goes on from another run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ecgveil.base import find_run
from ecgveil.errors import ConfigError, RunError
from ecgveil.models import MODELS
from ecgveil.recipe import Recipe
from ecgveil.training.run import RunFolder

_FORM = ("kind", "leads", "fs", "n_samples", "units")
_LEARNED = ("labels", "exclusive", "other", "conditions")


def begun_from(base: str | Path, recipe: Recipe) -> RunFolder:
    """The run that training is to go on from.

    Raises
    ------
    ConfigError, RunError
        Its weights would not fit the recipe or would mean something else; it is missing or damaged.
    """
    start = RunFolder(find_run(base))
    there, here = _form(start.recipe), _form(recipe)
    if MODELS[recipe.model["architecture"]].may_learn_conditions and start.conditions is None:
        here["data"] |= {key: there["data"][key] for key in _LEARNED}
    if differing := told_apart(there, here):
        raise ConfigError(
            f"{base} is no run to go on from with recipe {recipe.name}; "
            f"give recipe {start.recipe.name} as it was there ({differing})"
        )
    return start


def _form(recipe: Recipe) -> dict[str, Any]:
    """What weights depend on."""
    data = recipe.data.model_dump()
    return {
        "data": {key: data.get(key) for key in (*_FORM, *_LEARNED)},
        "encoder": recipe.encoder.model_dump(),
        "model": recipe.model,
    }


def origin(start: RunFolder | None) -> dict[str, str]:
    """What provenance says of the run that this one goes on from."""
    if start is None:
        return {}
    path = start.path / "state.safetensors"
    if not path.is_file():
        raise RunError(f"{start.path} has no state.safetensors, where training begins from; give a whole run folder")
    return {"base_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def inherited(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights, by name, of players that learn conditions from those of players that learned none.

    Layers that hear a condition are wider, at the end of what they hear: there they begin with 0, so that at first a
    condition changes nothing. Layers that only a condition needs are the new ones.
    """

    def wider(tensor: Tensor, to: Tensor) -> Tensor:
        return F.pad(tensor, (0, to.shape[-1] - tensor.shape[-1])) if tensor.ndim == 2 else tensor

    return {name: wider(old[name], each) if name in old else each for name, each in new.items()}


def told_apart(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The settings in which two tables differ; '' where they are equal."""
    one, two = _flat(old), _flat(new)
    return ", ".join(
        f"{key} {one.get(key)} there, {two.get(key)} here"
        for key in sorted(one.keys() | two.keys())
        if one.get(key) != two.get(key)
    )


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found
