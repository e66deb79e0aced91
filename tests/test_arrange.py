import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgveil.arrange import ARRANGEMENTS, arrangement, arrangement_settings
from ecgveil.errors import ConfigError

IMAGES = sorted(set(ARRANGEMENTS) - {"waveform"})


def layout(name, n_samples):
    """Settings of their own, where an arrangement has any."""
    own = {"order_seed": 3, "order": np.random.default_rng(1).permutation(n_samples).tolist()}
    return {key: own[key] for key in arrangement_settings(name)}


def placed(name, n_leads, n_samples, **own):
    """Where the values 0, 1, ... of one sample go."""
    arranged = arrangement(name, n_leads, n_samples, **own)
    values = np.arange(n_leads * n_samples, dtype=np.float32).reshape(1, n_leads, n_samples)
    return arranged.forward(values)[0]


@pytest.mark.parametrize("name", sorted(ARRANGEMENTS))
@given(n=st.integers(1, 3), n_leads=st.integers(1, 13), side=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_an_arrangement_moves_every_value_and_back_undoes_it(name, n, n_leads, side, seed):
    arranged = arrangement(name, n_leads, side * side, **layout(name, side * side))
    values = np.random.default_rng(seed).permutation(n * n_leads * side * side).reshape(n, n_leads, side * side)
    tensor = arranged.forward(values)
    assert tensor.shape == (n, *arranged.shape)
    assert np.array_equal(np.sort(tensor, axis=None), np.arange(values.size))
    assert np.array_equal(arranged.back(tensor), values)
    # and the other way round: every tensor, such as a generator's, is some signal's
    other = np.random.default_rng(seed + 1).normal(size=tensor.shape)
    assert np.array_equal(arranged.forward(arranged.back(other)), other)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("waveform", (3, 2025)),
        ("z", (3, 45, 45)),
        ("transposed", (3, 45, 45)),
        ("reversed", (3, 45, 45)),
        ("shuffled", (3, 45, 45)),
        ("own", (3, 45, 45)),
        ("stripes", (1, 135, 45)),
        ("blocks", (1, 45, 135)),
    ],
)
def test_shapes(name, expected):
    assert arrangement(name, 3, 2025, **layout(name, 2025)).shape == expected


def test_the_orders_of_the_paper():
    assert placed("z", 1, 9)[0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert placed("transposed", 1, 9)[0].tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert placed("reversed", 1, 9)[0].tolist() == [[8, 7, 6], [5, 4, 3], [2, 1, 0]]
    assert np.array_equal(placed("z", 2, 9)[1], placed("z", 1, 9)[0] + 9)  # each lead a channel of its own


def test_all_leads_in_one_channel():
    # two leads of four samples: 0 to 3 and 4 to 7
    assert placed("stripes", 2, 4)[0].tolist() == [[0, 1], [4, 5], [2, 3], [6, 7]]
    assert placed("blocks", 2, 4)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    four = placed("blocks", 4, 4)[0]
    assert four.shape == (4, 4)
    assert four[:2, 2:].tolist() == [[4, 5], [6, 7]]  # lead 2, top right
    assert four[2:, :2].tolist() == [[8, 9], [10, 11]]  # lead 3, bottom left
    assert [placed("blocks", n, 4).shape[1:] for n in (6, 7, 8, 12)] == [(4, 6), (2, 14), (4, 8), (6, 8)]


def test_shuffled_by_a_stated_seed_alike_in_every_lead():
    one, again, other = (placed("shuffled", 2, 100, order_seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(one[1], one[0] + 100)
    assert not np.array_equal(one, placed("z", 2, 100))


def test_an_order_of_ones_own():
    assert placed("own", 2, 4, order=[3, 1, 0, 2]).tolist() == [[[3, 1], [0, 2]], [[7, 5], [4, 6]]]
    for order in ([0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4]):
        with pytest.raises(ConfigError, match=rf"order has {len(order)} values.* needs each of 0 to 3 once"):
            arrangement("own", 1, 4, order=order)
    with pytest.raises(ConfigError, match="order has no values"):
        arrangement("own", 1, 4)


def test_a_function_of_ones_own(monkeypatch):
    monkeypatch.setitem(ARRANGEMENTS, "columns", lambda places: places.reshape(places.shape[0], -1, 10))
    assert placed("columns", 2, 50).shape == (2, 5, 10)


@pytest.mark.parametrize("name", IMAGES)
def test_a_length_that_is_no_square_is_refused(name):
    with pytest.raises(ConfigError, match="2000 samples do not fill a square image; use 2025, 45 x 45"):
        arrangement(name, 2, 2000, **layout(name, 2000))


def test_an_unknown_name():
    with pytest.raises(ConfigError, match="unknown arrangement 'zz'; there are waveform, z, transposed"):
        arrangement("zz", 1, 4)


def test_what_needs_no_moving_is_not_copied():
    values = np.zeros((5, 2, 2025), np.float32)
    for name in ("waveform", "z"):
        assert np.shares_memory(arrangement(name, 2, 2025).forward(values), values)
