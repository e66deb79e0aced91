import numpy as np
import pytest

from conftest import tiny
from ecgveil import singles
from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.formats.wfdb_write import write
from ecgveil.intake import take_in
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate, write_clinic


def test_notes_say_what_was_done(tmp_path):
    write_clinic(tmp_path / "clinic", 3, seed=0, repeat_share=0)
    taken = take_in([tmp_path / "clinic"], tiny("quick"))
    assert (len(taken.ecgs), taken.kept, taken.left_out) == (3, 3, {})
    assert taken.notes[0] == "3 records were resampled from 500 to 250 Hz."
    assert any("made by ecgveil, no recording of a person" in note for note in taken.notes)
    assert any("called real here" in note for note in taken.notes)


def test_records_without_a_patient_are_counted(tmp_path):
    ecgs, _ = simulate(2, seed=0)
    write(ecgs, tmp_path)
    notes = take_in([tmp_path], tiny("quick")).notes
    assert any(note.startswith("2 records name no patient") for note in notes)
    assert not any("called real here" in note for note in notes)


def test_records_of_several_folders_stay_apart(tmp_path):
    write_clinic(tmp_path / "one", 3, seed=0, repeat_share=0)
    write_clinic(tmp_path / "two", 3, seed=1, repeat_share=0)
    taken = take_in([tmp_path / "one", tmp_path / "two"], tiny("quick"))
    assert len(taken.ecgs) == 6
    assert len(set(taken.ecgs.record_name)) == 6
    assert not np.array_equal(taken.ecgs.signal[0], taken.ecgs.signal[3])


def test_units_are_those_of_the_recipe(tmp_path):
    ecgs, _ = simulate(2, seed=0)
    write(ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, ecgs.record_name, units="sd"), tmp_path)
    assert take_in([tmp_path], tiny("superclass")).ecgs.units == "sd"
    with pytest.raises(RecordError, match="its unit is 'sd'"):
        take_in([tmp_path], tiny("quick"))
    write_clinic(tmp_path / "clinic", 2, seed=0)
    with pytest.raises(RecordError, match="the records are in mV, recipe superclass takes sd"):
        take_in([tmp_path / "clinic"], tiny("superclass"))


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    ecgs, _ = simulate(3, seed=0)
    signal = ecgs.signal.copy()
    signal[1, 7] = 0.25
    write(ECGSet(signal, ecgs.fs, ecgs.leads, ecgs.record_name), tmp_path)
    taken = take_in([tmp_path], tiny("quick"))
    assert (taken.kept, taken.left_out) == (2, {"flat": 1})


def test_the_same_records_in_two_folders_are_not_two_people(tmp_path):
    write_clinic(tmp_path / "one", 3, seed=0, repeat_share=0)
    write_clinic(tmp_path / "two", 3, seed=0, repeat_share=0)
    write_clinic(tmp_path / "three", 3, seed=1, repeat_share=0)
    taken = take_in([tmp_path / "one", tmp_path / "two", tmp_path / "three"], tiny("quick"))
    assert len(taken.ecgs) == 6
    assert taken.left_out == {"duplicate": 3}
    assert len(set(taken.ecgs.patient_id)) == 3  # p00000 to p00002 in each: named alike, taken for one person


def with_hash(folder, name):
    """A record that another program has given a name with a '#'."""
    for path in folder.glob(f"{name}.*"):
        path.rename(path.with_stem(f"{name}#1"))
    header = folder / f"{name}#1.hea"
    header.write_text(header.read_text().replace(f"{name}.dat", f"{name}#1.dat").replace(f"{name} ", f"{name}#1 ", 1))


def test_records_without_a_beat_are_told_where_beats_are_asked_for(tmp_path, monkeypatch):
    ecgs, _ = simulate(3, seed=0)
    write(ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, ("a", "b", "c")), tmp_path)
    with_hash(tmp_path, "a")
    monkeypatch.setattr(
        singles, "r_peaks", lambda ecgs: [at if i != 1 else at[:0] for i, at in enumerate(r_peaks(ecgs))]
    )
    taken = take_in([tmp_path], tiny("wgan-gp"))
    assert (taken.kept, taken.left_out) == (2, {"no_beat": 1})


def test_copies_of_records_with_a_hash_in_their_names_are_told(tmp_path):
    ecgs, _ = simulate(3, seed=0)
    write(ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, ("x", "y", "z")), tmp_path / "one")
    signal = ecgs.signal * np.array([1, 0.5, 2], np.float32)[:, None, None]
    write(ECGSet(signal, ecgs.fs, ecgs.leads, ("a", "b", "c")), tmp_path / "two")
    with_hash(tmp_path / "two", "a")
    with_hash(tmp_path / "two", "b")
    taken = take_in([tmp_path / "one", tmp_path / "two"], tiny("quick"))
    assert taken.left_out == {"duplicate": 1}
    assert len(taken.ecgs) == taken.kept == 5
