"""P3's study, on a small clinic."""

import json
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from ecgveil.errors import RecordError
from ecgveil.evaluation.along import MEASURES
from ecgveil.report.along_figure import draw_along
from ecgveil.simulate import write_clinic
from ecgveil.studies import STUDIES, pon_bharathi, reproduce
from ecgveil.studies.job import Job

SMALL = {"training.steps": 8, "training.pictures": 0, "training.batch": 8, "model.width": 2}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """As many patients as the smallest comparison needs: 20 held out, and two times 20 trained on."""
    folder = tmp_path_factory.mktemp("along") / "clinic"
    write_clinic(folder, 140, seed=3)
    return folder


def test_the_five_systems_have_this_study():
    for name in ("wgan-gp", "acgan", "ac-wgan-gp", "dcgan", "bilstm-cnn"):
        assert STUDIES[name].run is pon_bharathi.run
        assert "along training" in STUDIES[name].summary


@pytest.fixture(scope="module")
def page(clinic, tmp_path_factory):
    out = tmp_path_factory.mktemp("along") / "out"
    changes = {**SMALL, "data.labels": ["sinus rhythm"], "training.snapshots": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pon_bharathi, "along", partial(pon_bharathi.along, encoder_steps=20))
        return reproduce("acgan", out, data=clinic, seed=1, changes=changes)


def test_the_study_is_written_whole(page):
    html = page.read_text()
    for told in ("Fig. 3", "not for clinical use", "JS does not offer consistent indicators", "3000 epochs"):
        assert told in html
    facts = json.loads((page.parent / "study.json").read_text())
    assert facts["sections"].pop("records") == "clinic (made by ecgveil)"
    for stamp in facts["sections"].values():
        for told in (
            "training beats of",
            "8 steps",
            "recipe: 20000 steps",
            "model.width 2 (recipe: 64)",
            "training.batch 8 (recipe: 64)",
        ):
            assert told in stamp
        assert "data.labels [sinus rhythm] (recipe: [NORM])" in stamp
        assert "training.steps" not in stamp  # the length is told once
    assert "embedded clinic" not in html
    assert "1000 drawn at each checkpoint" in facts["sections"]["along"]
    assert {path.stem for path in (page.parent / "figures").iterdir()} == {"along", "losses", "beside"}


def test_the_tables_hold_all_measures_and_the_floor(page):
    table = pd.read_csv(page.parent / "tables" / "along.csv", index_col=0)
    assert list(table.index) == ["3", "5", "8", "real"]
    assert set(MEASURES) <= set(table.columns)
    shown = pd.read_csv(page.parent / "tables" / "measures.csv", dtype=str)
    assert list(shown["step"]) == ["3", "5", "8", "real"]
    fid = shown["FID ↓"]
    assert float(fid.iloc[-1]) < min(float(each) for each in fid[:-1])  # real ECGs are nearest
    bold = re.findall("<b>([^<]*)</b>", (page.parent / "index.html").read_text())
    assert len(bold) == len(shown.columns) - 2  # the best of each measure, though others may look the same
    assert min(fid[:-1], key=float) in bold
    related = pd.read_csv(page.parent / "tables" / "correlations.csv")
    assert set(related["measure"]) <= {each.removesuffix(", uV") for each in pon_bharathi.PLAIN.values()}


def test_labels_that_nobody_bears_are_refused(clinic, tmp_path):
    with pytest.raises(RecordError, match="class 'NORM'.*data.labels"):
        reproduce("dcgan", tmp_path / "out", data=clinic, changes=SMALL)


def test_too_few_patients_are_refused_before_the_training(clinic, tmp_path):
    changes = {**SMALL, "data.labels": ["sinus rhythm"]}
    with pytest.raises(RecordError, match="70 patients at scale 0.5 leave 1. to compare"):
        reproduce("dcgan", tmp_path / "out", data=clinic, scale=0.5, changes=changes)
    assert not (tmp_path / "out-runs" / "dcgan").exists()


def test_default_labels_are_those_of_the_embedded_clinic(tmp_path):
    def job(name, data=(), **changes):
        return Job(name, data, tmp_path, 0.5, 0, changes, lambda *told: None)

    assert pon_bharathi.recipe_of(job("dcgan")).data.labels == ("sinus rhythm",)
    assert pon_bharathi.recipe_of(job("dcgan", (tmp_path,))).data.labels == ("NORM",)
    assert pon_bharathi.recipe_of(job("dcgan", **{"data.labels": ["x"]})).data.labels == ("x",)
    plain = pon_bharathi.recipe_of(job("wgan-gp"))
    assert plain.data.labels == ()
    assert (plain.training.steps, plain.training.snapshots) == (10_000, 8)


def planted(**columns):
    steps = list(range(1, 9))
    table = pd.DataFrame({"rules_valid_share": np.linspace(0.1, 0.8, 8), **columns}, index=steps)
    table.loc["real"] = 0.9
    return table.assign(n=50)


def test_words_of_planted_measures():
    falls, wavers = np.linspace(9, 1, 8), np.array([3, 1, 4, 1, 5, 2, 6, 3.5])
    found = pon_bharathi.correlations(planted(fid=falls, js=wavers, accuracy=falls))
    assert "follows them: yes" in pon_bharathi._told(found, "fid")
    assert "follows them: not shown" in pon_bharathi._told(found, "js")
    assert "the other way" in pon_bharathi._told(found, "accuracy")
    assert pon_bharathi._told(found, "mmd") == "not measured"


def test_room_for_the_stamp_moves_everything_up():
    fig = draw_along(planted(fid=np.linspace(9, 1, 8)), scale=0.01)
    height, legend = fig.get_figheight(), fig.legends[0]
    fig.draw_without_rendering()
    before = legend.get_window_extent().y0
    heights = [ax.get_window_extent().height for ax in fig.axes]
    pon_bharathi._make_room(fig, 0.5)
    fig.draw_without_rendering()
    assert fig.get_figheight() == pytest.approx(height + 0.5)
    assert legend.get_window_extent().y0 == pytest.approx(before + 0.5 * fig.dpi, abs=2)
    assert [ax.get_window_extent().height for ax in fig.axes] == pytest.approx(heights, rel=0.01)
