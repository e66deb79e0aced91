"""The two players of an adversarial pair, and all of their state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecgveil.errors import RunError
from ecgveil.models import MODELS
from ecgveil.models.contract import Context
from ecgveil.recipe import Recipe
from ecgveil.streams import INITIAL, stream
from ecgveil.training.run import RunFolder
from ecgveil.training.tensors import load_tensors


class Players:
    """Generator, critic, the averaged generator, and their optimizers."""

    def __init__(self, recipe: Recipe, context: Context, seed: int):
        model, settings, t = MODELS[recipe.model["architecture"]], recipe.model_settings(), recipe.training
        with torch.random.fork_rng(devices=[]):  # torch draws initial weights from its global stream only
            torch.manual_seed(int(stream(seed, INITIAL).integers(2**63)))
            self.generator: Any = model.generator(settings, context)
            self.critic: Any = model.critic(settings, context)
            self.average: nn.Module = model.generator(settings, context)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False).eval()
        self.optimizers = tuple(
            torch.optim.Adam(player.parameters(), t.learning_rate, betas=t.betas)
            for player in (self.generator, self.critic)
        )

    @classmethod
    def saved(cls, folder: RunFolder, seed: int) -> Players:
        """Those of a run, as of its last checkpoint; `seed` as for new ones.

        Raises
        ------
        RunError
            The state is missing, damaged or does not fit.
        """
        players = cls(folder.recipe, folder.context, seed)
        players.load(load_tensors(folder.path / "state.safetensors")[0])
        return players

    def to(self, device: torch.device) -> None:
        """Move all networks, and the moments that were loaded for them."""
        for module in (self.generator, self.critic, self.average):
            module.to(device)
        for optimizer in self.optimizers:
            for moments in optimizer.state.values():
                # Adam counts its steps where it is, whatever its weights are on.
                moments.update({name: each.to(device) for name, each in moments.items() if name != "step"})

    def weights_sum(self) -> float:
        """Of both players and the average: not finite where any weight is not."""
        each = [p.detach().sum() for net in (self.generator, self.critic, self.average) for p in net.parameters()]
        return float(torch.stack(each).sum())

    def state(self) -> dict[str, Tensor]:
        """All tensors under flat names; optimizer moments by parameter number."""
        flat = {}
        for name in ("generator", "critic", "average"):
            flat.update({f"{name}/{key}": value for key, value in getattr(self, name).state_dict().items()})
        for name, optimizer in zip(("generator", "critic"), self.optimizers, strict=True):
            for number, moments in optimizer.state_dict()["state"].items():
                flat.update({f"adam-{name}/{number}/{key}": value for key, value in moments.items()})
        return flat

    @staticmethod
    def networks(flat: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a `state` what is the networks', without that of their optimizers."""
        return {name: tensor for name, tensor in flat.items() if not name.startswith("adam-")}

    def load(self, flat: dict[str, Tensor]) -> None:
        try:
            for name in ("generator", "critic", "average"):
                prefix = f"{name}/"
                own = {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
                getattr(self, name).load_state_dict(own)
        except RuntimeError as error:
            raise RunError(
                "state.safetensors does not fit recipe.toml: it is damaged, or of another version of ecgveil; fit again"
            ) from error
        for name, optimizer in zip(("generator", "critic"), self.optimizers, strict=True):
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in flat.items():
                if key.startswith(f"adam-{name}/"):
                    _, number, moment = key.split("/")
                    moments.setdefault(int(number), {})[moment] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
