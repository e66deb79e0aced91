"""What critic and generator minimise: one pair of short functions for each published objective.

Each critic loss takes (critic, pair, rng, settings, step), each generator loss (critic, pair, rng, settings); scores
are (B, n). The objectives with an auxiliary classifier ask `critic.classified(x, rng)` for scores and class logits
(B, n_conditions).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from ecgveil.recipe import TrainingSettings

    Settings = TrainingSettings


class Pair(NamedTuple):
    """Real and synthetic windows (B, ...), made for the same conditions (B, n_conditions)."""

    real: Tensor
    fake: Tensor
    condition: Tensor | None = None


def _score(critic: Any, x: Tensor, rng: torch.Generator, condition: Tensor | None) -> Tensor:
    """In float32, whatever precision the critic works in: losses are differences of scores."""
    return critic(x, rng, condition).float()


def _classified(critic: Any, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    scores, classes = critic.classified(x, rng)
    return scores.float(), classes.float()


def _exact(x: Tensor) -> torch.autocast:
    """Gradients that are differentiated again are taken in float32 throughout."""
    return torch.autocast(x.device.type, enabled=False)


def _gradient_norm2(scores: Tensor, x: Tensor) -> Tensor:
    """Squared norm of d scores / d x for each sample, (B,)."""
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1)


def _sources(on_real: Tensor, on_fake: Tensor, settings: Settings) -> Tensor:
    """Cross entropy of real and synthetic; real targets lowered by one-sided label smoothing (Salimans 2016)."""
    target = torch.full_like(on_real, 1.0 - settings.label_smoothing)
    return F.binary_cross_entropy_with_logits(on_real, target) + F.softplus(on_fake).mean()


def _classes(logits: Tensor, pair: Pair, settings: Settings) -> Tensor:
    """Cross entropy of exclusive classes: each row of the condition has a single 1."""
    assert pair.condition is not None  # the recipe was checked for it
    return settings.class_weight * F.cross_entropy(logits, pair.condition.argmax(dim=1))


def bce_critic(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings, step: int) -> Tensor:
    """Goodfellow 2014, eq. 1."""
    real, fake, condition = pair
    return _sources(_score(critic, real, rng, condition), _score(critic, fake, rng, condition), settings)


def bce_generator(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings) -> Tensor:
    """The non-saturating form, Goodfellow 2014, section 3."""
    return F.softplus(-_score(critic, pair.fake, rng, pair.condition)).mean()


def acgan_critic(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings, step: int) -> Tensor:
    """Odena 2017, eq. 2 and 3, and P1 eq. 4: source and class, of real and synthetic."""
    on_real, class_real = _classified(critic, pair.real, rng)
    on_fake, class_fake = _classified(critic, pair.fake, rng)
    classes = _classes(class_real, pair, settings) + _classes(class_fake, pair, settings)
    return _sources(on_real, on_fake, settings) + classes


def acgan_generator(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings) -> Tensor:
    """L_C - L_S, the source part in its non-saturating form."""
    on_fake, class_fake = _classified(critic, pair.fake, rng)
    return F.softplus(-on_fake).mean() + _classes(class_fake, pair, settings)


def wgan_gp_critic(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings, step: int) -> Tensor:
    """Gulrajani 2017, algorithm 1."""
    real, fake, condition = pair
    mix = torch.rand(real.shape[0], *[1] * (real.ndim - 1), generator=rng).to(real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    with _exact(between):
        penalty = (_gradient_norm2(critic(between, rng, condition), between).add(1e-12).sqrt() - 1).square().mean()
    distance = _score(critic, fake, rng, condition).mean() - _score(critic, real, rng, condition).mean()
    return distance + settings.penalty * penalty


def wgan_generator(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings) -> Tensor:
    return -_score(critic, pair.fake, rng, pair.condition).mean()


def ac_wgan_gp_critic(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings, step: int) -> Tensor:
    """WGAN-GP, and the class of the real ones: what a weak generator makes is no teacher of classes."""
    _, class_real = _classified(critic, pair.real, rng)
    return wgan_gp_critic(critic, pair, rng, settings, step) + _classes(class_real, pair, settings)


def ac_wgan_generator(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings) -> Tensor:
    on_fake, class_fake = _classified(critic, pair.fake, rng)
    return -on_fake.mean() + _classes(class_fake, pair, settings)


def _twice(critic: Any, pair: Pair, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores of real and synthetic with the same random crop, so that they are comparable patch by patch."""
    state = rng.get_state()
    on_real = _score(critic, pair.real, rng, pair.condition)
    rng.set_state(state)
    return on_real, _score(critic, pair.fake, rng, pair.condition)


def relativistic_critic(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings, step: int) -> Tensor:
    """Relativistic pairing with zero-centred R1 + R2 (Huang 2024, R3GAN), penalties every `penalty_every` steps."""
    if step % settings.penalty_every:
        on_real, on_fake = _twice(critic, pair, rng)
        return F.softplus(on_fake - on_real).mean()
    real, fake = (each.detach().requires_grad_(True) for each in (pair.real, pair.fake))
    with _exact(real):
        on_real, on_fake = _twice(critic, Pair(real, fake, pair.condition), rng)
        norms = _gradient_norm2(on_real.mean(1), real) + _gradient_norm2(on_fake.mean(1), fake)
    penalty = 0.5 * settings.penalty * settings.penalty_every * norms.mean()
    return F.softplus(on_fake - on_real).mean() + penalty


def relativistic_generator(critic: Any, pair: Pair, rng: torch.Generator, settings: Settings) -> Tensor:
    on_real, on_fake = _twice(critic, pair, rng)
    return F.softplus(on_real - on_fake).mean()


class Objective(NamedTuple):
    critic_loss: Callable[..., Tensor]
    generator_loss: Callable[..., Tensor]
    classifies: bool = False  # needs a critic with a class head, and exclusive classes
    penalised: bool = False  # by gradients of each window: the critic must not judge a batch as a whole


OBJECTIVES = {
    "bce": Objective(bce_critic, bce_generator),
    "wgan-gp": Objective(wgan_gp_critic, wgan_generator, penalised=True),
    "acgan": Objective(acgan_critic, acgan_generator, classifies=True),
    "ac-wgan-gp": Objective(ac_wgan_gp_critic, ac_wgan_generator, classifies=True, penalised=True),
    "relativistic": Objective(relativistic_critic, relativistic_generator, penalised=True),
}
