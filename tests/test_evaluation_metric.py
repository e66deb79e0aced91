import pytest

from ecgveil.evaluation.metric import number, text


@pytest.mark.parametrize(("value", "expected"), [(1.5, 1.5), (float("nan"), None), (float("inf"), None)])
def test_json_knows_no_nan(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, "0"), (12.345, "12.3"), (-0.00123, "-0.00123"), (98765.4, "98765")]
)
def test_text_has_three_digits(value, expected):
    assert text(value) == expected
