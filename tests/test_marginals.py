"""The distance of marginals: against its closed form, and what it pulls at."""

import numpy as np
import pytest
import torch

from ecgveil.models.veil_looks import _of_qrs, changed, groups, simple_features, spread
from ecgveil.rhythm import STATISTICS
from ecgveil.training.marginals import Marginals, _finer, _pull


def energy(x, y):
    """2 E|x - y| - E|x - x'|, the pairs of x with themselves left out."""
    n = len(x)
    return 2 * (x[:, None] - y).abs().mean() - (x[:, None] - x).abs().sum() / (n * (n - 1))


def test_the_pull_is_the_gradient_of_the_energy_distance():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(9, 1, generator=rng, requires_grad=True), 2 * torch.randn(50, 1, generator=rng)
    (expected,) = torch.autograd.grad(energy(x[:, 0], y[:, 0]), x)
    (found,) = torch.autograd.grad(_pull(x, y.T.sort(dim=1).values), x)
    torch.testing.assert_close(2 * found, expected)  # of half of it


def test_no_pull_on_the_population_itself():
    y = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (slope,) = torch.autograd.grad(_pull(x, y.T.sort(dim=1).values), x)
    assert slope.abs().max() * len(x) < 0.1
    (slope,) = torch.autograd.grad(_pull(x + 1, y.T.sort(dim=1).values), x)
    assert slope.sum() > 0.4  # towards it


def samples(n, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(0, scale * 0.1, (n, 2, 256)), axis=2).reshape(n, -1)
    return torch.tensor(np.hstack([smooth, rng.normal(size=(n, 10))]), dtype=torch.float32)


def test_descending_brings_the_spread_to_that_of_the_population():
    real = samples(200)
    marginals = Marginals(groups, real, torch.Generator().manual_seed(0))
    base, log_scale = samples(64, seed=1), torch.tensor(np.log(0.3), requires_grad=True)
    optimizer, rng = torch.optim.Adam([log_scale], 0.03), torch.Generator().manual_seed(3)
    for _ in range(150):
        optimizer.zero_grad()
        fake = torch.cat([base[:, :512] * log_scale.exp(), base[:, 512:]], dim=1).float()
        marginals.loss(fake, rng).backward()
        optimizer.step()
    assert log_scale.exp().item() == pytest.approx(1, abs=0.1)


def test_changes_leave_the_rhythm_and_half_of_the_samples_time_alone():
    x = samples(400)
    rng = torch.Generator().manual_seed(5)
    assert changed(x, 0.0, rng) is x
    y = changed(x, 0.15, rng)
    assert y.shape == x.shape
    torch.testing.assert_close(y[:, -len(STATISTICS) :], x[:, -len(STATISTICS) :])
    moved = (y - x)[:, :512].abs().mean(dim=1) / x[:, :512].abs().mean(dim=1)
    assert 0.01 < (moved < 0.05).double().mean() < 0.2  # all of five changes absent: 1 in 32 or so
    torch.testing.assert_close(
        changed(x, 0.15, torch.Generator().manual_seed(6)), changed(x, 0.15, torch.Generator().manual_seed(6))
    )


def test_features_are_finite_where_a_lead_is_flat():
    x = torch.zeros(3, 2, 256, requires_grad=True)
    found = torch.cat([each.flatten(1) for each in (simple_features(x), *_of_qrs(x))], dim=1)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("n", [5, 40])
def test_few_real_samples_will_do(n):
    marginals = Marginals(groups, samples(n), torch.Generator().manual_seed(0))
    assert torch.isfinite(marginals.loss(samples(8, seed=2), torch.Generator().manual_seed(0)))


def test_what_never_varies_pulls_at_nothing():
    real, fake = samples(60), samples(8, seed=2)
    real[:, 256:512] = 0.0
    fake.requires_grad_(True)
    Marginals(groups, real, torch.Generator().manual_seed(0)).loss(fake, torch.Generator().manual_seed(0)).backward()
    assert fake.grad[:, 256:512].norm() < fake.grad[:, :256].norm()


def test_a_label_of_few_is_brought_to_its_own_distribution():
    real, bears = samples(200), torch.zeros(200, 2)
    bears[:20, 0] = 1
    real[:20, :512] += 3.0  # whoever bears it lies higher
    marginals = Marginals(groups, real, torch.Generator().manual_seed(0), bears, labels=2)
    bearers, *like_hearts = marginals.groups  # the other label is borne by none
    whole, some = marginals.parts(np.random.default_rng(0))
    assert whole is None
    assert any(some is each for each in marginals.groups)
    assert bearers.rows.tolist() == list(range(20))
    assert [len(each.rows) for each in like_hearts] == [20, 50, 60, 50, 20]
    base, raised = samples(64, seed=1), torch.tensor(0.0, requires_grad=True)
    optimizer, rng = torch.optim.Adam([raised], 0.1), torch.Generator().manual_seed(3)
    for _ in range(150):
        optimizer.zero_grad()
        fake = torch.cat([base[:, :512] + raised, base[:, 512:]], dim=1)
        marginals.loss(fake, rng, torch.tensor([[1.0, 0.0]]).expand(64, -1), bearers).backward()
        optimizer.step()
    assert raised.item() == pytest.approx(3, abs=0.5)


def test_whoever_bears_a_label_counts_once_and_nine_are_too_few():
    real, bears = samples(40), torch.zeros(40, 1)
    bears[:30] = 1

    def of(people):
        marginals = Marginals(groups, real, torch.Generator().manual_seed(0), bears, 1, people)
        return [(len(each.rows), len(each.population.real["numbers"])) for each in marginals.groups]

    assert of([str(k) for k in range(40)]) == [(30, 30), (10, 10), (12, 12), (10, 10)]  # slowest and fastest are four
    assert of([str(k % 10) for k in range(40)])[0] == (10, 10)
    assert of([str(k % 9) for k in range(40)]) == []


def test_features_tell_when_p_is_and_how_long():
    """A P wave of a cosine's half, 40 ms later and twice as long, before a QRS twenty times as steep."""
    time = torch.arange(256) / 250 - 0.36
    qrs = torch.exp(-0.5 * (time / 0.012) ** 2)

    def with_p(at: float, long: float) -> torch.Tensor:
        inside = (time - at).abs() < long / 2
        return (torch.where(inside, 0.1 * torch.cos(torch.pi * (time - at) / long), 0.0) + qrs).expand(1, 2, -1)

    usual, late, long = (simple_features(with_p(*each))[0] for each in ((-0.2, 0.06), (-0.16, 0.06), (-0.2, 0.12)))
    assert (late - usual)[-6].item() == pytest.approx(0.04, abs=0.002)
    assert (long - usual)[-5].item() == pytest.approx(np.log(2), abs=0.1)
    assert (long - usual)[-6].item() == pytest.approx(0, abs=0.002)


def test_features_tell_where_qrs_ends_and_how_high_st_and_t_are_above_what_was_before_it():
    """QRS of four straight lines from -40 ms to 40 or 80 ms, before it 0.2, after it 0.2 + st, then T of 0.5."""
    time = np.arange(256) / 250 - 0.36

    def with_end(end: float, st: float) -> tuple[torch.Tensor, torch.Tensor]:
        corners = [-0.36, -0.04, -0.02, 0.0, end, 0.2, 0.3, 0.4, 0.66]
        lead = np.interp(time, corners, 0.2 + np.array([0, 0, -1.0, 3.0, st, st, 0.5, 0, 0]))
        return _of_qrs(torch.tensor(lead, dtype=torch.float32).expand(1, 2, -1))

    (short, short_times), (long, long_times) = with_end(0.04, 0.1), with_end(0.08, -0.3)
    assert short_times[0, [0, -1]].numpy() == pytest.approx([80, 100], abs=1.5)  # samples, R being at 90
    assert long_times[0, [0, -1]].numpy() == pytest.approx([80, 110], abs=1.5)
    assert short[0, :, -3].numpy() == pytest.approx([0.2, 0.2], abs=0.1)  # 1 % of a way of 8 before its end
    assert long[0, :, -3].numpy() == pytest.approx([-0.15, -0.15], abs=0.1)
    assert short[0, :, -1].numpy() == pytest.approx([0.5, 0.5], abs=0.06)
    assert long[0, :, -2].numpy() == pytest.approx([-0.25, -0.25], abs=0.1)


def test_one_artefact_does_not_hide_how_all_others_vary():
    x = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    x[0, 1] = 1e4
    x[:, 2] = 0
    x[:20, 2] = 1  # a label of few
    assert spread(x)[:2].numpy() == pytest.approx([1, 1], abs=0.05)
    assert spread(x)[2].item() == pytest.approx(0.1, abs=0.01)
    assert torch.isinf(spread(torch.ones(5, 1))).all()


def test_when_t_is_goes_with_the_rhythm_as_in_the_population():
    """T comes later the slower the heart is, and no earlier in a fast one: no straight line."""
    time, rng = torch.arange(256) / 250 - 0.36, torch.Generator().manual_seed(7)

    def made(rhythm: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        n = len(rhythm)
        bent = slopes[0] * rhythm.clamp(min=0) + slopes[1] * rhythm.clamp(max=0)
        at = 0.3 + 0.03 * bent + 0.02 * torch.randn(n, 1, generator=rng)
        t = 3 * torch.exp(-0.5 * ((time - at) / 0.03) ** 2) * torch.exp(0.3 * torch.randn(n, 1, generator=rng))
        noise, numbers = torch.randn(n, 2, 256, generator=rng), torch.randn(n, 10, generator=rng)
        numbers[:, -len(STATISTICS)] = rhythm[:, 0]
        leads = t[:, None] + noise.cumsum(dim=2) * 0.02 * torch.exp(torch.randn(n, 2, 1, generator=rng))
        return torch.cat([leads.flatten(1), numbers], dim=1)

    rhythm = torch.randn(400, 1, generator=rng)
    marginals = Marginals(groups, made(rhythm, torch.tensor([1.0, 0.0])), torch.Generator().manual_seed(0))
    slopes = torch.tensor([0.5, 0.5], requires_grad=True)
    optimizer = torch.optim.Adam([slopes], 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        for each in marginals.groups:
            like = torch.tensor(each.rows)[torch.randint(len(each.rows), (64,), generator=rng)]
            marginals.loss(made(rhythm[like], slopes), rng, None, each).backward()
        optimizer.step()
    assert slopes.tolist() == pytest.approx([1, 0], abs=0.2)


def test_what_the_bearers_of_a_label_have_in_common_is_compared_as_finely_as_they_agree():
    rng = torch.Generator().manual_seed(8)
    some = {"features": torch.randn(50, 4, generator=rng) * torch.tensor([0.5, 0.01, 3.0, 0.0])}
    everybody = {"features": torch.randn(2000, 4, generator=rng)}
    assert _finer(some, everybody)["features"].numpy() == pytest.approx([0.5, 0.25, 1.0, 0.25], abs=0.15)
    nobody_varies = {"features": torch.ones(50, 3)}
    assert _finer(nobody_varies, nobody_varies)["features"].tolist() == [1, 1, 1]
