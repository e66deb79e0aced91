import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_8, LEADS_12, limb_residual, pick, restore, standard_name

eight = arrays(np.float32, (8, 5), elements=st.floats(-30, 30, width=32))


@given(eight)
@settings(deadline=None)
def test_the_leads_given_stay_as_they_are_and_restored_leads_obey_einthoven_and_goldberger(signal):
    full = restore(signal)
    assert np.array_equal(pick(full, LEADS_12, LEADS_8), signal)
    one, two = signal[0].astype(float), signal[1].astype(float)
    for lead, expected in {
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }.items():
        np.testing.assert_allclose(full[LEADS_12.index(lead)], expected, atol=1e-5)
    assert np.abs(limb_residual(full, LEADS_12)).max() <= 1e-5


def test_limb_residual_sees_swapped_leads():
    signal = restore(np.random.default_rng(0).normal(size=(8, 50)))
    swapped = signal[[1, 0, *range(2, 12)]]
    assert np.abs(limb_residual(swapped, LEADS_12)).max() > 0.5


@pytest.mark.parametrize(
    ("name", "standard"),
    [("i", "I"), ("AVR", "aVR"), ("avl", "aVL"), (" v3 ", "V3"), ("MDC_ECG_LEAD_AVF", "aVF"), ("lead II", "II")],
)
def test_standard_names(name, standard):
    assert standard_name(name) == standard


@pytest.mark.parametrize("name", ["vx", "ABP", "", "V7", "IV"])
def test_names_that_are_no_lead(name):
    assert standard_name(name) is None


def test_pick_goes_by_name_and_names_what_is_missing():
    signal = np.arange(8.0)[:, None] * np.ones((8, 3))
    assert np.array_equal(pick(signal, LEADS_8, ("V6", "I")), signal[[7, 0]])
    with pytest.raises(RecordError, match="lead V1 is missing"):
        pick(signal[:2], ("I", "II"), ("V1",))
