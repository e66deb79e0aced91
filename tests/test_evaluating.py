"""Folders of anybody's ECGs -> the evidence. What is measured is tested elsewhere; here it is what is handed over."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecgveil import evaluating
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, EvaluationError, RecordError, RunError
from ecgveil.evaluating import evaluate_folders
from ecgveil.evaluation import evaluate
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.simulate import simulate

N = 4
WRITTEN = ["answers.json", "copies.csv", "evaluation.json", "report.html"]
PARTS = ("train", "holdout", "synthetic")


@pytest.fixture(scope="module")
def ecgs() -> ECGSet:
    return simulate(4 * N, seed=6, fs=100)[0]


def named(ecgs: ECGSet, prefix: str = "r") -> ECGSet:
    """The signals alone, of records r0, r1, ... of nobody named."""
    return ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, tuple(f"{prefix}{i}" for i in range(len(ecgs))), units=ecgs.units)


def person(folder, people: dict[str, str]):
    rows = [f"{record},{who},,," for record, who in people.items()]
    (folder / "labels.csv").write_text("\n".join(["record_name,patient_id,label,age,sex", *rows]) + "\n")


@pytest.fixture
def folders(tmp_path, ecgs):
    """Folders of four records each, named alike; the last are other ECGs of nobody above."""
    made = {}
    for k, name in enumerate((*PARTS, "others")):
        made[name] = tmp_path / name
        write(named(ecgs.take(range(k * N, (k + 1) * N))), made[name])
    return made


def run(folders, out, **more):
    return evaluate_folders(*(folders[name] for name in PARTS), out, **more)


@pytest.fixture
def given(monkeypatch):
    """What was handed to `evaluate` and to the report, the last for nothing; figures are real, of ECGs looked at."""
    seen = {}

    def spy(*sets, **more):
        seen["sets"], seen["means"] = dict(zip(PARTS, sets, strict=True)), more["means"]
        seen["evaluation"] = evaluate(*sets, **more)
        return seen["evaluation"]

    def report(path, **more):
        seen["report"] = more
        path.write_text("a page")

    monkeypatch.setattr(evaluating, "evaluate", spy)
    monkeypatch.setattr(evaluating, "write_report", report)
    return seen


@pytest.fixture
def handed(given, monkeypatch):
    """As `given`, without the figures."""

    def spy(*sets, **more):
        given["sets"], given["means"] = dict(zip(PARTS, sets, strict=True)), more["means"]
        raise EvaluationError("far enough")

    monkeypatch.setattr(evaluating, "evaluate", spy)
    return given


def hand(handed, folders, tmp_path, **more):
    with pytest.raises(EvaluationError, match="far enough"):
        run(folders, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    return handed["sets"]


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_folders_give_the_figures_of_the_same_sets_in_memory(folders, tmp_path, given, ecgs):
    told = []
    out = tmp_path / "out"
    assert run(folders, out, seed=3, quick=True, tell=lambda *at: told.append(at)) == out / "report.html"
    assert sorted(path.name for path in out.iterdir()) == WRITTEN
    sets = []
    for k, name in enumerate(PARTS):
        on_disk = given["sets"][name]
        names = tuple(f"{name}-{i}" for i in range(N))
        sets.append(replace(on_disk, signal=np.array(on_disk.signal), patient_id=names))
        np.testing.assert_allclose(on_disk.signal, ecgs.signal[k * N : (k + 1) * N], atol=0.0006)
    evaluation = evaluate(*sets, seed=3, quick=True)
    assert repr(evaluation.metrics) == repr(given["evaluation"].metrics)
    assert [each["name"] for each in json.loads((out / "evaluation.json").read_text())] == [
        metric.name for metric in evaluation.metrics
    ]
    assert pd.read_csv(out / "copies.csv")["record_name"].tolist() == ["r0", "r1", "r2", "r3"]
    parts = [part for part, _, _ in told]
    assert parts[0] == "reading train"
    assert parts[-1] == "report"
    assert ("reading synthetic", N, N) in told
    assert all(0 <= done <= total for _, done, total in told)


def test_what_the_report_is_told(folders, tmp_path, given, ecgs):
    write(named(simulate(1, seed=1, fs=100, seconds=5)[0], "short"), folders["train"])
    run(folders, tmp_path / "out", quick=True, seed=3)
    about, evaluation = given["report"]["about"], given["report"]["evaluation"]
    assert about.seed == 3
    assert about.counts == {
        "training ECGs": N,
        "training patients": N,
        "holdout ECGs": N,
        "holdout patients": N,
        "synthetic ECGs": N,
    }
    assert (about.fs, about.seconds, about.kept, about.left_out) == (100, 10, 3 * N, {"too_short": 1})
    assert set(evaluation.notes) < set(about.notes)
    assert "Compared are windows of 10 s at 100 Hz, 12 leads." in about.notes
    assert "train: left out: 1 of 5 records (too_short 1)." in about.notes
    for name in PARTS:
        assert given["report"][name] is given["sets"][name]


def test_equal_record_names_in_two_folders_are_not_one_person(folders, tmp_path, handed):
    people = {name: set(each.patient_id) for name, each in hand(handed, folders, tmp_path).items()}
    assert all(len(each) == N for each in people.values())
    assert not people["train"] & people["holdout"]


def test_people_are_told_by_name_and_windows_of_a_record_are_one_persons(folders, tmp_path, handed):
    person(folders["train"], {"r0": "anna", "r1": "anna"})
    person(folders["holdout"], {"r0": "bert"})
    write(named(simulate(1, seed=9, fs=100, seconds=20)[0], "long"), folders["holdout"])
    sets = hand(handed, folders, tmp_path)
    assert sets["train"].patient_id == ("anna", "anna", "train-r2", "train-r3")
    people = dict(zip(sets["holdout"].record_name, sets["holdout"].patient_id, strict=True))
    assert people["r0"] == "bert"
    assert people["long0#0"] == people["long0#1"] == "holdout-long0"


def test_people_in_both_parts_are_refused(folders, tmp_path):
    for name in ("train", "holdout"):
        person(folders[name], {"r1": "anna"})
    before = left(tmp_path)
    with pytest.raises(EvaluationError, match=r"train and holdout share patients \(1\)"):
        run(folders, tmp_path / "out", quick=True)
    assert left(tmp_path) == before


def test_records_in_both_parts_are_left_out_of_the_holdout_and_told(folders, tmp_path, given, ecgs):
    write(named(ecgs.take([1, 2]), "again"), folders["holdout"])
    person(folders["train"], {"r1": "anna"})
    person(folders["holdout"], {"again0": "anna"})
    run(folders, tmp_path / "out", quick=True)
    assert given["sets"]["holdout"].record_name == ("r0", "r1", "r2", "r3")
    assert len(given["sets"]["train"]) == N
    about = given["report"]["about"]
    assert "holdout: left out because they are in train too: 2." in about.notes
    assert about.counts["holdout ECGs"] == N


def test_a_holdout_that_is_the_training_set_is_refused(folders, tmp_path, ecgs):
    for file in folders["holdout"].iterdir():
        file.unlink()
    write(named(ecgs.take(range(N)), "copy"), folders["holdout"])
    with pytest.raises(EvaluationError, match="holdout: every record is in train too"):
        run(folders, tmp_path / "out", quick=True)
    assert "out" not in left(tmp_path)


def test_mixed_forms_are_brought_to_one(tmp_path, handed, ecgs):
    folders = {name: tmp_path / name for name in PARTS}
    write(named(simulate(2, seed=1, fs=200)[0]).pick(LEADS_8), folders["train"])
    write(named(ecgs.take(range(2))).pick(("aVF", "I", "II", "V2", "V6")), folders["holdout"])
    write(named(simulate(2, seed=2, fs=125, seconds=7)[0]), folders["synthetic"])
    sets = hand(handed, folders, tmp_path)
    for each in sets.values():
        assert (each.leads, each.fs, each.n_samples) == (
            ("I", "II", "III", "aVR", "aVL", "aVF", "V2", "V6"),
            100.0,
            700,
        )
    np.testing.assert_allclose(
        sets["holdout"].signal[0, 2], ecgs.signal[0, 2, :700], atol=0.002
    )  # III, computed from I and II
    np.testing.assert_allclose(sets["holdout"].signal[0, 5], ecgs.signal[0, 5, :700], atol=0.001)


def test_twelve_leads_on_one_side_and_eight_on_the_other_are_twelve(tmp_path, handed, ecgs):
    folders = {name: tmp_path / name for name in PARTS}
    for k, (name, leads) in enumerate(zip(PARTS, (LEADS_12, LEADS_8, LEADS_12[::-1]), strict=True)):
        write(named(ecgs.take([k])).pick(leads), folders[name])
    sets = hand(handed, folders, tmp_path)
    assert {each.leads for each in sets.values()} == {LEADS_12}
    np.testing.assert_allclose(sets["holdout"].signal[0], ecgs.signal[1], atol=0.0011)


def test_without_a_common_lead_there_is_nothing_to_compare(tmp_path, ecgs):
    folders = {name: tmp_path / name for name in PARTS}
    for name, lead in zip(PARTS, ("V1", "V1", "V2"), strict=True):
        write(named(ecgs.take([0])).pick([lead]), folders[name])
    with pytest.raises(EvaluationError, match="no lead in common .*synthetic: V2.*; give them one"):
        run(folders, tmp_path / "out", quick=True)


def test_resampling_is_told(folders, tmp_path, given):
    for file in folders["synthetic"].iterdir():
        file.unlink()
    write(named(simulate(3, seed=2, fs=125)[0]), folders["synthetic"])
    run(folders, tmp_path / "out", quick=True)
    assert "synthetic: resampled from 125 Hz: 3." in given["report"]["about"].notes


def test_flawed_ecgs_are_looked_at_where_they_are_synthetic_only(folders, tmp_path, given, ecgs):
    signal = np.concatenate([ecgs.signal[-2:], ecgs.signal[-1:]])
    signal[0, 7, 200:] = 0.25  # flat
    for name in PARTS:
        folder = folders[name]
        write(ECGSet(signal, 100, LEADS_12, ("flaw0", "flaw1", "flaw2")), folder)
    # so that the records flawed alike are not left out of the holdout as being in train too
    for file in folders["train"].glob("flaw[12]*"):
        file.unlink()
    run(folders, tmp_path / "out", quick=True)
    names = {name: each.record_name for name, each in given["sets"].items()}
    assert len(names["synthetic"]) == N + 3
    assert len(names["train"]) == N
    assert names["holdout"] == ("flaw1", "r0", "r1", "r2", "r3")
    notes = given["report"]["about"].notes
    assert "synthetic: records that no training set would hold, but that count here: 2 (flat 1, duplicate 1)." in notes
    assert "holdout: left out: 2 of 7 records (flat 1, duplicate 1)." in notes
    assert "train: left out: 1 of 5 records (flat 1)." in notes


def test_what_ecgveil_made_itself_is_told_where_it_stands_for_real(folders, tmp_path, given, ecgs):
    run(folders, tmp_path / "one", quick=True)
    itself = "What is called real here was itself made by ecgveil: this shows the program, not a clinic."
    assert itself not in given["report"]["about"].notes
    write(named(ecgs.take([-1]), "own"), folders["holdout"], comments=["simulated by ecgveil, not a real patient"])
    run(folders, tmp_path / "two", quick=True)
    assert itself in given["report"]["about"].notes


def test_a_quick_look_reads_few_records_and_says_so(folders, tmp_path, given, monkeypatch):
    monkeypatch.setattr(evaluating, "QUICK", 3)
    run(folders, tmp_path / "out", quick=True)
    assert {len(each) for each in given["sets"].values()} == {3}
    notes = given["report"]["about"].notes
    for name in PARTS:
        assert f"A quick look: {name}: 3 of 4 records, drawn at random, were read." in notes


def test_others_are_read_whole_and_matched_by_person_alone(folders, tmp_path, handed, monkeypatch):
    """A record of others that names nobody is not taken for a person who is called as the record is."""
    monkeypatch.setattr(evaluating, "QUICK", 3)
    person(folders["train"], {"r0": "anna", "r1": "r3"})
    person(folders["others"], {"r0": "anna"})
    hand(handed, folders, tmp_path, others=folders["others"], quick=True)
    others = handed["means"].others
    assert len(others) == N
    assert others.patient_id[0] == "anna"
    assert not set(others.patient_id[1:]) & {name for each in handed["sets"].values() for name in each.patient_id}
    hand(handed, folders, tmp_path, quick=True)
    assert handed["means"].others is None


def test_dropping_copies_and_looking_at_few_exclude_each_other(folders, tmp_path):
    with pytest.raises(ConfigError, match="--drop-copies has to look at every record, --quick looks at few"):
        run(folders, tmp_path / "out", quick=True, drop_copies=True)
    assert not (tmp_path / "out").exists()


def test_records_of_which_a_window_is_a_copy_are_not_in_the_list_of_the_others(folders, tmp_path, monkeypatch, given):
    write(named(simulate(1, seed=9, fs=100, seconds=20)[0], "long"), folders["synthetic"])

    def quick(*sets, **more):
        return evaluate(*sets, **{**more, "quick": True})

    def find(train, holdout, synthetic, **_):
        names = list(synthetic.record_name)
        copied = [name in ("r1", "long0#1") and len(names) > N for name in names]
        return pd.DataFrame(
            {"record_name": names, "nearest_record": "r0", "part": "train", "distance": 0.5, "flagged": copied}
        )

    monkeypatch.setattr(evaluating, "evaluate", quick)
    monkeypatch.setattr("ecgveil.evaluation.parts.find_copies", find)
    run(folders, tmp_path / "out", drop_copies=True)
    assert (tmp_path / "out" / "RECORDS-without-copies").read_text().split() == ["r0", "r2", "r3"]
    assert len(pd.read_csv(tmp_path / "out" / "copies.csv")) == N + 2
    evaluation = given["report"]["evaluation"]
    assert len(evaluation.synthetic) == N
    assert "Synthetic ECGs flagged as copies, and left out of all other figures: 2." in evaluation.notes


@pytest.mark.parametrize(
    ("inner", "outer", "words"),
    [
        ("holdout", "train", "--holdout .* lies in --train"),
        ("train", "synthetic", "--train .* lies in --synthetic"),
        ("others", "train", "--others .* lies in --train"),
    ],
)
def test_folders_within_each_other_are_refused(folders, tmp_path, inner, outer, words):
    folders[inner].rename(folders[outer] / "more")
    folders[inner] = folders[outer] / "more"
    with pytest.raises(ConfigError, match=words):
        run(folders, tmp_path / "out", others=folders["others"])
    link = tmp_path / "link"
    link.symlink_to(folders[inner])
    folders[inner] = link
    with pytest.raises(ConfigError, match=words):
        run(folders, tmp_path / "out", others=folders["others"])


def test_places_are_checked_before_anything_is_read(folders, tmp_path):
    with pytest.raises(ConfigError, match="--train and --synthetic are the same folder"):
        run({**folders, "synthetic": tmp_path / "holdout" / ".." / "train"}, tmp_path / "out")
    for out in (folders["synthetic"] / "out", folders["synthetic"] / "deep" / "out"):
        with pytest.raises(ConfigError, match="--out .* lies in --synthetic .*, among the records"):
            run(folders, out)
        assert not out.parent.joinpath("out").exists()
    with pytest.raises(RunError, match="already holds something"):
        run(folders, folders["train"])
    with pytest.raises(RecordError, match="there is no such folder"):
        run({**folders, "holdout": tmp_path / "absent"}, tmp_path / "out")
    assert left(tmp_path) == ["holdout", "others", "synthetic", "train"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, EvaluationError("no"), OSError(28, "full")])
@pytest.mark.parametrize("where", ["evaluate", "write_report", "read_stored", "write_figures"])
def test_nothing_stays_behind_whatever_happens(folders, tmp_path, given, monkeypatch, error, where):
    before = left(tmp_path)
    happened = []

    def crash(*args, **_):
        happened.append(left(tmp_path))
        raise error

    monkeypatch.setattr(evaluating, "evaluate", lambda *_, **__: None)
    monkeypatch.setattr(evaluating, "_about", lambda *_: None)
    monkeypatch.setattr(evaluating, "Means", lambda **_: None)
    if where != "evaluate":
        monkeypatch.setattr(
            evaluating, "evaluate", lambda *_, **__: type("E", (), {"notes": [], "copies": None, "metrics": []})
        )
    monkeypatch.setattr(evaluating, where, crash)
    with pytest.raises((KeyboardInterrupt, MemoryError, EvaluationError, RunError)):
        run(folders, tmp_path / "out", quick=True)
    assert happened
    assert happened[0] != before  # it was being made
    assert left(tmp_path) == before
    assert not list(tmp_path.rglob("*.signals"))


def test_signals_that_kept_their_names_are_cleared_away_too(folders, tmp_path, given, monkeypatch):
    """As on a system that does not let go of the name of an open file until it is asked again."""
    from pathlib import Path

    unlink, kept = Path.unlink, []

    def later(path, missing_ok=False):
        if path.suffix == ".signals" and path.name not in kept:
            kept.append(path.name)
            raise PermissionError(13, "in use")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", later)
    run(folders, tmp_path / "out", quick=True)
    assert sorted(kept) == ["holdout.signals", "synthetic.signals", "train.signals"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == WRITTEN
