import numpy as np
import pytest
import wfdb

from conftest import shaped, tiny
from ecgveil.errors import ConfigError, RunError
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_12
from ecgveil.recipe import recipe_names
from ecgveil.sampling import load
from ecgveil.training.fit import fit
from ecgveil.windows import read


@pytest.fixture(scope="module", params=recipe_names())
def run(request, clinic, tmp_path_factory):
    recipe = tiny(request.param, training__steps=2)
    return load(fit(shaped(clinic, recipe), recipe, tmp_path_factory.mktemp("runs") / "run").path)


def test_sample_k_is_the_same_whatever_the_batch(run):
    sets = [run.sample(20, seed=5, batch_size=size) for size in (1, 7, 64)]
    for other in sets[1:]:
        assert np.array_equal(sets[0].signal, other.signal)
        assert sets[0].record_name == other.record_name
    assert np.array_equal(run.sample(3, seed=5).signal, sets[0].signal[:3])
    assert not np.array_equal(run.sample(3, seed=6).signal, sets[0].signal[:3])


def test_written_records_read_back_exactly_and_obey_the_limb_leads(run, tmp_path):
    ecgs = run.sample(3, seed=1)
    write(ecgs, tmp_path, comments=["synthetic"])
    for row, name in enumerate(ecgs.record_name):
        record = wfdb.rdrecord(str(tmp_path / name), physical=False)
        assert record.fmt == ["16"] * len(ecgs.leads)
        assert record.units == [run.recipe.data.units] * len(ecgs.leads)
        assert set(record.adc_gain) == {1000.0}
        units = record.d_signal.T.astype(int)
        assert np.array_equal(units, np.rint(ecgs.signal[row] * 1000))
        assert "synthetic" in record.comments
        if ecgs.leads == LEADS_12:
            one, two, three, avr, avl, avf = units[:6]
            assert np.array_equal(three, two - one)
            for lead, expected in ((avr, -(one + two) / 2), (avl, one - two / 2), (avf, two - one / 2)):
                assert np.abs(lead - expected).max() <= 0.5


def test_wrong_arguments_and_folders(run, tmp_path):
    with pytest.raises(ConfigError, match="number is 0"):
        run.sample(0)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        run.sample(1, batch_size=0)
    with pytest.raises(RunError, match="no such run folder"):
        load(tmp_path / "absent")
    with pytest.raises(RunError, match="is not a run folder"):
        load(tmp_path)


def test_samples_bear_the_labels_they_were_drawn_for(clinic, tmp_path):
    recipe = tiny("superclass", training__steps=2)
    run = load(fit(shaped(clinic, recipe), recipe, tmp_path / "run").path)
    drawn = run.sample(40, seed=1, batch_size=7)
    assert drawn.units == "sd"
    assert drawn.leads == recipe.data.leads  # the limb leads are not restored
    assert {("NORM",), ("MI",)} <= set(drawn.labels)
    assert drawn.labels == run.sample(40, seed=1).labels
    asked = run.bearing(["MI"]).sample(20, seed=1)
    assert all("MI" in labels for labels in asked.labels)
    assert np.array_equal(run.bearing([]).sample(3, seed=1).signal, drawn.signal[:3])
    with pytest.raises(ConfigError, match="label 'CD' is none that the run has learned; it knows NORM, MI"):
        run.bearing(["CD"])
    write(drawn, tmp_path / "records")
    again, _ = read(tmp_path / "records", allow=("wrong_unit", "noise", "flat"))
    assert (
        dict(zip(again.record_name, again.labels, strict=True)).items()
        <= dict(zip(drawn.record_name, drawn.labels, strict=True)).items()
    )


def test_a_run_without_labels_draws_none(run):
    if run.recipe.data.labels:
        return
    assert set(run.sample(2).labels) == {()}
    with pytest.raises(ConfigError, match="was trained without labels; fit a recipe with data.labels"):
        run.bearing(["MI"])
