import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecgveil.ecg import ECGSet
from ecgveil.encoder import Encoder
from ecgveil.errors import ConfigError, RunError

signals = arrays(np.float32, (4, 2, 25), elements=st.floats(-3, 3, width=32), fill=st.nothing())


def make(signal):
    return ECGSet(signal, 100, ("I", "II"), tuple(f"r{i}" for i in range(len(signal))))


def outside_what_is_cut(encoder, signal):
    """Values that the standardizer did not have to cut."""
    fitted = encoder.standardize
    low, high = getattr(fitted, "low_", -np.inf), getattr(fitted, "high_", np.inf)
    span = getattr(fitted, "span_mv", np.inf)
    lowest = np.clip(signal, low, high).min(axis=-1, keepdims=True)
    return (signal >= low) & (signal <= np.minimum(high, lowest + span))


@pytest.mark.parametrize("arrange", ["waveform", "z", "stripes"])
@pytest.mark.parametrize(
    ("standardize", "settings_"),
    [("per-lead", {"unit_sd": 5.0}), ("min-max", {"a": 1}), ("adapted-range", {"span_mv": 2.5})],
)
@given(signal=signals)
@settings(deadline=None, max_examples=40)
def test_decode_undoes_encode_within_one_step(standardize, settings_, arrange, signal):
    ecgs = make(signal + np.linspace(0, 0.1, 25, dtype=np.float32))  # never constant
    encoder = Encoder.fit(ecgs, standardize, arrange, **settings_)
    tensor, side = encoder.encode(ecgs)
    assert tensor.shape == (4, *encoder.shape)
    back = encoder.decode(tensor, side)
    kept = outside_what_is_cut(encoder, ecgs.signal)
    assert np.abs(back - ecgs.signal)[kept].max(initial=0) <= encoder.step_mv + 1e-5


@given(signal=signals)
@settings(deadline=None, max_examples=20)
def test_an_encoder_read_back_from_json_is_the_same(signal):
    ecgs = make(signal + np.linspace(0, 0.1, 25, dtype=np.float32))
    for standardize in ("per-lead", "min-max", "adapted-range"):
        encoder = Encoder.fit(ecgs, standardize, "z")
        again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
        assert np.array_equal(again.encode(ecgs)[0], encoder.encode(ecgs)[0])
        assert np.array_equal(again.decode(encoder.encode(ecgs)[0]), encoder.decode(encoder.encode(ecgs)[0]))


def test_the_settings_of_an_arrangement_are_kept():
    ecgs = make(np.random.default_rng(0).normal(size=(4, 2, 25)))
    order = np.random.default_rng(1).permutation(25).tolist()
    for name, own in (("shuffled", {"order_seed": 7}), ("own", {"order": order})):
        encoder = Encoder.fit(ecgs, "adapted-range", name, span_mv=9.0, **own)
        again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
        assert (again.layout, again.standardize.span_mv) == (own, 9.0)
        assert np.array_equal(again.encode(ecgs)[0], encoder.encode(ecgs)[0])
        assert not np.array_equal(again.encode(ecgs)[0], Encoder.fit(ecgs, "adapted-range", "z").encode(ecgs)[0])


def test_an_encoder_of_an_earlier_version_is_read():
    """Without settings of the arrangement, and with one typical minimum for all leads."""
    ecgs = make(np.random.default_rng(0).normal(size=(4, 2, 25)))
    for name in ("z", "waveform"):
        data = Encoder.fit(ecgs, "adapted-range", name).to_json()
        del data["layout"]
        data["fitted"]["minimum_"] = -0.75
        old = Encoder.from_json(json.loads(json.dumps(data)))
        tensor, side = old.encode(ecgs)
        assert (
            np.abs(old.decode(tensor, side) - ecgs.signal)[outside_what_is_cut(old, ecgs.signal)].max() <= old.step_mv
        )
        np.testing.assert_allclose(old.decode(tensor).min(axis=-1), -0.75, atol=1e-6)


def test_each_lead_has_its_own_typical_minimum():
    """What is generated has none of its own, and aVR lies lower than lead I."""
    signal = np.random.default_rng(0).uniform(0, 1, (30, 2, 25)) - np.array([0.0, 1.0])[:, None]
    ecgs = make(signal)
    encoder = Encoder.fit(ecgs, "adapted-range", "z")
    lowest = encoder.decode(encoder.encode(ecgs)[0]).min(axis=-1)
    np.testing.assert_allclose(lowest, np.median(signal.min(axis=-1), axis=0) * np.ones((30, 1)), atol=1e-5)


def test_min_max_is_equation_2():
    signal = np.array([[[0.0, 1.0, 2.0, 4.0]]])
    encoder = Encoder.fit(ECGSet(signal, 100, ("I",), ("r",)), "min-max", "waveform", a=1)
    pixels = (encoder.encode(ECGSet(signal, 100, ("I",), ("r",)))[0] + 1) * 127.5
    assert np.rint(pixels).ravel().tolist() == [1, 64, 128, 255]  # (x - min) / (max - min) * 254 + 1, rounded


def test_adapted_range_is_equation_3_and_counts_what_it_cut():
    rng = np.random.default_rng(0)
    signal = rng.uniform(-0.2, 0.8, (200, 1, 50)).astype(np.float32)
    signal[0, 0, 10] = 9.0  # one window far beyond the 99 % bound
    ecgs = ECGSet(signal, 100, ("I",), tuple(map(str, range(200))))
    encoder = Encoder.fit(ecgs, "adapted-range", "waveform", span_mv=2.5)
    fitted = encoder.standardize
    assert fitted.low_ == pytest.approx(np.quantile(signal.min(axis=-1), 0.01), abs=1e-6)
    assert fitted.high_ == pytest.approx(np.quantile(signal.max(axis=-1), 0.99), abs=1e-6)
    assert 1 / 200 <= fitted.saturated_["windows"] <= 0.05
    assert 1 / signal.size <= fitted.saturated_["values"] < 0.01
    row = np.clip(signal[5, 0], fitted.low_, fitted.high_)
    expected = (row - row.min()) / 2.5 * 255
    np.testing.assert_allclose((encoder.encode(ecgs)[0][5, 0] + 1) * 127.5, np.rint(expected), atol=1e-3)


def test_z_is_read_like_a_page():
    signal = np.arange(9, dtype=np.float32).reshape(1, 1, 9)
    ecgs = ECGSet(signal, 100, ("I",), ("r",))
    image = Encoder.fit(ecgs, "per-lead", "z").encode(ecgs)[0][0, 0]
    assert (np.diff(image, axis=1) > 0).all()
    assert (image[1:, 0] > image[:-1, -1]).all()


def test_fitted_on_the_set_given_alone():
    one, two = make(np.random.default_rng(0).normal(size=(4, 2, 25))), make(np.full((4, 2, 25), 100.0))
    encoder = Encoder.fit(one, "min-max", "waveform")
    encoder.encode(two)
    assert encoder.standardize.high_ == pytest.approx(one.signal.max())


def test_errors_carry_value_and_remedy():
    ecgs = make(np.random.default_rng(0).normal(size=(4, 2, 26)))
    with pytest.raises(ConfigError, match="26 samples do not fill a square image; use 25, 5 x 5"):
        Encoder.fit(ecgs, "per-lead", "z")
    with pytest.raises(ConfigError, match="constant"):
        Encoder.fit(make(np.zeros((2, 2, 25))), "min-max", "z")
    encoder = Encoder.fit(make(np.random.default_rng(0).normal(size=(4, 2, 25))), "per-lead", "z")
    with pytest.raises(ConfigError, match="takes 25 samples.*not 26"):
        encoder.encode(ecgs)
    with pytest.raises(RunError, match=r"encoder\.json is damaged"):
        Encoder.from_json({"standardize": "per-lead"})
