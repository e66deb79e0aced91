from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import shaped, tiny
from ecgveil.ecg import ECGSet
from ecgveil.errors import RunError
from ecgveil.evaluation.intervals import auc
from ecgveil.recipe import load_recipe, recipe_names
from ecgveil.training import critic as c
from ecgveil.training.fit import fit
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder
from ecgveil.training.tensors import load_tensors, save_tensors

SHORT = {"data__n_samples": 1000, "training__steps": 2, "training__pictures": 0}


@pytest.fixture(scope="module")
def ecgs(clinic) -> ECGSet:
    return shaped(clinic, tiny("quick", **SHORT))


@pytest.fixture(scope="module")
def run(ecgs, tmp_path_factory) -> RunFolder:
    return fit(ecgs, tiny("quick", **SHORT), tmp_path_factory.mktemp("runs") / "run", seed=2)


class Recorder(torch.nn.Module):
    """A critic that scores a window by its first value, and remembers what it was shown together."""

    def __init__(self):
        super().__init__()
        self.batches, self.conditions = [], []

    def forward(self, x, rng, condition=None):
        self.batches.append(x[:, 0, 0].tolist())
        self.conditions.append(condition)
        return x[:, :1, :1].expand(-1, 2, 3)


@pytest.fixture
def recorder(monkeypatch, tmp_path):
    """A folder whose critic is a recorder, of windows that are the signals themselves."""
    critic = Recorder()
    monkeypatch.setattr(c.Players, "saved", lambda folder, seed: SimpleNamespace(critic=critic))

    def folder(conditions=None):
        encoder = SimpleNamespace(encode=lambda each: (each.signal, 0))
        return SimpleNamespace(recipe=None, context=None, path=tmp_path, encoder=encoder, conditions=conditions)

    critic.folder = folder
    return critic


def numbered(n, start=0) -> ECGSet:
    """ECGs whose first value is their number."""
    signal = np.zeros((n, 1, 4), np.float32)
    signal[:, 0, 0] = np.arange(start, start + n)
    return ECGSet(signal, 100, ("I",), tuple(f"r{start + i}" for i in range(n)))


@pytest.mark.parametrize(("n", "m"), [(40, 30), (33, 32), (3, 2), (32, 1), (64, 33)])
def test_each_ecg_gets_its_own_score_and_none_is_judged_alone(recorder, n, m):
    one, other = c.critic_scores(recorder.folder(), numbered(n), numbered(m, n))
    np.testing.assert_allclose(one, np.arange(n))
    np.testing.assert_allclose(other, np.arange(n, n + m))
    sizes = [len(batch) for batch in recorder.batches]
    assert sum(sizes) == c._LOOKS * (n + m)
    assert min(sizes) > 1  # what a critic says of variety takes two
    assert max(sizes) <= c._BATCH


def test_both_sets_are_scored_together_in_batches_drawn_anew(recorder):
    """A critic judges a batch as a whole; batches of one set alone would tell the sets apart by that."""
    c.critic_scores(recorder.folder(), numbered(64), numbered(64, 64))
    shares = [np.mean(np.array(batch) >= 64) for batch in recorder.batches]
    assert 0.2 < min(shares) <= max(shares) < 0.8
    assert len({tuple(sorted(batch)) for batch in recorder.batches}) == len(recorder.batches)


def test_each_ecg_is_shown_with_its_own_condition(recorder):
    def encoded(labels, traits):
        return np.array([[float(each[0])] for each in labels], np.float32)

    conditions = SimpleNamespace(learns=(), encode=encoded)
    train, holdout = (
        ECGSet(each.signal, 100, ("I",), each.record_name, labels=tuple((str(int(x)),) for x in each.signal[:, 0, 0]))
        for each in (numbered(20), numbered(20, 20))
    )
    c.critic_scores(recorder.folder(conditions), train, holdout)
    for batch, shown in zip(recorder.batches, recorder.conditions, strict=True):
        assert shown[:, 0].tolist() == batch


def test_the_same_seed_gives_the_same_scores(run, ecgs, monkeypatch):
    monkeypatch.setattr(c, "_BATCH", 8)
    train, holdout = ecgs.take(range(16)), ecgs.take(range(16, 24))
    one, again = (c.critic_scores(run, train, holdout, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    other = c.critic_scores(run, train, holdout, seed=2)
    assert not np.array_equal(one[0], other[0])


def test_which_set_an_ecg_stands_in_hardly_matters(run, ecgs):
    """Scores are of the ECG: exchanged sets give them back exchanged, but for the crops and the company."""
    train, holdout = ecgs.take(range(12)), ecgs.take(range(12, 24))
    one, other = c.critic_scores(run, train, holdout)
    turned = c.critic_scores(run, holdout, train)
    before, after = np.concatenate([one, other]), np.concatenate([turned[1], turned[0]])
    assert np.corrcoef(before, after)[0, 1] > 0.9


@pytest.mark.parametrize("name", [name for name in recipe_names() if load_recipe(name).data.kind == "ecg"])
def test_every_critic_scores_every_ecg_whatever_their_number(name, clinic, tmp_path):
    """33 ECGs, one more than a batch."""
    recipe = tiny(name, training__pictures=0)
    one = shaped(clinic, recipe)
    run = fit(one, recipe, tmp_path / "run", seed=1)
    names = tuple(f"more{i}" for i in range(9))
    more = ECGSet(one.signal[:9], one.fs, one.leads, names, labels=one.labels[:9], units=one.units)
    scores = c.critic_scores(run, one, more)
    assert [len(each) for each in scores] == [24, 9]
    assert all(np.isfinite(each).all() for each in scores)
    assert np.ptp(np.concatenate(scores)) > 0


def test_a_critic_that_knows_its_training_ecgs_gives_them_away(run, ecgs, tmp_path):
    """The state of a run, its critic trained by hand until it tells members from the others."""
    train, holdout = ecgs.take(range(12)), ecgs.take(range(12, 24))
    before = c.critic_scores(run, train, holdout)
    players = Players(run.recipe, run.context, 0)
    state, facts = load_tensors(run.path / "state.safetensors")
    players.load(state)
    windows = torch.from_numpy(run.encoder.encode(ecgs)[0])
    member = torch.arange(24) < 12
    optimizer, crops = torch.optim.Adam(players.critic.parameters(), 3e-3), torch.Generator().manual_seed(0)
    for _ in range(120):
        scores = players.critic(windows, crops).flatten(1).mean(dim=1)
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(scores, member.float()).backward()
        optimizer.step()
    overfitted = tmp_path / "overfitted"
    overfitted.mkdir()
    for file in run.path.iterdir():
        if file.is_file():
            (overfitted / file.name).write_bytes(file.read_bytes())
    save_tensors(overfitted / "state.safetensors", players.state(), **facts)
    after = c.critic_scores(RunFolder(overfitted), train, holdout)
    assert auc(*after) > 0.95
    assert auc(*before) < 0.9


def test_without_the_state_there_is_no_attack(run, ecgs, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in run.path.iterdir():
        if file.is_file():
            (broken / file.name).write_bytes(file.read_bytes())
    (broken / "state.safetensors").unlink()
    with pytest.raises(RunError, match="missing"):
        c.critic_scores(RunFolder(broken), ecgs.take([0, 1]), ecgs.take([2]))
