import hashlib
import os
import signal

import pytest
from typer.testing import CliRunner

from conftest import tiny
from ecgveil.augmenting import augment
from ecgveil.cli import app
from ecgveil.errors import ConfigError, RecordError, RunError, Stopped
from ecgveil.formats.inspect import inspect
from ecgveil.pipeline import Listener
from ecgveil.simulate import write_clinic
from ecgveil.windows import read

RARE, COMMON = "left bundle branch block", "sinus bradycardia"
LABELS = {"data__labels": [COMMON, RARE], "training__steps": 2, "training__pictures": 0}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    path = tmp_path_factory.mktemp("clinics") / "clinic"
    write_clinic(path, 24, seed=2, fs=250, repeat_share=0, conditions={COMMON: 2, RARE: 1})
    return path


@pytest.fixture(scope="module")
def recipe():
    return tiny("quick", data__n_samples=2500, **LABELS)


def bearers(folder, label):
    return sum(label in finding.labels for finding in inspect(folder))


@pytest.fixture(scope="module")
def balanced(clinic, recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "more"
    return out, augment(clinic, out, label=RARE, recipe=recipe, seed=1)


def test_it_writes_as_many_as_the_label_lacks(clinic, recipe, balanced):
    out, done = balanced
    windows, _ = read(clinic, leads=recipe.data.leads, fs=250, n_samples=2500)
    real = {label: sum(label in each for each in windows.labels) for label in (COMMON, RARE)}
    assert done.before == real
    assert done.number == real[COMMON] - real[RARE] > 0
    assert done.after[RARE] == real[COMMON]
    assert bearers(out, RARE) == done.number
    assert done.after[COMMON] == real[COMMON] + bearers(out, COMMON)


def test_beside_synthetic_records_there_is_nothing(balanced):
    out, done = balanced
    names = (out / "RECORDS").read_text().split()
    assert len(names) == done.number
    assert {file.name for file in out.iterdir()} == {"RECORDS"} | {f"{n}{s}" for n in names for s in (".hea", ".dat")}
    for name in names:
        assert "synthetic ECG made by ecgveil" in (out / f"{name}.hea").read_text()


def test_it_learned_from_every_record(balanced):
    from ecgveil.training.run import RunFolder

    counts = RunFolder(balanced[0].with_name("more-run")).provenance["counts"]
    assert counts["train"] == counts["all"]


def test_a_trained_run_is_drawn_from(clinic, balanced, tmp_path):
    run = balanced[0].with_name("more-run")
    done = augment(clinic, tmp_path / "few", label=COMMON, number=3, run=run, seed=5)
    assert (done.number, bearers(tmp_path / "few", COMMON)) == (3, 3)
    assert done.after[COMMON] == done.before[COMMON] + 3
    with pytest.raises(ConfigError, match="has its recipe already"):
        augment(clinic, tmp_path / "other", label=RARE, number=3, run=run, recipe="superclass")
    with pytest.raises(ConfigError, match=f"'{COMMON}' is the most frequent already, in .* ECGs; give number"):
        augment(clinic, tmp_path / "other", label=COMMON, run=run)


def test_interrupted_the_same_call_goes_on(clinic, recipe, balanced, tmp_path):
    def interrupt(stage, done, total, row):
        if stage == "training" and done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="stopped at step 1 of 2"):
        augment(clinic, tmp_path / "more", label=RARE, recipe=recipe, seed=1, listener=Listener(interrupt))
    assert not (tmp_path / "more").exists()
    with pytest.raises(RunError, match="trained to step 1 of 2"):
        augment(clinic, tmp_path / "other", label=RARE, number=2, run=tmp_path / "more-run")
    augment(clinic, tmp_path / "more", label=RARE, recipe=recipe, seed=1)
    assert digests(tmp_path / "more") == digests(balanced[0])


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_single_beats_of_a_class(clinic, tmp_path):
    recipe = tiny("ac-wgan-gp", data__labels=[RARE], data__other="none of these", training__steps=1)
    done = augment(clinic, tmp_path / "beats", label=RARE, number=4, recipe=recipe)
    assert set(done.before) == {RARE, "none of these"}
    text = (tmp_path / "beats" / "synthetic_000003.hea").read_text()
    assert text.startswith("synthetic_000003 1 250 200\n")
    assert RARE in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label": "MI"}, "label 'MI' is none that recipe quick learns"),
        ({"label": RARE, "recipe": "quick"}, "recipe quick learns no labels; set data.labels"),
        ({"label": RARE, "number": 0}, "number is 0"),
    ],
)
def test_wrong_calls_are_said_before_anything_is_read(recipe, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        augment(tmp_path / "no such folder", tmp_path / "out", **{"recipe": recipe, **more})


def test_a_label_of_too_few_patients_is_said_before_training(clinic, recipe, tmp_path):
    recipe = tiny("quick", data__n_samples=2500, **{**LABELS, "data__labels": [COMMON, "atrial fibrillation"]})
    with pytest.raises(RecordError, match="label 'atrial fibrillation' of data.labels is borne by 0 patients"):
        augment(clinic, tmp_path / "out", label=COMMON, number=2, recipe=recipe)
    assert not (tmp_path / "out-run").exists()


def test_the_output_never_lies_among_the_records(clinic, recipe):
    with pytest.raises(ConfigError, match="whose records it would join"):
        augment(clinic, clinic / "more", label=RARE, recipe=recipe)


def test_the_command_tells_the_counts_before_and_after(clinic, balanced, tmp_path):
    run = balanced[0].with_name("more-run")
    words = ["augment", clinic, "--label", RARE, "--number", 2, "--out", tmp_path / "two", "--run", run, "--seed", 7]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0
    rows = {line.rpartition("  ")[0].strip(): line for line in result.output.splitlines()}
    before = balanced[1].before[RARE]
    assert any(line.split()[-2:] == [str(before), str(before + 2)] for line in rows.values() if RARE in line)
    assert f"2 synthetic records that bear {RARE} in " in result.output.replace("\n", "")
    assert bearers(tmp_path / "two", RARE) == 2
    again = [*map(str, words), "--out", str(tmp_path / "other"), "--recipe", "superclass"]
    with pytest.raises(ConfigError, match="has its recipe already"):
        CliRunner().invoke(app, again, catch_exceptions=False)
