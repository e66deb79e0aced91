"""Beats that are not like the others: planted, found, left out of the complex, and drawn."""

import json

import numpy as np
import pytest

from ecgveil.complexes import LENGTH, Parts, analyse, readable, synthesise
from ecgveil.complexes.odd import Odd, OddForms, odd_beats
from ecgveil.complexes.parts import BANDS, BEFORE_S, RATE_HZ
from ecgveil.complexes.variation import Beat
from ecgveil.ecg import ECGSet
from ecgveil.leads import LEADS_8
from ecgveil.measure.beats import r_peaks

FS, SAMPLES, RECORDS = 500.0, 5000, 30
TIME = np.arange(LENGTH) / RATE_HZ - BEFORE_S
NORMAL = np.exp(-0.5 * (TIME / 0.012) ** 2) + 0.25 * np.exp(-0.5 * ((TIME - 0.28) / 0.05) ** 2)
BEYOND = 0.8 * np.exp(-0.5 * (TIME / 0.05) ** 2) - 0.6 * np.exp(-0.5 * ((TIME - 0.3) / 0.06) ** 2)


@pytest.fixture(scope="module")
def planted():
    """Records whose every fifth beat comes early, and has `BEYOND` more in all leads."""
    complexes = np.broadcast_to(NORMAL, (RECORDS, 8, LENGTH)).astype(np.float32)
    parts = Parts(
        complexes,
        np.full((RECORDS, 9, BANDS), 1e-6),
        np.zeros((RECORDS, 4, 8)),
        np.zeros((RECORDS, 3)),
        np.zeros((RECORDS, 2)),
    )
    times = []
    for k in range(RECORDS):
        rr = np.full(18, 0.8) + 0.01 * np.random.default_rng(k).standard_normal(18)
        rr[3::5], rr[4::5] = 0.55, 1.0
        times.append(np.cumsum(np.r_[-1.3, rr]))
    size = float(np.sqrt(np.var(NORMAL[np.abs(TIME) <= 0.1])))
    kind = OddForms(1.0, 1.0, [0.0] * 5, np.broadcast_to(BEYOND / size, (8, LENGTH)), np.zeros((0, 8, LENGTH)))
    # Drawn as large in QRS as the record's own complex: not quite what `BEYOND` is.
    rngs = [np.random.default_rng(k) for k in range(RECORDS)]
    made = synthesise(parts, times, LEADS_8, FS, SAMPLES, rngs, Odd(early=kind))
    ecgs = ECGSet(made, FS, LEADS_8, tuple(map(str, range(RECORDS))))
    rows, peaks = readable(ecgs)
    assert len(rows) == RECORDS
    return ecgs, analyse(ecgs, peaks)


def test_odd_beats_are_found_and_are_no_part_of_the_complex(planted):
    ecgs, found = planted
    share = np.mean([each.odd.mean() for each in found.odd])
    early = np.mean([each.early.mean() for each in found.odd])
    assert share == pytest.approx(early, abs=0.02)
    assert all((each.odd == each.early).all() for each in found.odd)
    np.testing.assert_allclose(
        found.parts.complexes[:, :, 60:150],
        NORMAL[None, None, 60:150] + 0 * found.parts.complexes[:, :, 60:150],
        atol=0.06,
    )
    assert found.parts.variation[:, 0].max() < 0.05


def test_what_is_drawn_is_like_what_was_found(planted):
    _, found = planted
    odd = Odd.fit(found.odd)
    assert odd.other is None
    assert odd.early.records == 1.0
    assert odd.early.beats == pytest.approx(1.0, abs=0.02)
    r = np.cumsum([0, 0.8, 0.8, 0.5, 1.1, 0.8, 0.8, 0.8, 0.8])
    drawn = odd.draw(r, np.broadcast_to(NORMAL, (8, LENGTH)), np.random.default_rng(0))
    assert list(drawn) == [3]
    middle = slice(60, 200)
    for lead in drawn[3]:
        assert np.corrcoef(lead[middle], BEYOND[middle])[0, 1] > 0.97
    again = Odd.from_json(json.loads(json.dumps(odd.to_json())))
    np.testing.assert_allclose(
        again.draw(r, np.broadcast_to(NORMAL, (8, LENGTH)), np.random.default_rng(0))[3], drawn[3], atol=1e-2
    )


def test_too_few_records_give_no_odd_beats(planted):
    _, found = planted
    assert Odd.fit(found.odd[:11]) == Odd(None, None)
    assert Odd().draw(np.arange(9.0), np.ones((8, LENGTH)), np.random.default_rng(0)) == {}


def test_a_record_of_many_kinds_of_beat_has_no_odd_ones():
    beats = [Beat(np.arange(LENGTH) + 200 * k, np.arange(LENGTH), np.zeros(LENGTH)) for k in range(8)]
    rest = np.random.default_rng(0).normal(0, 0.01, (2000, 8))
    one = rest.copy()
    one[[200 * 3 + 90]] += 5.0
    complex_ = np.broadcast_to(NORMAL[:, None], (LENGTH, 8))
    assert odd_beats(complex_, one, beats).tolist() == [k == 3 for k in range(8)]
    many = rest.copy()
    many[[200 * k + 90 for k in (1, 3, 5)]] += 5.0
    assert not odd_beats(complex_, many, beats).any()


def test_premature_beats_of_a_drawn_record_stay_where_they_were_asked_for(planted):
    ecgs, found = planted
    peaks = r_peaks(ecgs)
    for row, r in enumerate(found.times[:5]):
        inside = r[1:-1]
        assert np.abs(peaks[row][:, None] / FS - inside).min(axis=1).max() < 0.02
