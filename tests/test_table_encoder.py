import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgveil.errors import ConfigError, RunError
from ecgveil.table_encoder import TABLE_ARRANGEMENTS, TableEncoder, grey_levels
from ecgveil.tables import TableSet

KINDS = [False] + [True] * 15 + [False] * 5  # the thyroid table: age, 15 binary, 5 continuous


def table(number=60, kinds=KINDS, missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    columns = [(rng.random(number) < 0.3) * 1.0 if binary else rng.normal(3, 2, number) for binary in kinds]
    values = np.stack(columns, axis=1)
    values[rng.random(values.shape) < missing] = np.nan
    values[:2] = np.where(np.array(kinds), [[0.0], [1.0]], values[:2])
    return TableSet(values, tuple(f"f{i}" for i in range(len(kinds))))


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.booleans(), min_size=1, max_size=20),
    arrange=st.sampled_from(sorted(TABLE_ARRANGEMENTS)),
    missing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 99),
)
def test_decode_inverts_encode_to_half_a_level(kinds, arrange, missing, seed):
    real = table(30, kinds, missing, seed)
    encoder = TableEncoder.fit(real, arrange, side=9, a=1)
    tensor, _ = encoder.encode(real)
    assert tensor.shape == (30, 1, 9, 9)
    assert np.abs(tensor).max() <= 1
    again = encoder.decode(tensor)
    half = (np.array(encoder.high_) - np.array(encoder.low_)) / (255 - 1) / 2
    half[encoder.binary_] = 0
    assert np.array_equal(np.isnan(again.values), np.isnan(real.values))
    error = np.nan_to_num(np.abs(again.values - real.values))
    assert (error <= half * (1 + 1e-5) + 1e-9).all()
    assert np.array_equal(encoder.encode(again)[0], tensor)
    share = encoder.null_share(tensor)
    assert share == 1.0 or (np.isnan(share) and not encoder.null_cells().any())
    back = TableEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert back == encoder


def zone(encoder, binary):
    places = zip(encoder.cells(), encoder.binary_, strict=True)
    return sorted(divmod(cell, encoder.side) for cells, mine in places if mine == binary for cell in cells)


def test_the_published_arrangement_is_as_the_paper_says():
    """Binary zone at the bottom left, NULL side at the right; 21 features fill three columns to the last cell."""
    encoder = TableEncoder.fit(table(), "left")
    assert zone(encoder, False) == [(row, column) for row in range(2) for column in range(3)]
    assert zone(encoder, True) == [(row, column) for row in range(2, 7) for column in range(3)]
    null = encoder.null_cells().reshape(7, 7)
    assert null[:, 3:].all()
    assert not null[:, :3].any()
    assert (encoder.encode(table())[0][:, 0, :, 3:] == -1).all()


@pytest.mark.parametrize("arrange", sorted(TABLE_ARRANGEMENTS))
def test_no_cell_is_taken_twice(arrange):
    encoder = TableEncoder.fit(table(), arrange)
    cells = [cell for each in encoder.cells() for cell in each]
    assert len(cells) == len(set(cells))
    assert all(encoder.cells())
    assert set(cells) <= set(range(49))


def test_the_levels_are_those_of_equation_2():
    real = TableSet(np.array([[0.0, 0.0], [10.0, 1.0], [5.0, 1.0], [2.0, np.nan]]), ("x", "yes"))
    encoder = TableEncoder.fit(real, "page", side=2, a=1)
    levels = grey_levels(encoder.encode(real)[0]).reshape(4, 4)
    assert levels[:, 0].tolist() == [1, 255, 128, round(2 / 10 * 254 + 1)]
    assert levels[:, 1].tolist() == [1, 255, 255, 0]
    assert (levels[:, 2:] == 0).all()


def test_a_rare_yes_that_the_training_part_lacks_is_still_encoded():
    encoder = TableEncoder.fit(TableSet(np.array([[0.0, 1], [0, 2], [0, 3]]), ("rare", "x")), "left")
    held_out = TableSet(np.array([[1.0, 2]]), ("rare", "x"))
    assert encoder.decode(encoder.encode(held_out)[0]).values[0, 0] == 1


def test_null_in_a_column_that_never_missed_a_value_is_the_lowest_value():
    encoder = TableEncoder.fit(table(), "left")
    made = encoder.decode(np.full((2, *encoder.shape), -1.0))
    assert np.array_equal(made.values, np.tile(encoder.low_, (2, 1)))
    gaps = TableEncoder.fit(table(missing=0.3), "left").decode(np.full((2, *encoder.shape), -1.0))
    assert np.isnan(gaps.values).all()


def test_a_planted_grey_level_in_the_null_area_is_counted():
    encoder = TableEncoder.fit(table(), "left")
    tensor, _ = encoder.encode(table(8))
    tensor[:3, 0, 4, 6] += 0.6 / 127.5  # rounds to level 1
    tensor[3, 0, 4, 6] += 0.4 / 127.5  # rounds to 0
    tensor[4, 0, 0, 0] = 0.5  # a feature, not NULL
    assert encoder.null_share(tensor) == 5 / 8


def test_spread_averages_what_the_cells_of_a_feature_say():
    real = TableSet(np.array([[0.0], [254.0], [3.0]]), ("x",))
    encoder = TableEncoder.fit(real, "spread", side=2, a=1)
    tensor = (np.array([[1.0, 11, 21, 31]]) / 127.5 - 1).reshape(1, 1, 2, 2)
    assert encoder.decode(tensor).values[0, 0] == pytest.approx(15)  # level 16, which is 15 above level 1


def test_what_cannot_be_encoded_is_said():
    with pytest.raises(ConfigError, match="21 features do not fit 4 x 4 cells; raise data.side"):
        TableEncoder.fit(table(), "left", side=4)
    with pytest.raises(ConfigError, match="'f1' has no value; name it in data.ignore"):
        TableEncoder.fit(TableSet(np.array([[1, np.nan], [2, np.nan]]), ("f0", "f1")), "left")
    with pytest.raises(ConfigError, match="encoder.a is 0.*missing values of 'f1'; set it to 1"):
        TableEncoder.fit(TableSet(np.array([[1, np.nan], [2, 1]]), ("f0", "f1")), "left", a=0)
    with pytest.raises(ConfigError, match="the encoder takes f0, f1"):
        TableEncoder.fit(table(kinds=[False, True]), "left").encode(table(kinds=[False]))
    with pytest.raises(RunError, match="encoder.json is damaged"):
        TableEncoder.from_json({"names": ["a"]})
