import dataclasses
import json

import numpy as np
import pytest
import torch

from ecgveil.errors import ConfigError, RecordError
from ecgveil.models import MODELS
from ecgveil.models.beat import BeatSettings, Clocks
from ecgveil.models.conditions import Conditions
from ecgveil.models.contract import Context, looked, stack
from ecgveil.models.draw import draw, draw_conditions
from ecgveil.models.pulse2pulse import Pulse2PulseSettings, phase_shuffle, upsampled_conv
from ecgveil.models.wavegan import WaveGanSettings
from ecgveil.rhythm import LabelledRhythm, Rhythm, beat_times, heart_rate, rhythm_statistics, standard_statistics
from ecgveil.training.objectives import OBJECTIVES, Pair

RHYTHM = Rhythm.fit([0.8 + 0.02 * np.random.default_rng(i).standard_normal(12) for i in range(30)], seed=0)
CONTEXTS = {
    "beat": (Context((8, 500), 100.0, RHYTHM), {"width": 8, "critic_width": 8}),
    "bilstm-cnn": (Context((1, 200), 250.0), {"hidden": 4}),
    "conv1d": (Context((1, 200), 250.0), {"width": 4}),
    "conv1d-ac": (Context((2, 125), 250.0), {"width": 4, "critic_norm": "instance"}),
    "fcn": (Context((1, 7, 7), 0.0), {}),
    "piacentino-cnn": (Context((1, 45, 45), 1000.0), {}),
    "pulse2pulse": (Context((8, 5000), 500.0), {"width": 5, "critic_width": 1}),
    "veil": (Context((2 * 256 + 30,), 250.0, RHYTHM), {"width": 8, "style": 16, "latent": 8, "critic_width": 8}),
    "wavegan-star": (Context((8, 5000), 500.0), {"width": 10, "critic_width": 1}),
}


# 30 patients: 20 of MI, 8 of MI and CD, 2 of none; windows and patients are the same but for one who has three.
CONDITIONS = Conditions.fit(
    [("MI", "other")] * 20 + [("CD", "MI")] * 8 + [()] * 4,
    [f"p{i}" for i in range(29)] + ["p29"] * 3,
    ("MI", "CD"),
)


@pytest.fixture(params=sorted(CONTEXTS))
def pair(request):
    model, (context, settings) = MODELS[request.param], CONTEXTS[request.param]
    settings = model.settings(**settings)
    torch.manual_seed(0)  # by bad luck, networks as narrow as these say the same whatever the noise
    return context, model.generator(settings, context), model.critic(settings, context)


def test_every_model_keeps_the_contract(pair):
    context, generator, critic = pair
    assert set(CONTEXTS) == set(MODELS)
    made = generator(stack([generator.draw(np.random.default_rng(k)) for k in range(3)]))
    assert made.shape == (3, *context.shape)
    scores = critic(looked(critic, made), torch.Generator().manual_seed(0))
    assert scores.shape[0] == 3
    assert torch.isfinite(scores).all()
    scores.mean().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_sample_k_depends_on_seed_and_k_alone(pair):
    _, generator, _ = pair
    generator.eval()
    whole = draw(generator, seed=4, start=0, stop=20)
    assert np.array_equal(whole[7:9], draw(generator, seed=4, start=7, stop=9))
    assert np.array_equal(whole[18:], draw(generator, seed=4, start=18, stop=20))
    assert not np.array_equal(whole[0], whole[1])
    assert not np.array_equal(whole[0], draw(generator, seed=5, start=0, stop=1)[0])


def test_pulse2pulse_has_the_published_size():
    settings, context = Pulse2PulseSettings(), Context((8, 5000), 500.0)
    shapes = {tuple(layer.weight.shape) for layer in MODELS["pulse2pulse"].generator(settings, context).down}
    assert shapes == {(10, 8, 25), (25, 10, 25), (50, 25, 25), (150, 50, 25), (250, 150, 25), (250, 250, 25)}
    critic = MODELS["pulse2pulse"].critic(settings, context)
    assert len(critic.convs) == 7
    with torch.device("meta"):  # counted, not made
        published = MODELS["pulse2pulse"].critic(Pulse2PulseSettings(critic_width=50), context)
    assert sum(each.numel() for each in published.parameters()) > 200e6


def test_wavegan_star_has_the_published_size():
    generator = MODELS["wavegan-star"].generator(WaveGanSettings(), Context((8, 5000), 500.0))
    assert generator.draw(np.random.default_rng(0))["z"].shape == (100,)
    assert generator.dense.weight.shape == (500, 100)
    up = [tuple(conv.weight.shape[:2]) for conv in generator.up]
    assert up == [(250, 250), (150, 250), (50, 150), (25, 50), (10, 25), (8, 10)]
    assert MODELS["wavegan-star"].critic is MODELS["pulse2pulse"].critic


@pytest.mark.parametrize("name", ["pulse2pulse", "wavegan-star"])
def test_any_multiple_of_the_factors_is_a_length(name):
    """2500 is the product of the strides; 3000, say, would not come back at its own length."""
    model = MODELS[name]
    for n_samples in (2500, 7500):
        context = Context((1, n_samples), 500.0)
        generator = model.generator(model.settings(width=5, critic_width=1), context)
        made = generator(stack([generator.draw(np.random.default_rng(0))]))
        assert made.shape == (1, 1, n_samples)
        assert n_samples % model.multiple == 0


@pytest.mark.parametrize("factor", [2, 5])
def test_upsampled_conv_is_upsampling_then_convolution(factor):
    rng = torch.Generator().manual_seed(0)
    x, conv = torch.randn(3, 4, 7, generator=rng), torch.nn.Conv1d(4, 6, 25, padding=12)
    plain = conv(torch.nn.functional.interpolate(x, scale_factor=factor))
    torch.testing.assert_close(upsampled_conv(x, conv, factor), plain, atol=1e-5, rtol=1e-5)


def test_phase_shuffle_shifts_each_sample_and_mirrors_the_ends():
    x = torch.arange(10.0).expand(50, 2, 10)
    shuffled = phase_shuffle(x, 2, torch.Generator().manual_seed(0))
    seen = {tuple(row[0].tolist()) for row in shuffled}
    expected = {tuple((9 - (9 - (np.arange(10) + shift).__abs__()).__abs__()).tolist()) for shift in range(-2, 3)}
    assert seen == expected
    assert torch.equal(phase_shuffle(x, 0, torch.Generator()), x)


def test_beats_of_a_record_are_the_same_alone_and_among_others():
    statistics = np.array([[np.log(60 / bpm), np.log(0.04), np.log(0.03), 0.1] for bpm in (30, 60, 75, 150)])

    def drawn(rows):
        return beat_times([np.random.default_rng(k) for k in rows], statistics[rows], 10.0)

    for k, times in enumerate(drawn([0, 1, 2, 3])):
        np.testing.assert_array_equal(times, drawn([k])[0])
        assert times[0] < -0.9  # within one beat of -3
        assert times[-1] >= 13
        assert np.diff(times).mean() == pytest.approx(np.exp(statistics[k, 0]), rel=0.15)


def test_early_beats_are_as_frequent_as_asked_for_and_the_next_takes_its_time():
    calm = np.array([[np.log(0.8), np.log(0.004), np.log(0.004), 0.1]] * 500)
    share, early, after = [], [], []
    for times in beat_times([np.random.default_rng(k) for k in range(500)], calm, 10.0):
        rr = np.diff(times)[:-1]
        rr /= np.median(rr)
        premature = np.flatnonzero(rr[:-1] < 0.85)
        premature = premature[np.diff(premature, prepend=-9) > 2]  # that follow nobody's pause
        share.append(len(premature) / len(rr))
        early.extend(rr[premature])
        after.extend(rr[premature + 1])
    assert np.mean(share) == pytest.approx(0.1, abs=0.015)
    assert (np.min(early), np.max(early)) == pytest.approx((0.4, 0.84), abs=0.02)
    assert (np.min(after), np.max(after)) == pytest.approx((0.8, 1.3), abs=0.02)
    assert np.median(early) == pytest.approx(0.69, abs=0.03)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.15])
def test_as_many_beats_are_premature_as_asked_and_the_regular_ones_keep_their_pace(share):
    asked = np.array([[np.log(0.8), np.log(0.004), np.log(0.004), share]] * 400)
    found = []
    for times in beat_times([np.random.default_rng(k) for k in range(400)], asked, 10.0):
        found.append(rhythm_statistics(np.diff(times[(times > 0) & (times < 10)])))
    log_rr, _, _, early = np.mean(found, axis=0)
    assert early == pytest.approx(share, abs=0.012)  # a short pause counts as one
    assert np.exp(log_rr) == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize(("rmssd", "slow"), [(0.03, 0.03), (0.01, 0.01), (0.05, 0.03), (0.012, 0.02)])
def test_beats_vary_as_asked_from_one_to_the_next_and_slowly(rmssd, slow):
    asked = np.log([0.8, rmssd + 0.004, slow + 0.004])
    found = []
    for times in beat_times([np.random.default_rng(k) for k in range(300)], np.tile([*asked, 0.0], (300, 1)), 10.0):
        found.append(rhythm_statistics(np.diff(times[(times > 0) & (times < 10)])))
    np.testing.assert_allclose(np.exp(np.median(found, axis=0))[1:3] - 0.004, [rmssd, slow], rtol=0.15)
    np.testing.assert_allclose(np.exp(np.mean(found, axis=0)[0]), 0.8, rtol=0.01)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_heart_rate_asked_for_is_that_of_all_beats(share):
    few = Rhythm([1.0], [[*np.log([0.8, 0.02, 0.02]).tolist(), share]], [np.diag([0.04, 0.01, 0.01, 1e-6]).tolist()],
                 [[-9.0, -9.0, -9.0, 0.0], [9.0, 9.0, 9.0, 1.0]])  # fmt: skip
    rates = []
    for k in range(200):
        rng = np.random.default_rng(k)
        times = beat_times([rng], few.statistics(rng, mean_rr=60 / 100)[None], 10.0)[0]
        inside = times[(times > 0) & (times < 10)]
        rates.append(60 * (len(inside) - 1) / (inside[-1] - inside[0]))
    assert np.abs(np.array(rates) - 100).mean() < 1.5
    assert np.mean(rates) == pytest.approx(100, abs=0.5)


def test_no_heart_is_much_faster_or_slower_than_was_asked_for():
    """Where RR vary so much that other beats than were meant come to lie in the record as well."""
    rng = np.random.default_rng(0)
    rr, premature = rng.uniform(0.42, 1.6, 400), rng.choice([0.0, 0.1, 0.3], 400)
    asked = np.stack([np.log(rr), np.log(0.4 * rr), np.log(0.2 * rr), premature], axis=1)
    for times, row in zip(beat_times([np.random.default_rng(k) for k in range(400)], asked, 10.0), asked, strict=True):
        inside = times[(times >= 0) & (times < 10)]
        assert 60 / np.diff(inside).mean() == pytest.approx(heart_rate(row), rel=0.021)
        assert row[3] or (np.diff(inside) < 0.255).sum() <= 2


def test_clocks_know_the_beats():
    clocks = Clocks(500, 100.0)
    times = torch.arange(40)[None] * 1.0 - 3.25  # R at 0.75, 1.75, ...
    features = clocks(times, torch.zeros(1, 4, 40))
    around = features[0, : clocks.around_r.numel()]
    at_r = int(np.argmin(np.abs(clocks.around_r.numpy())))
    peaks = torch.nonzero(around[at_r] > 0.99).ravel().tolist()
    assert peaks == [75, 175, 275, 375, 475]
    rates = features[0, -7:-4]  # log RR, log previous RR, their difference: all 0 at 60 bpm
    assert rates.abs().max() < 1e-5
    assert torch.isfinite(features).all()


def test_premature_beats_that_most_records_lack_stay_rare():
    rng = np.random.default_rng(0)
    intervals = [0.8 * np.exp(0.1 * rng.standard_normal()) + 0.02 * rng.standard_normal(11) for _ in range(300)]
    for k in range(0, 300, 20):  # one in twenty has one
        intervals[k][5] *= 0.7
    fitted = Rhythm.fit(intervals, seed=0)
    drawn = [fitted.draw(np.random.default_rng(k), 10.0)[0] for k in range(400)]
    found = [rhythm_statistics(np.diff(r[(r > 0) & (r < 10)]))[3] > 0 for r in drawn]
    assert 0.01 < np.mean(found) < 0.1


def test_rhythm_is_recovered_from_its_own_draws():
    draws = [RHYTHM.draw(np.random.default_rng(k), 10.0) for k in range(300)]
    for times, _ in draws:
        assert times[0] < 0
        assert times[-1] > 10
        assert (np.diff(times) > 0.2).all()
    mean = np.mean([np.diff(times).mean() for times, _ in draws])
    assert mean == pytest.approx(0.8, abs=0.02)
    spread = np.median([np.diff(times).std() for times, _ in draws])
    assert 0.01 < spread < 0.04


def test_rhythm_statistics():
    assert rhythm_statistics(np.array([0.8, 0.8])) is None
    regular = rhythm_statistics(np.full(10, 0.8))
    assert np.exp(regular[0]) == pytest.approx(0.8)
    assert regular[3] == 0
    ectopic = rhythm_statistics(np.array([0.8] * 5 + [0.5, 1.1] + [0.8] * 5))
    assert ectopic[3] == pytest.approx(1 / 12)
    assert np.exp(ectopic[0]) == pytest.approx(0.8)  # the pause after is set apart too
    last = rhythm_statistics(np.array([0.7] + [0.8] * 10 + [0.5]))  # whose pause is not in the record
    assert np.exp(last[0]) == pytest.approx((0.7 + 8) / 11)
    with pytest.raises(RecordError, match="2 of 2|from 0 of 2"):
        Rhythm.fit([np.array([]), np.array([])], seed=0)


def test_rhythm_has_no_component_of_one_patient():
    fitted = Rhythm.fit([np.full(10, 0.8) + 0.01 * np.random.default_rng(i).normal(size=10) for i in range(40)], seed=0)
    assert len(fitted.weights) == 1  # 40 records make one component; two need 50


def steady(seed, mean=0.8, spread=0.02, n=12):
    return mean + spread * np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize("odd", [0.3 * np.arange(12) % 0.7 + 0.5, np.r_[np.full(6, 0.8), 0.5, 1.1, np.full(6, 0.8)]])
def test_one_person_of_another_rhythm_makes_no_component(odd):
    fitted = Rhythm.fit([*(steady(i) for i in range(59)), odd], seed=0)
    theirs = rhythm_statistics(odd)
    apart = np.abs((np.array(fitted.means) - theirs) / [0.25, 1.0, 1.0, 0.1]).max(axis=1)
    assert apart.min() > 0.3


def test_a_rhythm_counts_people_and_not_their_records():
    intervals = [steady(i, mean=0.6 + 0.05 * (i % 10)) for i in range(300)]
    people = [str(i % 10) for i in range(300)]
    assert len(Rhythm.fit(intervals, seed=0).weights) > 1
    assert len(Rhythm.fit(intervals, seed=0, people=people).weights) == 1
    few, many = Rhythm.fit(intervals[:30], seed=0, people=["one"] * 30), Rhythm.fit(intervals[:30], seed=0)
    np.testing.assert_allclose(few.means, many.means)
    four = [str(i % 4) for i in range(160)]  # too few for a row each, and no component is one of theirs
    assert len(Rhythm.fit([steady(i, mean=0.5 + 0.2 * (i % 4)) for i in range(160)], seed=0, people=four).weights) == 1
    conditions = np.array([[i % 10 == 9] for i in range(300)], np.float32)  # thirty records of one person
    assert LabelledRhythm.fit(intervals, conditions, seed=0).parts[0] is not None
    assert LabelledRhythm.fit(intervals, conditions, seed=0, people=people).parts[0] is None


def test_no_bound_of_a_rhythm_is_a_persons_own_number():
    fitted = Rhythm.fit([steady(i) for i in range(51)], seed=0)
    on_grid = standard_statistics(np.array(fitted.bounds)) / 0.2
    np.testing.assert_allclose(on_grid, np.rint(on_grid), atol=1e-6)


class Linear(torch.nn.Module):
    """Score 2 * sum(x): its gradient norm is known."""

    def forward(self, x, rng, condition=None):
        return 2 * x.sum(dim=1, keepdim=True)


class Settings:
    penalty, penalty_every, label_smoothing, class_weight = 10.0, 1, 0.1, 2.0


def losses(name, real, fake, critic=None):
    objective, rng = OBJECTIVES[name], torch.Generator().manual_seed(0)
    critic = critic or Linear()
    pair = Pair(real, fake)
    first = objective.critic_loss(critic, pair, rng, Settings(), 0)
    return first.item(), objective.generator_loss(critic, pair, rng, Settings()).item()


def test_objectives_against_closed_forms():
    real, fake = torch.ones(4, 1), torch.zeros(4, 1)
    softplus = torch.nn.functional.softplus
    # wgan-gp: E[fake] - E[real] + 10 (|grad| - 1)^2 = 0 - 2 + 10
    assert losses("wgan-gp", real, fake) == pytest.approx((8.0, 0.0))
    # bce: -(0.9 log s(2) + 0.1 log s(-2)) + log 2, and log 2
    smooth = 0.9 * softplus(torch.tensor(-2.0)) + 0.1 * softplus(torch.tensor(2.0)) + np.log(2)
    assert losses("bce", real, fake) == pytest.approx((smooth.item(), np.log(2)), rel=1e-5)
    # relativistic: softplus(-2) + 10 / 2 * (4 + 4), and softplus(2)
    expected = softplus(torch.tensor(-2.0)).item() + 40
    assert losses("relativistic", real, fake) == pytest.approx((expected, softplus(torch.tensor(2.0)).item()), rel=1e-5)


def test_a_setting_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="width"):
        BeatSettings(width=1)


def test_conditions_are_counted_and_those_of_few_patients_are_never_drawn():
    assert CONDITIONS.combinations == [["MI"], ["MI", "CD"]]  # bearing none: 4 windows, but of 2 patients
    assert CONDITIONS.counts == [20, 8]
    drawn = [CONDITIONS.decode(CONDITIONS.draw(np.random.default_rng(k))) for k in range(2000)]
    assert set(drawn) == {("MI",), ("MI", "CD")}
    assert drawn.count(("MI",)) / 2000 == pytest.approx(20 / 28, abs=0.03)
    assert CONDITIONS.encode([("CD",), (), ("x", "MI")]).tolist() == [[0, 1], [0, 0], [1, 0]]
    assert Conditions(**CONDITIONS.to_json()) == CONDITIONS


def test_conditions_asked_for():
    assert CONDITIONS.bearing(["CD"]).combinations == [["MI", "CD"]]
    assert CONDITIONS.bearing(["MI"]) == CONDITIONS
    with pytest.raises(ConfigError, match="label 'HYP' is none that the run has learned; it knows MI, CD"):
        CONDITIONS.bearing(["HYP"])
    rare = Conditions.fit([("A",)] * 9 + [("B",)] * 9 + [("A", "B")], list(map(str, range(19))), ("A", "B"))
    with pytest.raises(ConfigError, match=r"A \+ B was borne by fewer than 5 training patients .* is A; B"):
        rare.bearing(["A", "B"])


def test_a_label_of_few_patients_is_refused():
    with pytest.raises(RecordError, match=r"label 'B' of data.labels is borne by 1 patients .*; 5 are needed"):
        Conditions.fit([("A",)] * 9 + [("B",)] * 9, [*map(str, range(9)), *["same"] * 9], ("A", "B"))
    every = [tuple(name for i, name in enumerate("ABCD") if number >> i & 1) for number in range(16)]
    with pytest.raises(RecordError, match="no combination of data.labels is shared by 5 patients"):
        Conditions.fit(every, list(map(str, range(16))), tuple("ABCD"))


@pytest.mark.parametrize("name", ["beat", "bilstm-cnn", "conv1d", "pulse2pulse", "wavegan-star"])
def test_a_condition_reaches_generator_and_critic(name):
    context, settings = CONTEXTS[name]
    context, model = dataclasses.replace(context, n_conditions=2), MODELS[name]
    settings = model.settings(**settings)
    generator, critic = model.generator(settings, context).eval(), model.critic(settings, context)
    noises = [generator.draw(np.random.default_rng(1), np.array(c, np.float32)) for c in ([1, 0], [0, 1])]
    made = generator(stack(noises))
    assert made.shape == (2, *context.shape)
    assert not torch.allclose(made[0], made[1])  # the same noise under another condition
    same = made[:1].expand(2, *context.shape)
    scores = critic(same, torch.Generator().manual_seed(0), torch.eye(2))
    assert not torch.allclose(scores[0], scores[1])
    (critic(made, torch.Generator().manual_seed(0), torch.eye(2)).square().mean()).backward()
    for player in (generator, critic):
        assert all(parameter.grad is not None for parameter in player.parameters())


def test_sample_k_depends_on_seed_and_k_alone_with_conditions():
    context, settings = CONTEXTS["beat"]
    settings = BeatSettings(**settings)
    generator = MODELS["beat"].generator(settings, dataclasses.replace(context, n_conditions=2)).eval()
    whole = draw(generator, 4, 0, 20, CONDITIONS)
    assert np.array_equal(whole[15:18], draw(generator, 4, 15, 18, CONDITIONS))
    assert np.array_equal(draw_conditions(CONDITIONS, 4, 0, 20)[15:18], draw_conditions(CONDITIONS, 4, 15, 18))
    only = CONDITIONS.bearing(["CD"])
    assert not np.array_equal(whole, draw(generator, 4, 0, 20, only))


def test_each_label_has_its_rhythm():
    """Fast and irregular under label 1, slow under label 2, label 0 says nothing; label 3 is too rare to count."""
    rng = np.random.default_rng(0)
    intervals, conditions = [], []
    for i in range(400):
        borne = [i % 2 == 0, i % 4 == 1, i % 4 == 3, i == 0]
        mean, spread = (0.5, 0.1) if borne[1] else (1.2, 0.01) if borne[2] else (0.8, 0.02)
        intervals.append(mean + spread * rng.standard_normal(12))
        conditions.append(borne)
    fitted = LabelledRhythm.fit(intervals, np.array(conditions, np.float32), seed=0)
    assert set(fitted.order[:2]) == {1, 2}
    assert LabelledRhythm.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted

    def rr(*condition):
        draws = [fitted.draw(np.random.default_rng(k), 10.0, np.array(condition))[0] for k in range(100)]
        return np.mean([np.diff(times).mean() for times in draws]), np.mean([np.diff(times).std() for times in draws])

    assert rr(0, 1, 0, 0) == pytest.approx((0.5, 0.1), abs=0.03)
    assert rr(1, 1, 0, 0) == rr(0, 1, 0, 0)  # label 0 tells less
    assert rr(0, 0, 1, 0) == pytest.approx((1.2, 0.01), abs=0.03)
    assert rr(1, 0, 0, 0) == pytest.approx((0.8, 0.02), abs=0.03)
    assert fitted.parts[fitted.order.index(3)] is None
    assert fitted.parts[-1] is None  # every record bears something
    assert rr(0, 0, 0, 1)[0] == pytest.approx(0.83, abs=0.1)  # so the whole population stands in


@pytest.mark.parametrize("name", ["wavegan-star", "pulse2pulse"])
def test_noise_is_heard_before_training(name):
    model, context = MODELS[name], Context((8, 2500), 250.0)
    torch.manual_seed(0)
    generator = model.generator(model.settings(width=20), context)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        made = generator(stack([generator.draw(rng) for _ in range(8)]))
    assert made.std(dim=0).mean() > 0.3 * made.std()  # 0.003 with torch's own initial weights for WaveGAN*
