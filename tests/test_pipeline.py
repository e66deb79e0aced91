"""The whole way, with what the command's own tests leave out: canaries, the critic's attack, copies dropped."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from conftest import shaped, tiny
from ecgveil import pipeline
from ecgveil.ecg import concat
from ecgveil.errors import ConfigError, EvaluationError, RunError
from ecgveil.evaluation.canaries import LEAKAGE, NAMES, make_canaries
from ecgveil.formats.wfdb_write import write, write_records_file
from ecgveil.leads import LEADS_12
from ecgveil.report.answers import answers
from ecgveil.simulate import simulate, write_clinic
from ecgveil.split import split

SHORT = {"data__n_samples": 1000, "training__steps": 2, "training__pictures": 0}
NUMBER = 8


@pytest.fixture(scope="module")
def clinic_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clinics") / "clinic"
    write_clinic(path, 14, seed=5, fs=250, repeat_share=0)
    return path


@pytest.fixture(scope="module")
def recipe():
    return tiny("quick", **SHORT)


def release(folder, out, recipe, **more):
    """A release whose pages are not drawn: the release folder, and what was evaluated and reported."""
    seen = SimpleNamespace(pages=[])
    evaluate = pipeline.evaluate

    def spy(train, holdout, synthetic, **given):
        seen.train, seen.holdout, seen.synthetic, seen.given = train, holdout, synthetic, given
        seen.evaluation = evaluate(train, holdout, synthetic, **given)
        return seen.evaluation

    def page(path, **told):
        seen.pages.append((path.name, told))
        path.write_text(f"page {path.name}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "evaluate", spy)
        patch.setattr(pipeline, "write_report", page)
        patch.setattr(pipeline, "make_canaries", partial(make_canaries, references=15))
        pipeline.release(folder, out, recipe=recipe, number=NUMBER, seed=1, **more)
    return out, seen


@pytest.fixture(scope="module")
def planted(clinic_folder, recipe, tmp_path_factory):
    return release(clinic_folder, tmp_path_factory.mktemp("releases") / "planted", recipe, canaries=3)


def names(path):
    return {file.name for file in path.iterdir()}


def test_canaries_learned_by_heart_are_noticed(planted, clinic_folder, recipe, monkeypatch):
    """A generator that gives back what was planted, among ECGs of other people."""
    out, seen = planted
    odd, _ = seen.given["means"].canaries
    others = shaped(simulate(NUMBER - 3, seed=99)[0], recipe).pick(LEADS_12)
    made = concat([odd, replace(others, labels=(), record_name=tuple("abcde"), patient_id=())])
    made = replace(made, record_name=tuple(f"synthetic_{k:06d}" for k in range(NUMBER)), labels=())

    def sample(generator, folder, number, **_):
        write(made, folder)
        write_records_file(folder, made.record_name)
        return 0

    monkeypatch.setattr(pipeline, "write_samples", sample)
    heart, found = release(clinic_folder, out.with_name("heart"), recipe, canaries=3, run=out.with_name("planted-run"))
    figures = {each["name"]: each for each in json.loads((heart / "evaluation.json").read_text())}
    assert set(NAMES) <= set(figures)
    assert figures["canary_exposure_mean_bits"]["value"] > 2
    assert figures["canary_first_share"]["value"] == 1
    assert figures["canary_first_share"]["verdict"] == LEAKAGE
    assert figures["canary_first_share"]["n"] == 3
    assert any(note.startswith("Canaries: ") for note in found.evaluation.notes)
    assert answers(found.evaluation)[2].answer == "People in the training set: do not share"
    # near the real ECGs they are not, and no copies of one
    assert not found.evaluation.copies["flagged"][:3].any()


def test_a_release_goes_on_from_another_run(planted, clinic_folder, recipe, tmp_path):
    out, _ = planted
    before = out.with_name("planted-run")
    release(clinic_folder, tmp_path / "on", recipe, base=before)
    digest = hashlib.sha256((before / "state.safetensors").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "on-run" / "provenance.json").read_text())["base_sha256"] == digest
    with pytest.raises(ConfigError, match="no run to go on from with recipe"):
        release(tmp_path / "nothing", tmp_path / "off", tiny("quick", **SHORT, model__width=9), base=before)
    assert names(tmp_path) == {"on", "on-run"}


def test_planted_ecgs_are_trained_on_and_stand_in_no_other_figure(planted, clinic_folder, recipe, tmp_path):
    out, seen = planted
    _, plain = release(clinic_folder, tmp_path / "plain", recipe)
    for name in ("train", "holdout"):
        one, other = getattr(seen, name), getattr(plain, name)
        assert one.record_name == other.record_name
        np.testing.assert_array_equal(one.signal, other.signal)
        assert not any("canary" in each or "reference" in each for each in (*one.record_name, *one.patient_id))
    counts = [
        json.loads((run / "provenance.json").read_text())["counts"]["train"]["windows"]
        for run in (out.with_name("planted-run"), tmp_path / "plain-run")
    ]
    assert counts[0] == counts[1] + 3 == len(seen.train) + 3
    told = [dict(each.pages[0][1]["about"].counts) for each in (seen, plain)]
    assert told[0] == told[1]  # canaries are no patients
    assert told[0]["training windows"] == len(seen.train)
    assert not {metric.name for metric in plain.evaluation.metrics} & set(NAMES)
    assert not np.array_equal(seen.synthetic.signal, plain.synthetic.signal)


def test_canaries_are_given_in_the_form_of_the_release(planted):
    _, seen = planted
    odd, references = seen.given["means"].canaries
    assert (len(odd), len(references)) == (3, 15)
    assert odd.leads == references.leads == seen.synthetic.leads == seen.train.leads
    assert odd.n_samples == seen.train.n_samples


def test_the_critic_is_asked_about_everybody_in_their_order(planted):
    out, seen = planted
    scores = seen.given["means"].critic
    assert [len(each) for each in scores] == [len(seen.train), len(seen.holdout)]
    assert all(np.isfinite(each).all() for each in scores)
    assert "membership_critic_auc" in {metric.name for metric in seen.evaluation.metrics}


def test_what_is_the_keepers_is_not_among_what_may_be_shared(planted):
    out, seen = planted
    assert {"copies.csv", "report.html", "report-public.html", "RECORDS"} <= names(out)
    assert not any(name.startswith(".") or "signals" in name for name in names(out))
    listed = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == names(out) - {"SHA256SUMS", "copies.csv", "report.html"}
    for name, digest in listed.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert json.loads((out / "manifest.json").read_text())["not_to_be_shared"] == ["report.html", "copies.csv"]
    assert [(name, told["show_real"]) for name, told in seen.pages] == [
        ("report.html", True),
        ("report-public.html", False),
    ]


def test_copies_name_every_synthetic_record_and_the_real_one_it_is_nearest_to(planted):
    out, seen = planted
    table = pd.read_csv(out / "copies.csv")
    assert table["record_name"].tolist() == (out / "RECORDS").read_text().split()
    assert set(table["nearest_record"].dropna()) <= {*seen.train.record_name, *seen.holdout.record_name}


def test_the_same_command_again_plants_the_same_and_another_number_is_other_data(planted, clinic_folder, recipe):
    out, seen = planted
    run = out.with_name("planted-run")
    _, again = release(clinic_folder, out.with_name("again"), recipe, canaries=3, run=run)
    assert repr(again.evaluation.metrics) == repr(seen.evaluation.metrics)
    for canaries in (0, 2):
        with pytest.raises(RunError, match="other records"):
            release(clinic_folder, out.with_name("other"), recipe, canaries=canaries, run=run)
    assert not out.with_name("other").exists()


def flagging(*rows):
    def find(train, holdout, synthetic, **_):
        table = pd.DataFrame(
            {"record_name": synthetic.record_name, "nearest_record": "r", "part": "train", "distance": 0.3}
        )
        return table.assign(flagged=np.isin(np.arange(len(table)), rows))

    return find


def test_dropped_copies_leave_no_trace_in_the_release(planted, clinic_folder, recipe, monkeypatch):
    out, _ = planted
    monkeypatch.setattr("ecgveil.evaluation.parts.find_copies", flagging(2, 5))
    run = out.with_name("planted-run")
    dropped, seen = release(clinic_folder, out.with_name("dropped"), recipe, canaries=3, run=run, drop_copies=True)
    gone = {"synthetic_000002", "synthetic_000005"}
    kept = (dropped / "RECORDS").read_text().split()
    assert set((out / "RECORDS").read_text().split()) - set(kept) == gone
    assert kept == sorted(kept)
    assert names(dropped) == {name for name in names(out) if name.split(".")[0] not in gone}
    for file in dropped.iterdir():
        if file.suffix != ".dat" and file.name != "copies.csv":  # which is the keeper's
            assert not any(name in file.read_text() for name in gone), file.name
    for name in kept:
        assert (dropped / f"{name}.dat").read_bytes() == (out / f"{name}.dat").read_bytes()
    assert set(pd.read_csv(dropped / "copies.csv").query("flagged")["record_name"]) == gone
    manifest = json.loads((dropped / "manifest.json").read_text())
    assert manifest["counts"]["synthetic ECGs"] == NUMBER - 2
    assert "Synthetic ECGs flagged as copies, and left out of all other figures: 2." in manifest["notes"]
    assert not set(seen.evaluation.rows[2]) & {2, 5}
    assert len(seen.evaluation.synthetic) == NUMBER - 2


def test_copies_are_kept_where_nobody_asked_to_drop_them(planted, clinic_folder, recipe, monkeypatch):
    out, _ = planted
    monkeypatch.setattr("ecgveil.evaluation.parts.find_copies", flagging(2, 5))
    kept, seen = release(clinic_folder, out.with_name("kept"), recipe, canaries=3, run=out.with_name("planted-run"))
    assert names(kept) == names(out)
    assert len(seen.evaluation.synthetic) == NUMBER


def test_where_all_are_copies_there_is_no_release(planted, clinic_folder, recipe, monkeypatch):
    out, _ = planted
    monkeypatch.setattr("ecgveil.evaluation.parts.find_copies", flagging(*range(NUMBER)))
    before, run = names(out.parent), out.with_name("planted-run")
    with pytest.raises(EvaluationError, match="every ECG was flagged as a copy"):
        release(clinic_folder, out.with_name("none"), recipe, canaries=3, run=run, drop_copies=True)
    assert names(out.parent) == before


@pytest.mark.parametrize("where", ["critic_scores", "evaluate", "write_figures", "_drop"])
def test_interrupted_anywhere_nothing_but_the_run_stays(planted, clinic_folder, recipe, monkeypatch, where):
    out, _ = planted

    def stop(*_, **__):
        raise KeyboardInterrupt

    before = names(out.parent)
    if where != "evaluate":
        monkeypatch.setattr(pipeline, "evaluate", lambda *_, **__: SimpleNamespace(copies=None, notes=[], metrics=[]))
        monkeypatch.setattr(pipeline, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(pipeline, where, stop)
    monkeypatch.setattr(pipeline, "make_canaries", partial(make_canaries, references=15))
    run = out.with_name("planted-run")
    with pytest.raises(KeyboardInterrupt):
        pipeline.release(
            clinic_folder,
            out.with_name("stopped"),
            recipe=recipe,
            number=2,
            seed=1,
            run=run,
            canaries=3,
            drop_copies=True,
        )
    assert names(out.parent) == before


def test_a_run_or_release_among_the_records_is_refused(clinic_folder, recipe, tmp_path):
    for out, run in ((clinic_folder / "out", None), (tmp_path / "out", clinic_folder / "run")):
        with pytest.raises(ConfigError, match="lies in .*, whose records it would join"):
            pipeline.release(clinic_folder, out, recipe=recipe, run=run)
    with pytest.raises(ConfigError, match="which is made last and whole"):
        pipeline.release(clinic_folder, tmp_path / "out", recipe=recipe, run=tmp_path / "out" / "run")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, []),
        ({"note": "no candidate was judged"}, ["no candidate was judged"]),
        (
            {"note": "", "step": 5, "score": 0.25, "floor": 0.1, "candidates": [{}, {}, {}]},
            [
                "Of 3 checkpoints the one of step 5 was kept: it came nearest to the validation part, which it never "
                "saw (score 0.250; real ECGs 0.100)."
            ],
        ),
    ],
)
def test_the_choice_of_a_checkpoint_is_told(choice, told):
    generator = SimpleNamespace(folder=SimpleNamespace(choice=lambda: choice))
    assert pipeline._choice(generator) == told


def test_what_is_the_keepers_is_readable_by_nobody_else(planted):
    out, _ = planted
    for name in ("report.html", "copies.csv"):
        assert (out / name).stat().st_mode & 0o077 == 0


def test_who_was_not_learned_from_is_no_member(clinic):
    recipe = tiny("veil")
    parts = split(shaped(clinic, recipe), seed=0)
    assert pipeline._learned(parts, recipe) == (parts, [])
    still = [replace(part, signal=part.signal.copy()) for part in (parts.train, parts.holdout)]
    for part in still:
        part.signal[0] = 0.001 * np.sin(np.arange(part.n_samples) / 500)
    learned, notes = pipeline._learned(parts._replace(train=still[0], holdout=still[1]), recipe)
    assert learned.train.record_name == parts.train.record_name[1:]
    assert learned.holdout.record_name == parts.holdout.record_name[1:]
    assert notes == [
        f"1 of {len(parts.holdout)} holdout windows have no four beats to take apart, and were not compared with."
    ]
