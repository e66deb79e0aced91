import numpy as np
import pytest

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import RecordError

GOOD = {"signal": np.zeros((2, 1, 4)), "fs": 100, "leads": ("I",), "record_name": ("a", "b")}


def test_defaults():
    ecgs = ECGSet(**GOOD)
    assert ecgs.signal.dtype == np.float32
    assert ecgs.patient_id == ("a", "b")
    assert ecgs.labels == ((), ())
    assert ecgs.sex == ("", "")
    assert np.isnan(ecgs.age).all()
    assert (len(ecgs), ecgs.n_samples, ecgs.seconds) == (2, 4, 0.04)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signal": np.zeros((2, 4))}, r"shape \(2, 4\)"),
        ({"fs": 0}, "fs is 0.0 Hz"),
        ({"leads": ("i",)}, "'i' is not a standard lead name"),
        ({"leads": ("I", "II")}, "name each row once"),
        ({"record_name": ("a", "a")}, "record name 'a' occurs more than once"),
        ({"record_name": ("a",)}, "1 values of record_name for 2 records"),
        ({"sex": ("F", "M")}, "use 'female'"),
        ({"signal": np.array([[[0, 1, 2, 3]], [[0, np.nan, 2, 3]]])}, "record b holds values"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(change, message):
    with pytest.raises(RecordError, match=message):
        ECGSet(**{**GOOD, **change})


def test_take_and_concat_keep_every_field_beside_its_record():
    ecgs = ECGSet(
        np.arange(6.0).reshape(3, 1, 2), 100, ("I",), ("a", "b", "c"), ("p", "q", "p"), (("x",), (), ("y",)), [1, 2, 3]
    )
    taken = ecgs.take([2, 0])
    assert (taken.record_name, taken.patient_id, taken.labels) == (("c", "a"), ("p", "p"), (("y",), ("x",)))
    assert taken.age.tolist() == [3, 1]
    joined = concat([ecgs.take([0]), ecgs.take([1, 2])])
    assert np.array_equal(joined.signal, ecgs.signal)
    assert joined.record_name == ecgs.record_name
    with pytest.raises(RecordError, match="differ in form"):
        concat([ecgs, ECGSet(np.zeros((1, 1, 2)), 200, ("I",), ("d",))])
