import io
import json
import struct

import numpy as np
import pytest
from matplotlib.figure import Figure

from ecgveil import paper
from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_12
from ecgveil.simulate import simulate


@pytest.fixture(scope="module")
def ecgs() -> ECGSet:
    return simulate(3, seed=1)[0]


def texts(fig: Figure) -> list[str]:
    return [each.get_text() for each in fig.axes[0].texts]


def traces(fig: Figure, colour: str) -> list[np.ndarray]:
    return [line.get_xydata() for line in fig.axes[0].lines if line.get_color() == colour]


def test_ten_seconds_are_250_mm_and_the_axes_are_millimetres(ecgs):
    fig = paper.draw_12lead(ecgs, 0, synthetic=False)
    rhythm = traces(fig, paper.REAL_COLOUR)[-1]
    assert rhythm[-1, 0] - rhythm[0, 0] == pytest.approx(250, abs=0.1)
    assert fig.axes[0].get_xlim()[1] == pytest.approx(paper.width_mm(fig))
    assert fig.axes[0].get_ylim()[1] == pytest.approx(fig.get_figheight() * 25.4)


def test_one_millivolt_is_10_mm():
    signal = np.zeros((1, 1, 1000), np.float32)
    signal[..., 500:510] = 1.0
    fig = paper.draw_12lead(ECGSet(signal, 500, ("I",), ("a",)), 0, synthetic=False)
    (trace,) = traces(fig, paper.REAL_COLOUR)
    assert np.ptp(trace[:, 1]) == pytest.approx(10)
    mark = next(line.get_xydata() for line in fig.axes[0].lines if line.get_color() == paper.INK)
    assert np.ptp(mark[:, 1]) == pytest.approx(10)


def test_twelve_leads_are_drawn_as_on_a_ward_in_any_order_of_leads(ecgs):
    fig = paper.draw_12lead(ecgs, 1, synthetic=False)
    assert set(LEADS_12) < set(texts(fig))
    assert texts(fig).count("II") == 2  # in its column and as the rhythm strip
    assert len(traces(fig, paper.REAL_COLOUR)) == 13
    turned = paper.draw_12lead(ecgs.pick(LEADS_12[::-1]), 1, synthetic=False)
    for one, other in zip(traces(fig, paper.REAL_COLOUR), traces(turned, paper.REAL_COLOUR), strict=True):
        np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("leads", [("I",), ("II", "V2", "V5"), LEADS_12])
@pytest.mark.parametrize("samples", [1, 700, 20_000])
def test_any_leads_and_length_can_be_drawn(leads, samples):
    signal = np.random.default_rng(0).standard_normal((2, len(leads), samples))
    some = ECGSet(signal, 500, leads, ("a", "b"))
    for fig in (paper.draw_12lead(some, 1, synthetic=True), paper.draw_strips(some, [0, 1], synthetic=True)):
        assert any("SYNTHETIC" in text for text in texts(fig))
        assert traces(fig, paper.SYNTHETIC_COLOUR)
        assert paper.width_mm(fig) <= 15 + 4 * 62.5 + 3 * 5 + 5 + 5


def test_only_synthetic_ecgs_bear_the_word(ecgs):
    for draw in (
        lambda s: paper.draw_12lead(ecgs, 0, synthetic=s),
        lambda s: paper.draw_strips(ecgs, [0], synthetic=s),
    ):
        assert sum("SYNTHETIC" in text for text in texts(draw(True))) == 2
        assert not any("SYNTHETIC" in text for text in texts(draw(False)))
        assert not traces(draw(True), paper.REAL_COLOUR)


def test_no_name_of_a_record_is_drawn(ecgs):
    drawn = json.dumps(texts(paper.draw_12lead(ecgs, 0, title="x", synthetic=False)))
    assert ecgs.record_name[0] not in drawn


def test_another_unit_is_named(ecgs):
    fig = paper.draw_strips(
        ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, ecgs.record_name, units="sd"), [0], synthetic=False
    )
    assert any("1 sd" in text for text in texts(fig))


def test_png_has_the_size_of_the_figure(ecgs):
    fig = paper.draw_strips(ecgs, [0, 1], synthetic=True)
    png = paper.to_png(fig, dpi=100)
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", io.BytesIO(png).read(24)[16:])
    assert abs(width - fig.get_figwidth() * 100) <= 1
    assert abs(height - fig.get_figheight() * 100) <= 1


@pytest.mark.parametrize("rows", [[], [3], [-1]])
def test_rows_that_are_not_there_are_named(ecgs, rows):
    with pytest.raises(RecordError, match="row"):
        paper.draw_strips(ecgs, rows, synthetic=False)
