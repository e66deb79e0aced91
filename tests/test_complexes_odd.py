"""Beats that are not like the others: planted, found, left out of all other parts, and drawn."""

import json

import numpy as np
import pytest

from ecgveil.complexes import LENGTH, Parts, analyse, readable, synthesise
from ecgveil.complexes.encoder import ComplexEncoder
from ecgveil.complexes.odd import Odd, OddForms, Oddities, odd_beats
from ecgveil.complexes.parts import BANDS, BEFORE_S, RATE_HZ
from ecgveil.complexes.variation import Beat
from ecgveil.ecg import ECGSet
from ecgveil.errors import RunError
from ecgveil.leads import LEADS_8
from ecgveil.measure.beats import r_peaks

FS, SAMPLES, RECORDS = 500.0, 5000, 45
TIME = np.arange(LENGTH) / RATE_HZ - BEFORE_S
NORMAL = np.exp(-0.5 * (TIME / 0.012) ** 2) + 0.25 * np.exp(-0.5 * ((TIME - 0.28) / 0.05) ** 2)
BEYOND = 0.8 * np.exp(-0.5 * (TIME / 0.05) ** 2) - 0.6 * np.exp(-0.5 * ((TIME - 0.3) / 0.06) ** 2)
LEADS_8_NORMAL = np.broadcast_to(NORMAL, (8, LENGTH)).astype(np.float32)
PEOPLE = tuple(map(str, range(RECORDS)))


def planted_times(k):
    """R times of a record whose every fifth beat comes early."""
    rr = np.full(18, 0.8) + 0.01 * np.random.default_rng(k).standard_normal(18)
    rr[3::5], rr[4::5] = 0.55, 1.0
    return np.cumsum(np.r_[-1.3, rr])


@pytest.fixture(scope="module")
def planted():
    """Records whose early beats have more of the form `BEYOND` in all leads, and what was found in them."""
    parts = Parts(
        np.broadcast_to(NORMAL, (RECORDS, 8, LENGTH)).astype(np.float32),
        np.full((RECORDS, 9, BANDS), 1e-6),
        np.zeros((RECORDS, 4, 8)),
        np.zeros((RECORDS, 3)),
        np.zeros((RECORDS, 2)),
    )
    kind = OddForms(1.0, 1.0, [0.0] * 5, np.broadcast_to(BEYOND, (8, LENGTH)), np.zeros((0, 8, LENGTH)))
    times = [planted_times(k) for k in range(RECORDS)]
    rngs = [np.random.default_rng(k) for k in range(RECORDS)]
    ecgs = ECGSet(synthesise(parts, times, LEADS_8, FS, SAMPLES, rngs, Odd(early=kind)), FS, LEADS_8, PEOPLE)
    rows, peaks = readable(ecgs)
    assert len(rows) == RECORDS
    return ecgs, analyse(ecgs, peaks)


def test_odd_beats_are_found_and_are_no_part_of_anything_else(planted):
    _, found = planted
    assert np.mean([each.odd.mean() for each in found.odd]) > 0.1
    assert all((each.odd == each.early).all() for each in found.odd)
    middle = found.parts.complexes[:, :, 60:150]
    np.testing.assert_allclose(middle, np.broadcast_to(NORMAL[60:150], middle.shape), atol=0.06)
    assert np.sqrt((found.parts.variation[:, :3] ** 2).mean(axis=(0, 2))).max() < 0.05
    assert np.sqrt((found.parts.common**2).mean(axis=0)).max() < 0.03


def test_r_times_are_those_that_were_asked_for_odd_beats_among_them(planted):
    _, found = planted
    for k, r in enumerate(found.times):
        inside = r[1:-1]
        assert np.abs(inside[:, None] - planted_times(k)).min(axis=1).max() < 0.02


def test_what_is_drawn_is_like_what_was_found(planted):
    _, found = planted
    odd = Odd.fit(found.odd, PEOPLE)
    assert odd.other is None
    assert len(odd.early.axes) in (1, 2)  # what tells them apart is noise, and may be one person's
    assert odd.early.records == 1.0
    assert odd.early.beats == pytest.approx(1.0, abs=0.02)
    r = np.cumsum([0, 0.8, 0.8, 0.5, 1.1, 0.8, 0.8, 0.8, 0.8])
    drawn = odd.draw(r, LEADS_8_NORMAL, np.random.default_rng(0))
    assert list(drawn) == [3]
    around = np.abs(TIME) <= 0.1
    asked = NORMAL[around].std()  # as large in QRS as the complex
    for lead in drawn[3]:
        assert np.corrcoef(lead[60:200], BEYOND[60:200])[0, 1] > 0.97
        assert lead[around].std() == pytest.approx(asked, rel=0.2)
    again = Odd.from_json(json.loads(json.dumps(odd.to_json())), 8)
    np.testing.assert_array_equal(again.draw(r, LEADS_8_NORMAL, np.random.default_rng(0))[3], drawn[3])


def test_as_many_are_drawn_as_were_found():
    kind = OddForms(0.5, 0.2, [0.0] * 5, LEADS_8_NORMAL, np.zeros((0, 8, LENGTH)))
    r = 0.8 * np.arange(15)
    drawn = [Odd(other=kind).draw(r, LEADS_8_NORMAL, np.random.default_rng(k)) for k in range(600)]
    some = [len(each) for each in drawn if each]
    assert len(some) / len(drawn) == pytest.approx(0.5, abs=0.06)
    assert np.mean(some) / 15 == pytest.approx(0.2, abs=0.015)
    where = np.concatenate([list(each) for each in drawn])
    assert where.mean() == pytest.approx(7, abs=0.5)  # anywhere in a record


def one(form, times=1):
    """A record of ten beats, `times` of them odd and late."""
    odd = np.arange(10) < times
    return Oddities(odd, np.zeros(10, bool), np.stack([form] * times), np.zeros(times, bool))


def test_a_person_counts_once_and_nobody_makes_a_form(planted):
    rng = np.random.default_rng(0)
    smooth = rng.standard_normal((40, 8, 16)).repeat(16, axis=2)
    records = [one(form) for form in smooth[:39]] + [one(smooth[39], times=3)] * 20
    people = [str(k) for k in range(39)] + ["many"] * 20
    kind = Odd.fit(records, people).other
    assert kind.records == 1.0
    assert kind.beats == pytest.approx((39 * 0.1 + 0.3) / 40)  # of people, not of records
    forms = np.concatenate([kind.mean[None], kind.axes]).reshape(len(kind.axes) + 1, -1)

    def held(form):
        """Which share of it lies in what is kept."""
        basis = np.linalg.qr(forms.T)[0]
        flat = form.ravel() / np.linalg.norm(form)
        return np.linalg.norm(basis.T @ flat)

    of_others = np.array([held(form) for form in smooth[:39]])
    assert held(smooth[39]) < of_others.mean() + 3 * of_others.std()
    assert Odd.fit(records[39:], people[39:]) == Odd(None, None)


def test_no_axis_is_one_persons_who_is_like_nobody_else():
    rng = np.random.default_rng(1)
    shared, other, mine = rng.standard_normal((3, 8, 16)).repeat(16, axis=2)
    forms = [shared + 0.2 * rng.standard_normal() * other + 0.1 * rng.standard_normal((8, LENGTH)) for _ in range(39)]
    kind = Odd.fit([one(form.astype(np.float32)) for form in [*forms, mine]], [str(k) for k in range(40)]).other

    def along(form):
        flat = form.ravel() / np.linalg.norm(form)
        return np.abs(kind.axes.reshape(len(kind.axes), -1) @ flat) / np.linalg.norm(kind.axes, axis=(1, 2))

    assert max(along(mine - shared), default=0) < 0.5
    assert along(other).max() > 0.7


def test_too_few_people_give_no_odd_beats(planted):
    _, found = planted
    assert Odd.fit(found.odd[:19], PEOPLE[:19]) == Odd(None, None)
    assert Odd.fit(found.odd, ["same"] * RECORDS) == Odd(None, None)
    assert Odd().draw(np.arange(9.0), np.ones((8, LENGTH)), np.random.default_rng(0)) == {}


def test_a_record_of_many_kinds_of_beat_has_no_odd_ones():
    beats = [Beat(np.arange(LENGTH) + 200 * k, np.arange(LENGTH), np.zeros(LENGTH)) for k in range(8)]
    rest = np.random.default_rng(0).normal(0, 0.01, (2000, 8))
    single = rest.copy()
    single[[200 * 3 + 90]] += 5.0
    complex_ = np.broadcast_to(NORMAL[:, None], (LENGTH, 8))
    assert odd_beats(complex_, single, beats).tolist() == [k == 3 for k in range(8)]
    many = rest.copy()
    many[[200 * k + 90 for k in (1, 3, 5)]] += 5.0
    assert not odd_beats(complex_, many, beats).any()


@pytest.fixture(scope="module")
def encoded(planted):
    ecgs, _ = planted
    encoder = ComplexEncoder.fit(ecgs)
    return encoder, encoder.encode(ecgs)[0]


def test_a_record_with_odd_beats_depends_on_its_own_row_and_is_the_same_once_saved(encoded):
    encoder, tensor = encoded
    made = encoder.decode(tensor)
    plain = ComplexEncoder.from_json(encoder.to_json())
    plain.odd_ = Odd()
    assert (np.abs(made - plain.decode(tensor)).max(axis=(1, 2)) > 0.3).sum() > 5  # there are odd ones
    np.testing.assert_array_equal(made[3:14], encoder.decode(tensor[3:14]))
    again = ComplexEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    np.testing.assert_array_equal(again.decode(tensor), made)
    found = r_peaks(ECGSet(made, FS, LEADS_8, PEOPLE))
    assert min(map(len, found)) > 7


@pytest.mark.parametrize(
    "damage",
    [
        {"mean": [[0.0] * LENGTH]},
        {"mean": "none"},
        {"axes": [[[0.0], [0.0, 1.0]]]},
        {"log_sizes": [0.0]},
        {"log_sizes": None},
        {"records": "many"},
        {"beats": None},
        {"records": float("nan")},
    ],
)
def test_damaged_odd_beats_are_told(encoded, damage):
    saved = encoded[0].to_json()
    saved["complexes"]["odd_"]["early"].update(damage)
    with pytest.raises(RunError, match="damaged"):
        ComplexEncoder.from_json(saved)


@pytest.mark.parametrize("damage", [{"scale_": [1.0]}, {"sd_": [1.0]}, {"mean_": 3}, {"fs": "fast"}])
def test_a_damaged_encoder_is_told(encoded, damage):
    saved = encoded[0].to_json()
    saved["complexes"].update(damage)
    with pytest.raises(RunError, match="damaged"):
        ComplexEncoder.from_json(saved)


def test_an_encoder_from_before_odd_beats_is_called_an_older_one(encoded):
    saved = encoded[0].to_json()
    del saved["complexes"]["odd_"]
    with pytest.raises(RunError, match="an older one"):
        ComplexEncoder.from_json(saved)
