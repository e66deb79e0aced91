"""What critic and generator minimise: one pair of short functions for each published objective.

Each critic loss takes (critic, real, fake, rng, settings, step) and each generator loss (critic, real, fake, rng);
`real` and `fake` are (B, ...), scores are (B, n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from ecgveil.recipe import TrainingSettings


def _gradient_norm2(scores: Tensor, x: Tensor) -> Tensor:
    """Squared norm of d scores / d x for each sample, (B,)."""
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1)


def bce_critic(
    critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator, settings: TrainingSettings, step: int
) -> Tensor:
    """Goodfellow 2014, eq. 1; real targets lowered by one-sided label smoothing (Salimans 2016)."""
    on_real, on_fake = critic(real, rng), critic(fake, rng)
    target = torch.full_like(on_real, 1.0 - settings.label_smoothing)
    return F.binary_cross_entropy_with_logits(on_real, target) + F.softplus(on_fake).mean()


def bce_generator(critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """The non-saturating form, Goodfellow 2014, section 3."""
    return F.softplus(-critic(fake, rng)).mean()


def wgan_gp_critic(
    critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator, settings: TrainingSettings, step: int
) -> Tensor:
    """Gulrajani 2017, algorithm 1."""
    mix = torch.rand(real.shape[0], *[1] * (real.ndim - 1), generator=rng).to(real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    penalty = (_gradient_norm2(critic(between, rng), between).add(1e-12).sqrt() - 1).square().mean()
    return critic(fake, rng).mean() - critic(real, rng).mean() + settings.penalty * penalty


def wgan_generator(critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    return -critic(fake, rng).mean()


def _twice(critic: nn.Module, first: Tensor, second: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores of both batches with the same random crop, so that they are comparable patch by patch."""
    state = rng.get_state()
    on_first = critic(first, rng)
    rng.set_state(state)
    return on_first, critic(second, rng)


def relativistic_critic(
    critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator, settings: TrainingSettings, step: int
) -> Tensor:
    """Relativistic pairing with zero-centred R1 + R2 (Huang 2024, R3GAN), penalties every `penalty_every` steps."""
    penalised = step % settings.penalty_every == 0
    if penalised:
        real, fake = real.detach().requires_grad_(True), fake.detach().requires_grad_(True)
    on_real, on_fake = _twice(critic, real, fake, rng)
    loss = F.softplus(on_fake - on_real).mean()
    if penalised:
        norms = _gradient_norm2(on_real.mean(1), real) + _gradient_norm2(on_fake.mean(1), fake)
        loss = loss + 0.5 * settings.penalty * settings.penalty_every * norms.mean()
    return loss


def relativistic_generator(critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    on_real, on_fake = _twice(critic, real, fake, rng)
    return F.softplus(on_real - on_fake).mean()


class Objective(NamedTuple):
    critic_loss: Callable[..., Tensor]
    generator_loss: Callable[..., Tensor]


OBJECTIVES = {
    "bce": Objective(bce_critic, bce_generator),
    "wgan-gp": Objective(wgan_gp_critic, wgan_generator),
    "relativistic": Objective(relativistic_critic, relativistic_generator),
}
