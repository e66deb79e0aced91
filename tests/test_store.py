import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.evaluation import evaluate
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.simulate import simulate, write_clinic
from ecgveil.store import READABLE, Form, read_stored, usual_form
from ecgveil.windows import read


@pytest.fixture(scope="module")
def ecgs() -> ECGSet:
    return simulate(9, seed=5, fs=100)[0]


def written(folder, ecgs, leads=None):
    write(ecgs.pick(leads or ecgs.leads), folder)
    return folder


def named(ecgs, prefix) -> ECGSet:
    names = tuple(f"{prefix}{i}" for i in range(len(ecgs)))
    return ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, names, units=ecgs.units)


def test_on_disk_is_what_read_gives_in_memory(tmp_path):
    write_clinic(tmp_path / "clinic", 8, seed=3, fs=100, repeat_share=0.5)
    known, findings = read(tmp_path / "clinic")
    stored = read_stored(tmp_path / "clinic", tmp_path / "signals", usual_form(tmp_path / "clinic"))
    np.testing.assert_array_equal(stored.ecgs.signal, known.signal)
    stored.free()
    np.testing.assert_array_equal(stored.ecgs.signal, known.signal)  # read again from disk
    np.testing.assert_array_equal(stored.ecgs.age, known.age)
    for name in ("fs", "leads", "record_name", "patient_id", "labels", "sex", "units"):
        assert getattr(stored.ecgs, name) == getattr(known, name)
    assert stored.records == known.record_name
    assert stored.findings == findings
    assert len(set(known.patient_id)) < len(known)
    assert stored.resampled == {}


def test_the_same_figures_from_disk_as_from_memory(tmp_path, ecgs):
    parts = [ecgs.take(rows) for rows in (range(3), range(3, 6), range(6, 9))]
    folders = [written(tmp_path / str(i), part) for i, part in enumerate(parts)]
    in_memory = [read(folder)[0] for folder in folders]
    on_disk = [read_stored(folder, tmp_path / "signals", usual_form(folder)).ecgs for folder in folders]
    one, other = (evaluate(*sets, seed=1, quick=True) for sets in (in_memory, on_disk))
    assert repr(one.metrics) == repr(other.metrics)
    assert one.copies.equals(other.copies)
    assert one.notes == other.notes


def test_the_signals_have_no_name_in_the_folder_and_are_still_there(tmp_path, ecgs):
    out = tmp_path / "out"
    out.mkdir()
    stored = read_stored(written(tmp_path / "in", ecgs), out / "signals", Form(LEADS_12, 100.0, 1000))
    assert not list(out.iterdir())
    np.testing.assert_allclose(stored.ecgs.signal, ecgs.signal, atol=0.0006)


def test_where_open_files_keep_their_name_nobody_else_may_read_them(tmp_path, ecgs, monkeypatch):
    folder = written(tmp_path / "in", ecgs)

    def refused(*_, **__):
        raise PermissionError(13, "in use")

    monkeypatch.setattr("pathlib.Path.unlink", refused)
    stored = read_stored(folder, tmp_path / "signals", Form(LEADS_8, 100.0, 1000))
    assert len(stored.ecgs) == 9
    assert (tmp_path / "signals").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "signals").stat().st_size == 9 * 8 * 1000 * 4


def test_checking_a_set_on_disk_takes_no_memory_of_its_size(tmp_path):
    import tracemalloc

    signal = np.memmap(tmp_path / "signals", np.float32, "w+", shape=(400, 8, 5000))
    names = tuple(map(str, range(400)))
    tracemalloc.start()
    try:
        ECGSet(signal, 500, LEADS_8, names)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    signal[399, 7, 4999] = np.nan
    with pytest.raises(RecordError, match="record 399 holds values that are not finite"):
        ECGSet(signal, 500, LEADS_8, names)


def test_other_leads_rates_and_lengths_are_brought_to_the_form(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs.take([0]), "twelve"))
    written(folder, named(ecgs.take([1]), "eight"), LEADS_8)
    twice = simulate(2, seed=8, fs=200, seconds=9)[0]
    written(folder, named(twice.take([0]), "fast"))
    stored = read_stored(folder, tmp_path / "signals", Form(("III", "V2"), 100.0, 450))
    assert (stored.ecgs.leads, stored.ecgs.fs, stored.ecgs.n_samples) == (("III", "V2"), 100.0, 450)
    assert stored.resampled == {200.0: 1}
    assert set(stored.ecgs.record_name) == {f"{name}0#{k}" for name in ("twelve", "eight", "fast") for k in (0, 1)}
    assert stored.records == tuple(name.split("#")[0] for name in stored.ecgs.record_name)
    assert stored.ecgs.patient_id == stored.records  # windows of one record are of one person
    at = stored.ecgs.record_name.index("eight0#1")
    third = ecgs.signal[1, 1, 450:900] - ecgs.signal[1, 0, 450:900]
    np.testing.assert_allclose(stored.ecgs.signal[at, 0], third, atol=0.002)


def test_what_does_not_reach_the_form_is_left_out_and_told(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs.take([0]), "good"))
    written(folder, named(simulate(1, seed=2, fs=100, seconds=6)[0], "short"))
    written(folder, named(ecgs.take([1]), "few"), ("I", "II"))
    slow = ecgs.take([2])
    written(folder, named(ECGSet(slow.signal[:, :, ::2], 50, LEADS_12, ("x",)), "slow"))
    stored = read_stored(folder, tmp_path / "signals", Form(LEADS_12, 100.0, 1000))
    left_out = {each.record: each for each in stored.findings if not each.kept}
    assert {name: each.reasons for name, each in left_out.items()} == {
        "short0": ("too_short",),
        "few0": ("missing_lead",),
        "slow0": ("low_rate",),
    }
    assert left_out["short0"].details == ("it lasts 6 s, a window 10 s",)
    assert left_out["slow0"].details == ("its rate is 50 Hz, below 100 Hz",)
    assert stored.ecgs.record_name == ("good0",)
    with pytest.raises(RecordError, match=r"none of 4 records can be used \(too_short 3, low_rate 1"):
        read_stored(folder, tmp_path / "signals", Form(("I",), 100.0, 2000))


def test_only_the_records_named_are_read(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs, "r"))
    told = []
    stored = read_stored(
        folder,
        tmp_path / "signals",
        usual_form(folder),
        names={"r2", "r7"},
        progress=lambda *at: told.append(at),
    )
    assert stored.ecgs.record_name == ("r2", "r7")
    assert told == [(1, 2), (2, 2)]


def test_flaws_are_read_where_they_are_allowed(tmp_path, ecgs):
    signal = ecgs.signal[:4].copy()
    signal[1, 7, 200:] = 0.25  # an electrode off
    signal[2, 2] += 1.0  # III is not II less I
    signal[3] = signal[0]
    folder = written(tmp_path / "in", ECGSet(signal, 100, LEADS_12, ("good", "flat", "limb", "twin")))
    form = usual_form(folder)
    strict, lenient = (read_stored(folder, tmp_path / "s", form, allow=allow) for allow in ((), READABLE))
    assert strict.ecgs.record_name in {("good",), ("twin",)}  # the first of the two by name
    assert set(lenient.ecgs.record_name) == {"good", "flat", "limb", "twin"}
    reasons = {each.record: each.reasons for each in lenient.findings}
    assert reasons["flat"] == ("flat",)
    assert reasons["limb"] == ("limb_leads",)
    assert sorted([reasons["good"], reasons["twin"]]) == [(), ("duplicate",)]


def test_units_that_differ_are_refused(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs.take([0]), "a"))
    write(ECGSet(ecgs.signal[1:2], 100, LEADS_12, ("b0",), units="sd"), folder)
    form = Form(LEADS_12, 100.0, 1000)
    with pytest.raises(RecordError, match="different units, mV and sd; read them apart"):
        read_stored(folder, tmp_path / "signals", form, allow=READABLE)
    assert read_stored(folder, tmp_path / "signals", form).ecgs.record_name == ("a0",)


def test_the_usual_form_is_the_commonest(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs.take(range(3)), "a"), LEADS_8)
    written(folder, named(simulate(2, seed=2, fs=200, seconds=6)[0], "b"))
    assert usual_form(folder) == Form(LEADS_8, 100.0, 1000)
    assert usual_form(folder).seconds == 10
    three = written(tmp_path / "three", ecgs, ("V6", "II", "V1"))
    assert usual_form(three).leads == ("II", "V1", "V6")
    seven = ("I", "II", "III", "V1", "V2", "V3", "V4", "V5", "V6")
    assert usual_form(written(tmp_path / "nine", ecgs, seven)).leads == LEADS_8


def test_the_usual_form_is_told_by_the_first_records_alone(tmp_path, ecgs, monkeypatch):
    folder = written(tmp_path / "in", named(ecgs, "r"))
    monkeypatch.setattr("ecgveil.store._LOOKED_AT", 2)
    for path in sorted(folder.glob("*.dat"))[2:]:
        path.unlink()
    assert usual_form(folder) == Form(LEADS_12, 100.0, 1000)


def test_where_nothing_has_a_form(tmp_path, ecgs):
    with pytest.raises(RecordError, match="no such folder"):
        usual_form(tmp_path / "absent")
    folder = written(tmp_path / "in", ecgs.take([0]))
    header = next(folder.glob("*.hea"))
    text = header.read_text()
    for i, lead in reversed(list(enumerate(LEADS_12))):
        text = text.replace(f" 0 {lead}\n", f" 0 vx{i}\n")
    header.write_text(text)
    with pytest.raises(RecordError) as caught:
        usual_form(folder)
    assert "no record has a standard lead; name them I, II" in str(caught.value)
    header.with_suffix(".dat").write_bytes(b"")
    with pytest.raises(RecordError, match=r"none of 1 records can be used \(unreadable 1\)"):
        usual_form(folder)


def test_one_record_in_another_unit_is_left_out_where_the_usual_one_is_known(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs.take([0, 1]), "b"))
    write(ECGSet(ecgs.signal[2:3], 100, LEADS_12, ("a0",), units="sd"), folder)
    form = usual_form(folder, allow=READABLE)
    assert form.units == "mV"
    stored = read_stored(folder, tmp_path / "signals", form, allow=READABLE)
    assert (stored.ecgs.record_name, stored.ecgs.units) == (("b0", "b1"), "mV")
    assert stored.findings[0].reasons[-1:] == ("wrong_unit",)
    assert stored.findings[0].details[-1] == "it is in sd, most are in mV"


def test_a_rate_that_cannot_be_brought_to_the_usual_one_costs_one_record(tmp_path, ecgs):
    folder = written(tmp_path / "in", named(ecgs.take([0, 1]), "a"))
    odd = ecgs.take([2])
    written(folder, named(ECGSet(odd.signal, 100.01, LEADS_12, ("x",)), "odd"))
    stored = read_stored(folder, tmp_path / "signals", Form(LEADS_12, 100.0, 900))
    assert stored.ecgs.record_name == ("a0", "a1")
    assert {each.record: each.reasons for each in stored.findings if not each.kept} == {"odd0": ("odd_rate",)}
