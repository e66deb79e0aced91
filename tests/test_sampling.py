from dataclasses import replace

import numpy as np
import pytest
import torch
import wfdb

from conftest import shaped, tiny
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_12
from ecgveil.models.draw import draw_conditions
from ecgveil.recipe import load_recipe, recipe_names
from ecgveil.rhythm import heart_rate
from ecgveil.sampling import load
from ecgveil.training.fit import fit
from ecgveil.windows import read


@pytest.fixture(scope="module", params=[name for name in recipe_names() if load_recipe(name).data.kind == "ecg"])
def run(request, clinic, tmp_path_factory):
    recipe = tiny(request.param, training__steps=2)
    return load(fit(shaped(clinic, recipe), recipe, tmp_path_factory.mktemp("runs") / "run").path)


def test_a_stream_broken_off_leaves_torch_as_it_was(run):
    threads = torch.get_num_threads()
    for batch in run.stream(100, batch_size=16):
        assert len(batch) == 16
        break
    assert torch.get_num_threads() == threads
    with pytest.raises(ZeroDivisionError):
        list(run.each(lambda batch: 1 / 0, 40, batch_size=16))
    assert torch.get_num_threads() == threads


def test_sample_k_is_the_same_whatever_the_batch(run):
    sets = [run.sample(40, seed=5, batch_size=size) for size in (1, 30, 64)]  # in batches of 16, 32 and 40
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


def test_ecgs_are_of_whom_is_asked_for(clinic, tmp_path):
    recipe = tiny("pulse2pulse-conditional", training__steps=1, training__pictures=0)
    run = load(fit(shaped(clinic, recipe), recipe, tmp_path / "run").path)
    drawn = run.sample(12, seed=1)
    assert set(drawn.sex) == {"female", "male"}
    assert np.isfinite(drawn.age).all()
    asked = run.bearing(["NORM"], "female", (50, 55), (60, 80)).sample(12, seed=1)
    assert set(asked.sex) == {"female"}
    assert set(asked.age) <= set(range(50, 56))
    assert len(set(asked.age)) > 1
    conditions = draw_conditions(run.bearing(heart_rate=70).conditions, 1, 0, 5)
    assert [run.conditions.shown(each).heart_rate for each in conditions] == [70] * 5
    alone = run.bearing(age=52).sample(3, seed=1)
    assert set(alone.age) == {52}
    assert np.array_equal(alone.signal, run.bearing(age=(52, 52)).sample(3, seed=1).signal)
    write(asked, tmp_path / "records", comments=["synthetic"])
    again, _ = read(tmp_path / "records", allow=("wrong_unit", "noise", "flat"))
    assert (again.labels, again.sex, again.age.tolist()) == (asked.labels, asked.sex, asked.age.tolist())
    assert "synthetic" in wfdb.rdheader(str(tmp_path / "records" / asked.record_name[0])).comments
    for asking, message in (
        ({"sex": "f"}, "sex is 'f'; ask for female or male"),
        ({"age": (70, 60)}, "age is asked for from 70 to 60; give two numbers from 0 up, the lower first"),
        ({"age": 60.5}, "age is asked for from 60.5 to 60.5; give whole years"),
        ({"age": "old"}, "age is 'old'; ask for a number"),
        ({"heart_rate": float("nan")}, "heart_rate is asked for from nan"),
        ({"age": 119}, r"age 119 to 119 is beyond the training patients; those asked for reach over age \d+ to \d+"),
    ):
        with pytest.raises(ConfigError, match=message):
            run.bearing(**asking)


def test_resuming_on_people_of_other_ages_or_sex_is_noticed(clinic, tmp_path):
    recipe = tiny("quick", training__steps=2, data__conditions=["sex", "age"])
    ecgs = shaped(clinic, recipe)
    fit(ecgs, recipe, tmp_path / "run")
    for other in (replace(ecgs, age=ecgs.age + 1), replace(ecgs, sex=ecgs.sex[::-1])):
        with pytest.raises(RunError, match="other records"):
            fit(other, recipe, tmp_path / "run", resume=True)


def test_a_beating_heart_has_the_rate_asked_for(clinic, tmp_path):
    recipe = tiny("quick", training__steps=2, data__conditions=["heart_rate"])
    run = load(fit(shaped(clinic, recipe), recipe, tmp_path / "run").path)
    found = {}
    for rate in (65, 80):
        asked = run.bearing(heart_rate=rate)
        assert asked.sample(2).sex == ("", "")  # not learned, not told
        noises = [
            run.generator.draw(np.random.default_rng(k), asked.conditions.draw(np.random.default_rng(k)))
            for k in range(40)
        ]
        rr = [np.diff(noise["r_times"][noise["r_times"] < 10]).mean() for noise in noises]
        found[rate] = 60 / np.mean(rr)
    assert found == {rate: pytest.approx(rate, rel=0.03) for rate in found}


@pytest.mark.parametrize("name", ["quick", "veil"])
def test_a_rhythm_can_be_asked_for_that_was_no_condition(name, clinic, tmp_path):
    recipe = tiny(name, training__steps=2)
    run = load(fit(shaped(clinic, recipe), recipe, tmp_path / "run").path)
    assert np.array_equal(
        run.bearing(heart_rate=70).sample(3).signal, run.bearing(heart_rate=(70, 70)).sample(3).signal
    )
    for span in (45, 140, (60, 75)):
        generator = run.bearing(heart_rate=span).generator
        drawn = [generator.rhythm.statistics(np.random.default_rng(k)) for k in range(50)]
        rates = np.array([heart_rate(each) for each in drawn])
        low, high = span if isinstance(span, tuple) else (span, span)
        assert (rates > low - 1e-6).all()
        assert (rates < high + 1e-6).all()
        assert len({round(rate, 6) for rate in rates}) == (1 if low == high else 50)
    assert run.generator.rhythm is run.folder.context.rhythm or run.generator.rhythm == run.folder.context.rhythm
    with pytest.raises(ConfigError, match="heart_rate is asked for from 10 to 20; give bpm from 30 to 150"):
        run.bearing(heart_rate=(10, 20))
    with pytest.raises(ConfigError, match="trained on signals alone"):
        run.bearing(heart_rate=70, age=50)


def test_without_a_rhythm_no_heart_rate_is_to_be_had(clinic, tmp_path):
    recipe = tiny("wavegan-star", training__steps=2)
    run = load(fit(shaped(clinic, recipe), recipe, tmp_path / "run").path)
    with pytest.raises(ConfigError, match="has not learned the heart rate; fit one that learns the rhythm, such as"):
        run.bearing(heart_rate=70)


def test_ecgs_without_beats_are_left_out_of_what_is_taken_apart_and_counted(clinic, tmp_path):
    recipe = tiny("veil", training__steps=2)
    ecgs = shaped(clinic, recipe)
    signal = ecgs.signal.copy()
    signal[:3] = np.random.default_rng(0).normal(0, 0.01, signal[:3].shape)
    folder = fit(replace(ecgs, signal=signal), recipe, tmp_path / "run", use_all=True)
    assert folder.provenance["without_beats"] >= 3
    assert folder.provenance["counts"]["train"]["windows"] == len(ecgs) - folder.provenance["without_beats"]
    with pytest.raises(RecordError, match="0 of 24 training ECGs have the four beats"):
        fit(replace(ecgs, signal=0.0 * signal), recipe, tmp_path / "other", use_all=True)
