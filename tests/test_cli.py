"""The commands as a user meets them: exit codes, one-line messages, nothing lost."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import wfdb
from typer.testing import CliRunner

from ecgveil import cli
from ecgveil.ecg import ECGSet
from ecgveil.errors import EcgveilError, Stopped
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_12
from ecgveil.simulate import simulate, write_clinic

TINY = [
    "--recipe",
    "quick",
    "--set",
    "training.steps=3",
    "--set",
    "training.batch=4",
    "--set",
    "model.width=8",
    "--set",
    "model.critic_width=8",
]


def ecgveil(*words):
    """Exit code, and the error's one line, as `main` gives them."""
    try:
        result = CliRunner().invoke(cli.app, [str(word) for word in words], catch_exceptions=False)
    except EcgveilError as error:
        message = str(error)
        assert "\n" not in message
        return 2, message
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A simulated clinic of 30 patients on disk."""
    path = tmp_path_factory.mktemp("clinics") / "clinic"
    write_clinic(path, 30, seed=2)
    return path


@pytest.fixture(scope="module")
def released(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("releases") / "release"
    code, text = ecgveil("release", folder, "--out", out, "--number", 12, "--seed", 4, *TINY)
    assert code == 0, text
    return out


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_a_release_is_whole(released, folder):
    names = (released / "RECORDS").read_text().split()
    assert len(names) == 12
    for name in names:
        record = wfdb.rdrecord(str(released / name))
        assert record.sig_name == list(LEADS_12)
        assert any("synthetic" in comment for comment in record.comments)
    manifest = json.loads((released / "manifest.json").read_text())
    assert manifest["notice"] == "synthetic; not for clinical use; expert review pending"
    assert manifest["counts"]["synthetic ECGs"] == 12
    assert manifest["seed"] == 4
    assert {"steps", "versions", "settings", "records_read"} <= manifest.keys()
    assert {file.name for file in released.iterdir()} == {
        *(f"{name}.{ending}" for name in names for ending in ("hea", "dat")),
        "RECORDS",
        "SHA256SUMS",
        "answers.json",
        "copies.csv",
        "evaluation.json",
        "manifest.json",
        "report.html",
        "report-public.html",
    }


def test_checksums_cover_what_may_be_shared_and_nothing_else(released):
    import hashlib

    listed = dict(reversed(line.split("  ")) for line in (released / "SHA256SUMS").read_text().splitlines())
    shared = {file.name for file in released.iterdir()} - {"SHA256SUMS", "report.html", "copies.csv"}
    assert set(listed) == shared
    for name, digest in listed.items():
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest


def test_no_patient_is_named_in_what_leaves(released, folder):
    identifiers = set((folder / "RECORDS").read_text().split())
    identifiers |= {name.rpartition("-")[0] for name in identifiers}
    for name, content in tree(released).items():
        if not name.endswith(".dat") and name != "copies.csv":  # which names real records, and stays
            text = content.decode()
            assert not any(identifier in text for identifier in identifiers), name


def test_an_interrupted_release_goes_on_and_gives_the_same(released, folder, tmp_path, monkeypatch):
    """Killed while training, the same command ends in the same records."""
    out = tmp_path / "release"

    def crash(*_, **__):
        raise KeyError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("ecgveil.pipeline.evaluate", crash)
        with pytest.raises(KeyError):
            ecgveil("release", folder, "--out", out, "--number", 12, "--seed", 4, *TINY)
    assert not out.exists()
    assert ecgveil("release", folder, "--out", out, "--number", 12, "--seed", 4, *TINY)[0] == 0
    for name in (released / "RECORDS").read_text().split():
        assert (out / f"{name}.dat").read_bytes() == (released / f"{name}.dat").read_bytes()


def test_an_occupied_folder_is_left_untouched(released, folder, tmp_path):
    before = tree(released)
    run = released.with_name("release-run")
    for words in (
        ["release", folder, "--out", released, *TINY],
        ["fit", folder, "--out", released, *TINY],
        ["sample", run, "--out", released],
        ["simulate", "--out", released],
    ):
        code, message = ecgveil(*words)
        assert code == 2
        assert "already holds something" in message
        assert str(released) in message
    assert tree(released) == before
    code, message = ecgveil("fit", folder, "--out", run, *TINY)
    assert code == 2
    assert "--resume" in message


def test_sample_from_a_run(released, tmp_path):
    run = released.with_name("release-run")
    code, text = ecgveil("sample", run, "--out", tmp_path / "more", "--number", 5, "--seed", 4)
    assert code == 0
    assert "5 synthetic records" in text
    # the seed and the place are all that a sample depends on
    assert (tmp_path / "more" / "synthetic_000003.dat").read_bytes() == (released / "synthetic_000003.dat").read_bytes()


def test_samples_of_somebody(folder, tmp_path):
    run, asked = tmp_path / "run", ["--sex", "female", "--age", "50:60", "--heart-rate", "60:75"]
    code, text = ecgveil("fit", folder, "--out", run, *TINY, "--set", "data.conditions=['sex', 'age', 'heart_rate']")
    assert code == 0, text
    assert ecgveil("sample", run, "--out", tmp_path / "out", "--number", 4, *asked)[0] == 0
    for name in (tmp_path / "out" / "RECORDS").read_text().split():
        comments = wfdb.rdheader(str(tmp_path / "out" / name)).comments
        assert "Sex: F" in comments
        assert {int(line.removeprefix("Age: ")) for line in comments if line.startswith("Age")} <= set(range(50, 61))
        assert any(line.startswith("synthetic") for line in comments)
    for words, message in (
        (["--age", "old"], "--age old: write it as 63, or as 60:70"),
        (
            ["--heart-rate", "75:60"],
            "heart_rate is asked for from 75 to 60; give two numbers from 0 up, the lower first",
        ),
        (["--sex", "w"], "sex is 'w'; ask for female or male, or for none"),
    ):
        assert ecgveil("sample", run, "--out", tmp_path / "none", *words) == (2, message)
    assert not (tmp_path / "none").exists()


def test_samples_of_a_condition(folder, tmp_path):
    run = tmp_path / "run"
    code, text = ecgveil("fit", folder, "--out", run, *TINY, "--set", "data.labels=['sinus rhythm']")
    assert code == 0, text
    code, _ = ecgveil("sample", run, "--out", tmp_path / "out", "--number", 6, "--label", "sinus rhythm")
    assert code == 0
    for name in (tmp_path / "out" / "RECORDS").read_text().split():
        assert "Record labels: sinus rhythm" in wfdb.rdheader(str(tmp_path / "out" / name)).comments
    code, message = ecgveil("sample", run, "--out", tmp_path / "none", "--sex", "male")
    assert code == 2
    assert message.startswith("sex is nothing that the run has learned; fit a recipe with 'sex' in data.conditions")
    code, message = ecgveil("sample", run, "--out", tmp_path / "none", "--label", "MI")
    assert (code, message) == (2, "label 'MI' is none that the run has learned; it knows sinus rhythm")
    assert not (tmp_path / "none").exists()


def test_inspect_writes_what_it_prints(folder, tmp_path):
    code, text = ecgveil("inspect", folder, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == 0
    assert len(found) == len((folder / "RECORDS").read_text().split())
    assert {"record", "kept", "reasons", "leads", "fs", "n_samples", "label", "patient_id"} <= found[0].keys()
    assert f"{len(found)}, of which {sum(each['kept'] for each in found)} kept" in text


def test_measure_writes_a_row_for_every_record(folder, tmp_path):
    names = (folder / "RECORDS").read_text().split()
    out, marks = tmp_path / "m.csv", tmp_path / "marks"
    out.write_text("of an earlier run")
    code, text = ecgveil("measure", folder, "--out", out, "--annotations", marks)
    assert code == 0
    assert f"{len(names)}, of which {len(names)} measured" in text
    assert str(out) in text
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["record_name"] for row in rows] == names
    for conclusion, n in Counter(row["conclusion"] for row in rows).items():
        assert f"{conclusion} ({n})" in text
    assert {path.stem for path in marks.iterdir()} == set(names)
    assert wfdb.rdann(str(marks / names[0]), "v5").fs == 500


def test_a_table_of_measurements_replaces_nothing_else(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    labels = data / "labels.csv"
    link, other = tmp_path / "link.csv", tmp_path / "notes.txt"
    link.symlink_to(labels)
    other.write_text("mine")
    before = tree(tmp_path)
    for target, words in (
        (labels, "among the records"),
        (data / "new.csv", "among the records"),
        (link, "name another file"),
        (other, "name another file"),
        (tmp_path, "name another file"),
        (tmp_path / "absent" / "m.csv", "cannot write"),
    ):
        code, message = ecgveil("measure", data, "--out", target)
        assert code == 2
        assert words in message
    code, message = ecgveil("measure", data, "--out", tmp_path / "m.csv", "--annotations", data / "marks")
    assert code == 2
    assert "among the records" in message
    assert tree(tmp_path) == before


def test_an_interrupted_measurement_leaves_nothing(folder, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ecgveil.measuring.delineate", stop)
    words = ("measure", folder, "--out", tmp_path / "m.csv", "--annotations", tmp_path / "marks")
    assert run_main(monkeypatch, capsys, *words) == (130, "ecgveil: interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of four simulated ECGs each, of nobody named: train, holdout, synthetic, others."""
    path = tmp_path_factory.mktemp("parts")
    ecgs = simulate(16, seed=7, fs=100)[0]
    for k, name in enumerate(("train", "holdout", "synthetic", "others")):
        write(ecgs.take(range(4 * k, 4 * k + 4)), path / name)
    return path


def three(path):
    return [word for name in ("train", "holdout", "synthetic") for word in (f"--{name}", path / name)]


def test_evaluate_writes_the_evidence_and_says_what_is_the_keepers(parts, tmp_path):
    out = tmp_path / "evidence"
    code, text = ecgveil("evaluate", *three(parts), "--out", out, "--quick", "--others", parts / "others", "--seed", 3)
    assert code == 0, text
    assert f"report: {out / 'report.html'}" in text
    assert "copies.csv names real records: both stay with you" in text
    assert {file.name for file in out.iterdir()} == {"report.html", "answers.json", "evaluation.json", "copies.csv"}
    for each in json.loads((out / "answers.json").read_text()):
        assert re.search(rf"{re.escape(each['question'])} +{re.escape(each['answer'])}", text)
    figures = {each["name"] for each in json.loads((out / "evaluation.json").read_text())}
    assert {"copies_share", "heart_rate_ks", "membership_linkage_auc"} <= figures
    page = (out / "report.html").read_text()
    assert "Evidence on synthetic ECGs" in page
    assert "Whom does it betray?" in page
    assert not re.search(r"\bnan\b", re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL))
    before = tree(tmp_path)
    code, message = ecgveil("evaluate", *three(parts), "--out", out, "--quick")
    assert (code, tree(tmp_path)) == (2, before)
    assert "already holds something" in message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--quick", "--drop-copies"], "leave one of them out"),
        (["--others", "absent"], "no such folder"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(parts, tmp_path, words, told):
    code, message = ecgveil("evaluate", *three(parts), "--out", tmp_path / "out", *words)
    assert code == 2
    assert told in message
    assert not list(tmp_path.iterdir())


def test_evaluate_on_folders_in_each_other_or_alike(parts, tmp_path):
    for name, place in (("train", parts / "holdout"), ("holdout", parts)):
        words = three(parts)
        words[words.index(f"--{name}") + 1] = place
        code, message = ecgveil("evaluate", *words, "--out", tmp_path / "out", "--quick")
        assert code == 2
        assert "same folder" in message or "lies in" in message
    code, message = ecgveil("evaluate", *three(parts), "--out", parts / "train" / "out", "--quick")
    assert (code, "among the records" in message) == (2, True)


def test_an_interrupted_evaluation_leaves_nothing(parts, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ecgveil.evaluating.evaluate", stop)
    words = ("evaluate", *three(parts), "--out", tmp_path / "out", "--quick")
    assert run_main(monkeypatch, capsys, *words) == (130, "ecgveil: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_release_hands_its_options_on(tmp_path, monkeypatch):
    given = {}

    def spy(data, out, **options):
        given.update(options)
        out.mkdir(exist_ok=True)
        told = [{"question": "Whom does it betray?", "answer": "People in the training set: do not share"}]
        (out / "answers.json").write_text(json.dumps(told))
        return out / "report.html"

    monkeypatch.setattr("ecgveil.pipeline.release", spy)
    options = ("--canaries", 5, "--drop-copies", "--from", "base")
    code, text = ecgveil("release", "data", "--out", tmp_path / "out", *options)
    assert code == 0
    assert (given["canaries"], given["drop_copies"], given["base"]) == (5, True, Path("base"))
    assert re.search("Whom does it betray\\? +People in the training set: do not share", text)
    assert "may be shared" not in text
    assert ecgveil("release", "data", "--out", tmp_path / "out")[0] == 0
    assert (given["canaries"], given["drop_copies"], given["base"]) == (0, False, None)


def test_recipes_are_listed_and_shown():
    assert "piacentino-z" in ecgveil("recipes")[1]
    assert "critic_steps = 5" in ecgveil("recipes", "pulse2pulse")[1]


def records(path, leads=LEADS_12, fs=500, n=12, start=0, units="mV"):
    """Plausible records: a beat-like pulse train in each lead, one patient each."""
    rng = np.random.default_rng(start)
    time = np.arange(int(10 * fs)) / fs
    beat = np.exp(-0.5 * (((time + 0.3) % 0.8 - 0.4) / 0.02) ** 2)
    eight = (0.5 + rng.random((n, 8, 1))) * beat + 0.01 * rng.standard_normal((n, 8, time.size))
    ecgs = ECGSet(eight, fs, ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), tuple(f"r{start + i}" for i in range(n)))
    write(ecgs.pick(leads), path)
    return path


def damaged_header(path):
    """A header that says `sd` where mV is needed."""
    for file in records(path).glob("*.hea"):
        file.write_text(file.read_text().replace("/mV", "/sd"))
    return path


def nothing(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "no such folder"),
        (nothing, "no WFDB record"),
        (lambda path: records(path, leads=("I",)), "missing_lead"),
        (lambda path: records(path, n=3), "at least 10 patients"),
        (lambda path: records(records(path), fs=1000, start=50), "mixed sampling rates"),
        (lambda path: records(path, fs=100), "pass --resample"),
        (damaged_header, "wrong_unit"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "release"])
def test_records_that_cannot_be_used(command, make, words, tmp_path):
    code, message = ecgveil(command, make(tmp_path / "data"), "--out", tmp_path / "out", *TINY)
    assert code == 2
    assert words in message
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out-run").exists()


def test_one_bad_record_does_not_stop_the_rest_nor_vanish(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    names = (data / "RECORDS").read_text().split()
    (data / f"{names[0]}.dat").write_bytes((data / f"{names[0]}.dat").read_bytes()[:1000])
    shutil.copy(data / f"{names[1]}.hea", data / f"{names[2]}.hea")
    code, text = ecgveil("inspect", data)
    assert code == 0
    assert f"{len(names)}, of which {len(names) - 2} kept" in text
    assert all(name in text for name in (names[0], names[2]))
    code, text = ecgveil("fit", data, "--out", tmp_path / "run", *TINY)
    assert code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "quik"], "did you mean 'quick'"),
        (["--set", "training.stepz=3"], "did you mean 'training.steps'"),
        (["--set", "steps"], "group.name=value"),
    ],
)
def test_wrong_recipes_and_settings_are_told_before_anything_is_read(words, message, tmp_path):
    code, text = ecgveil("fit", tmp_path / "absent", "--out", tmp_path / "out", *words)
    assert code == 2
    assert message in text


def test_a_full_disk_leaves_no_half_folder(released, tmp_path, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ecgveil.files.os.replace", full)
    code, message = ecgveil("sample", released.with_name("release-run"), "--out", tmp_path / "out")
    assert code == 2
    assert "disk is full" in message
    assert list(tmp_path.iterdir()) == []


def run_main(monkeypatch, capsys, *words):
    """Exit code and standard error of the whole program."""
    monkeypatch.setattr("sys.argv", ["ecgveil", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "absent"],
        ["measure", "absent", "--out", "m.csv"],
        ["measure", "absent"],
        ["sample", "absent", "--out", "x", "--number", "0"],
        ["fit", "absent", "--out", "x", "--seed", "-1"],
        ["fit", "absent"],
        ["nonsense"],
        ["fit", "absent", "--out", "x", "--nonsense"],
    ],
)
def test_main_prints_one_line_and_exits_with_2(words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, told = run_main(monkeypatch, capsys, *words)
    assert code == 2
    assert told.startswith("ecgveil: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (Stopped("stopped at step 3 of 9; run the same command again"), 130, "step 3 of 9"),
        (OSError(36, "File name too long", "x"), 2, "x: File name too long"),
        (MemoryError(), 2, "not enough memory"),
    ],
)
def test_what_stops_a_command_from_within(error, code, words, monkeypatch, capsys, folder):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr("ecgveil.formats.inspect", stop)
    assert run_main(monkeypatch, capsys, "inspect", folder)[0] == code
    monkeypatch.setattr("ecgveil.formats.inspect", stop)
    assert words in run_main(monkeypatch, capsys, "inspect", folder)[1]


def test_a_report_of_findings_replaces_no_record(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    header = next(data.glob("*.hea"))
    before = header.read_bytes()
    link = tmp_path / "link.json"
    link.symlink_to(header)
    for target in (header, link, tmp_path):
        code, message = ecgveil("inspect", data, "--json", target)
        assert code == 2
        assert "name another file" in message
    assert header.read_bytes() == before


@pytest.mark.parametrize(
    ("out", "run", "words"),
    [
        ("{tmp}/r", "{tmp}/r/run", "lies in --out"),
        ("{tmp}/r", "{tmp}/r", "lies in --out"),
        ("{data}/r", "{tmp}/run", "whose records it would join"),
        ("{tmp}/r", "{data}/run", "whose records it would join"),
    ],
)
def test_places_in_each_others_way_are_told_before_training(out, run, words, folder, tmp_path):
    out, run = (each.format(tmp=tmp_path, data=folder) for each in (out, run))
    code, message = ecgveil("release", folder, "--out", out, "--run", run, *TINY)
    assert code == 2
    assert words in message
