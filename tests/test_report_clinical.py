import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from ecgveil import paper, report
from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Evaluation, Features, Metric, evaluate
from ecgveil.measure import measure
from ecgveil.report import About, clinical, clinical_figures, fiducials, words, write_report
from ecgveil.report.guard import shareable
from ecgveil.simulate import simulate

REAL = ("train", "holdout")


def table(n: int, seed: int) -> pd.DataFrame:
    """Measurements of a healthy population, QT and RR correlated; half the columns of `measure` are enough here."""
    rng = np.random.default_rng(seed)
    rr = rng.normal(860, 90, n).clip(610, 990)
    return pd.DataFrame(
        {
            "heart_rate_bpm": 60_000 / rr,
            "rr_mean_ms": rr,
            "rr_sd_ms": rng.gamma(4, 8, n),
            "p_duration_ms": rng.normal(105, 12, n),
            "pr_interval_ms": rng.normal(156, 19, n),
            "qrs_duration_ms": rng.normal(90, 9, n),
            "qt_interval_ms": 395 + 0.15 * (rr - 860) + rng.normal(0, 15, n),
            "qrs_axis_deg": rng.normal(45, 25, n),
            "r_v5_uv": rng.normal(1287, 300, n),
            "stj_v5_uv": rng.normal(2, 27, n),
            "t_v5_uv": rng.normal(343, 120, n),
            "codes": "SR",
            "statements": "sinus rhythm",
            "conclusion": "normal",
            "reasons": "",
        }
    )


def features(frame: pd.DataFrame, person: list | np.ndarray | None = None) -> Features:
    nothing = np.zeros((len(frame), 0))
    person = np.arange(len(frame)) if person is None else np.asarray(person)
    return Features((), frame, nothing, np.zeros(0), nothing, nothing, person.astype(str))


def made_up(train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, /, **person) -> Evaluation:
    sets = {"train": train, "holdout": holdout, "synthetic": synthetic}
    return Evaluation([], distances=None, rows=(np.zeros(0),) * 3, notes=[],
                      **{name: features(frame, person.get(name)) for name, frame in sets.items()})  # fmt: skip


@pytest.fixture
def three() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return table(200, 1), table(150, 2), table(180, 3)


def line(rows: list[dict], name: str, which: int) -> dict:
    return next(row for row in rows if row["name"] == name)["lines"][which]


def cells(rows: list[dict], name: str) -> list[tuple[str, str]]:
    return [(cell["share"], cell["more"]) for cell in next(row for row in rows if row["name"] == name)["cells"]]


# -- Table 2 ----------------------------------------------------------------------------------------------------------


def test_table2_is_mean_sd_and_percentiles_of_what_was_measured(three):
    three[2].loc[:9, "pr_interval_ms"] = np.nan
    rows = clinical.table2(made_up(*three))
    assert [row["name"] for row in rows][:2] == ["Heart rate", "P duration"]
    measured = three[2]["pr_interval_ms"][10:]
    expected = [measured.mean(), measured.std(), *measured.quantile([0.025, 0.975])]
    found = line(rows, "PR interval", 2)
    assert [float(value) for value in found["values"]] == pytest.approx(expected, abs=0.051)
    assert (found["n"], found["missing"]) == ("170", "10")
    assert line(rows, "PR interval", 0)["missing"] == "0"


def test_what_was_not_measured_is_said(three):
    for frame in three:
        frame["qt_interval_ms"] = np.nan
        del frame["p_duration_ms"]
    rows = clinical.table2(made_up(*three))
    for name in ("QT interval", "P duration"):
        for which, n in enumerate((200, 150, 180)):
            found = line(rows, name, which)
            assert found["values"] == []
            assert (found["why"], found["n"], found["missing"]) == ("not measured", "0", str(n))


def test_leads_are_found_in_either_case(three):
    upper = three[0].rename(columns={"r_v5_uv": "r_V5_uv"})
    assert clinical.column(features(upper), "r_v5_uv") == pytest.approx(three[0]["r_v5_uv"].to_numpy())


def test_percentiles_need_someone_beyond_them(three):
    few = made_up(*(frame[:39] for frame in three))
    assert line(clinical.table2(few), "Heart rate", 0)["values"][2:] == ["-", "-"]
    assert "-" not in line(clinical.table2(made_up(*(frame[:40] for frame in three))), "Heart rate", 0)["values"]
    for n, told in ((119, False), (120, True)):
        rows = clinical.table2(made_up(*(frame[:n] for frame in three)), public=True)
        assert ("-" not in line(rows, "Heart rate", 0)["values"]) == told
        assert "-" not in line(rows, "Heart rate", 2)["values"]


def test_a_public_table_tells_nothing_of_few_people(three):
    train, holdout, synthetic = three
    found = made_up(train, holdout[:19], synthetic[:19], train=np.arange(200) % 19)
    rows = clinical.table2(found, public=True)
    for which in (0, 1):  # 200 ECGs of 19 people are no more than 19 people
        assert line(rows, "Heart rate", which)["values"] == []
        assert "fewer than 20 people" in line(rows, "Heart rate", which)["why"]
    assert line(rows, "Heart rate", 2)["values"]
    assert all(line(clinical.table2(found), "Heart rate", which)["values"] for which in range(3))


def test_a_public_table_counts_no_one_or_two(three):
    for frame in three:
        frame.loc[:1, "p_duration_ms"] = np.nan
        frame.loc[:2, "pr_interval_ms"] = np.nan
    rows = clinical.table2(made_up(*three), public=True)
    assert line(rows, "P duration", 0)["missing"] == "fewer than 3"
    assert "198" not in line(rows, "P duration", 0)["n"]
    assert line(rows, "PR interval", 0)["missing"] == "3"
    assert line(rows, "P duration", 2)["missing"] == "2"


# -- normal or not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "n"), [(0, 10), (5, 10), (9, 10), (813, 1000), (20, 20)])
def test_wilson_is_scipys(count, n):
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert clinical.wilson(count / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert np.isnan(clinical.wilson(0, 0)).all()


def with_abnormal(frame: pd.DataFrame, **groups: int) -> pd.DataFrame:
    """The first rows abnormal: so many with each code, one after the other; the rest is normal sinus rhythm."""
    frame = frame.copy()
    start = 0
    for code, count in groups.items():
        rows = slice(start, start + count - 1)
        frame.loc[rows, ["codes", "statements"]] = [f"SR;{code}", f"sinus rhythm; says {code}"]
        frame.loc[rows, "conclusion"] = "abnormal"
        start += count
    return frame


def test_shares_of_normal_with_their_interval(three):
    sets = [with_abnormal(frame, LBBB=count) for frame, count in zip(three, (20, 0, 36), strict=True)]
    rows = clinical.conclusions(made_up(*sets))
    assert [row["name"] for row in rows] == ["normal", "otherwise normal", "abnormal", "not interpretable"]
    ci = binomtest(180, 200).proportion_ci(method="wilson")
    assert cells(rows, "normal")[0] == ("90.0 %", f"{100 * ci.low:.1f} to {100 * ci.high:.1f}")
    assert [share for share, _ in cells(rows, "abnormal")] == ["10.0 %", "0.0 %", "20.0 %"]
    assert cells(rows, "not interpretable")[0][0] == "0.0 %"


def test_several_ecgs_of_a_person_make_no_interval_narrower(three):
    sets = [with_abnormal(frame, LBBB=20) for frame in three]
    share = clinical.normal_share(made_up(*sets, train=np.arange(200) // 10).train)
    assert share.value == 0.9
    assert (share.low, share.high) == pytest.approx(clinical.wilson(0.9, 20))


def test_statements_of_the_others(three):
    sets = [with_abnormal(frame, LBBB=a, AFIB=b) for frame, a, b in zip(three, (3, 1, 2), (5, 1, 14), strict=True)]
    found = made_up(*sets)
    rows = clinical.statements(found)
    assert [row["name"] for row in rows] == ["says AFIB", "says LBBB"]  # sinus rhythm is no reason
    assert cells(rows, "says AFIB") == [("62.5 %", "5"), ("50.0 %", "1"), ("87.5 %", "14")]
    assert clinical.not_normal(found) == ["8", "2", "16"]


def test_public_statements_tell_nothing_of_one_or_two_people(three):
    sets = [with_abnormal(three[0], LBBB=2, AFIB=5), with_abnormal(three[1], AFIB=2), with_abnormal(three[2], AFIB=1)]
    found = made_up(*sets)
    rows = clinical.statements(found, public=True)
    assert [row["name"] for row in rows] == ["says AFIB"]  # two real people have LBBB, and no synthetic ECG
    assert cells(rows, "says AFIB") == [("71.4 %", "5"), ("", "fewer than 3"), ("100.0 %", "1")]
    assert clinical.not_normal(found, public=True) == ["7", "fewer than 3", "1"]
    shown = clinical.conclusions(found, public=True)
    assert cells(shown, "abnormal")[1] == ("", "fewer than 3")
    assert cells(shown, "normal")[1] == cells(shown, "not interpretable")[1] == ("", "")  # they would tell how many
    assert cells(shown, "normal")[0][0].endswith(" %")
    assert "says LBBB" in [row["name"] for row in clinical.statements(found)]


def test_reasons_are_counted(three):
    three[2].loc[:17, "reasons"] = "no_p; unit_sd"
    rows = clinical.reasons(made_up(*three))
    assert cells(rows, "no_p") == [("0.0 %", "0"), ("0.0 %", "0"), ("10.0 %", "18")]
    assert {row["name"] for row in rows} == {"no_p", "unit_sd"}


def test_without_conclusions_there_are_no_shares(three):
    found = made_up(*(frame.drop(columns=["codes", "conclusion"]) for frame in three))
    assert clinical.conclusions(found) == clinical.statements(found) == []
    assert words.clinical(found) == []


def test_the_sentence_on_normal_ecgs(three):
    found = made_up(*(with_abnormal(frame, LBBB=20) for frame in three))
    assert "89 % of the synthetic ECGs (95 % interval 83 to 93 %), 90 % of the training" in words.clinical(found)[0]
    few = made_up(*(with_abnormal(frame, LBBB=2) for frame in three))
    said = words.clinical(few, public=True)[0]
    assert "synthetic" in said
    assert "training" not in said  # it would tell of the two


def test_what_is_not_shown_depends_on_what_was_measured(three):
    assert words.NOT_JUDGED in words.not_shown(made_up(*three))
    older = made_up(*(frame.drop(columns="qt_interval_ms") for frame in three))
    assert words.NOT_MEASURED in words.not_shown(older)


# -- heart rate -------------------------------------------------------------------------------------------------------


def test_heart_rates_tell_the_share_within_the_normal_range(three):
    train, holdout, synthetic = three
    synthetic.loc[:17, "heart_rate_bpm"] = 50.0
    synthetic.loc[18:26, "heart_rate_bpm"] = 120.0
    drawn = clinical_figures.heart_rates(made_up(train, holdout, synthetic))
    for said in ("10.0 %", "85.0 %", "5.0 %", "100.0 %", "normal, 60 to 100"):
        assert said in drawn
    assert paper.REAL_COLOUR not in drawn  # colours are the page's
    assert "var(--real)" in drawn
    assert "var(--synthetic)" in drawn


def test_bars_of_few_real_people_are_left_out():
    edges = np.arange(50.0, 200.0, 5.0)
    rate = np.r_[np.full(30, 72.0), 152.0, 152.0, np.full(3, 162.0), np.full(5, 172.0), np.nan]
    person = np.r_[np.arange(35), np.full(5, 99), 100]
    each = features(pd.DataFrame({"heart_rate_bpm": rate}), person)
    shown = clinical_figures._bars(each, "train", rate, edges, True)
    assert dict(zip(edges[np.flatnonzero(shown)], shown[shown > 0], strict=True)) == {70.0: 30, 160.0: 3}
    assert clinical_figures._bars(each, "train", rate, edges, False).sum() == 40
    assert clinical_figures._bars(each, "synthetic", rate, edges, True).sum() == 40
    assert not clinical_figures._bars(features(each.table[:19]), "train", rate[:19], edges, True).any()


def test_the_public_heart_rates_do_not_tell_an_extreme(three):
    train = three[0]
    train.loc[0, "heart_rate_bpm"] = 210.0
    drawn = clinical_figures.heart_rates(made_up(*three))
    public = clinical_figures.heart_rates(made_up(*three), public=True)
    assert ">200<" in drawn
    assert ">200<" not in public
    assert "fewer than 3" in public


# -- QT against RR ----------------------------------------------------------------------------------------------------


def test_both_correlation_coefficients_are_in_the_figure(three):
    drawn = clinical_figures.qt_rr(made_up(*three))
    for frame in (three[0], three[2]):
        r = np.corrcoef(frame["rr_mean_ms"], frame["qt_interval_ms"])[0, 1]
        assert f"r = {r:.2f} (" in drawn
        assert f"r² = {r**2:.2f}, n = {len(frame)}" in drawn


def test_the_line_is_least_squares_and_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        rr = rng.normal(0, 1, 50)
        frame = pd.DataFrame({"rr_mean_ms": rr, "qt_interval_ms": 0.6 * rr + 0.8 * rng.normal(0, 1, 50)})
        fitted = clinical_figures.qt_line(features(frame))
        covered += fitted.low <= 0.6 <= fitted.high
    assert 180 <= covered <= 199
    straight = pd.DataFrame({"rr_mean_ms": [600, 700, 800, 1000.0], "qt_interval_ms": [360, 370, 380, 400.0]})
    fitted = clinical_figures.qt_line(features(straight))
    assert (fitted.r, fitted.slope, fitted.level) == pytest.approx((1, 0.1, 300))


def test_a_constant_or_missing_qt_has_no_line(three):
    three[0]["qt_interval_ms"] = 400.0
    three[2]["qt_interval_ms"] = np.nan
    found = made_up(*three)
    assert clinical_figures.qt_line(found.train) is None
    assert clinical_figures.qt_line(found.synthetic) is None
    assert "not measured" in clinical_figures.qt_rr(found)


def test_no_real_ecg_is_a_dot_on_a_public_page(three, monkeypatch):
    dots = []
    draw = clinical_figures._draw_dots
    monkeypatch.setattr(clinical_figures, "_draw_dots", lambda *given: dots.append(given[-1]) or draw(*given))
    clinical_figures.qt_rr(made_up(*three), public=True)
    assert dots == [paper.SYNTHETIC_COLOUR]
    clinical_figures.qt_rr(made_up(*three))
    assert dots[1:] == [paper.REAL_COLOUR, paper.SYNTHETIC_COLOUR]


def test_public_cells_hold_three_people_or_more():
    from matplotlib.figure import Figure

    rng = np.random.default_rng(4)
    rr, qt = np.r_[rng.normal(860, 60, 300), 1905.0], np.r_[rng.normal(395, 15, 300), 555.0]
    ax = Figure().subplots()
    corners = clinical_figures._draw_cells(ax, rr, qt, np.arange(301), paper.REAL_COLOUR)
    assert corners[0].max() < 1300
    assert corners[1].max() < 500
    boxes = [path.vertices for path in ax.collections[0].get_paths()]
    assert len(boxes) > 10
    for box in boxes:
        low, high = box.min(axis=0), box.max(axis=0)
        inside = (rr >= low[0]) & (rr < high[0]) & (qt >= low[1]) & (qt < high[1])
        assert inside.sum() >= 3


def test_one_person_with_many_ecgs_fills_no_public_cell():
    from matplotlib.figure import Figure

    corners = clinical_figures._draw_cells(
        Figure().subplots(), np.full(50, 801.0), np.full(50, 401.0), np.zeros(50), paper.REAL_COLOUR
    )
    assert corners.shape == (2, 0)


# -- how measurements go together -------------------------------------------------------------------------------------


def test_correlation_is_pearsons_over_rows_with_both():
    rng = np.random.default_rng(5)
    values = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 3))
    values[:10, 0] = np.nan
    found = clinical_figures.correlation(values, np.arange(60))
    assert found == pytest.approx(found.T)
    assert found[0, 1] == pytest.approx(np.corrcoef(values[10:, 0], values[10:, 1])[0, 1])
    assert found[1, 2] == pytest.approx(np.corrcoef(values[:, 1], values[:, 2])[0, 1])
    assert np.isnan(clinical_figures.correlation(values, np.arange(60) % 19)).all()
    values[:, 2] = 1
    assert np.isnan(clinical_figures.correlation(values, np.arange(60))[2]).all()


def test_an_axis_that_crosses_180_degrees_is_one_direction(three):
    train = three[0]
    drift = np.linspace(-30, 30, len(train))
    train["qrs_axis_deg"] = (180 + drift + 180) % 360 - 180  # from 150 over 180 to -150
    train["p_duration_ms"] = 100 + drift
    columns = [key for key, _ in clinical_figures.CORRELATED]
    middle = clinical_figures._mean_angle(train["qrs_axis_deg"].to_numpy())
    assert abs(middle) == pytest.approx(180)
    values = clinical_figures._measured(features(train), {"qrs_axis_deg": middle})
    found = clinical_figures.correlation(values, np.arange(len(train)))
    assert found[columns.index("qrs_axis_deg"), columns.index("p_duration_ms")] == pytest.approx(1)


def test_matrices_leave_out_what_was_not_measured(three):
    drawn = clinical_figures.together(made_up(*three))
    for name in ("heart rate", "QRS axis", "T in V5", "Synthetic minus training: 0."):
        assert name in drawn
    assert "S in V1" not in drawn
    assert clinical_figures.together(made_up(*(frame[:19] for frame in three))) == ""
    alone = [frame[["heart_rate_bpm"]] for frame in three]
    assert clinical_figures.together(made_up(*alone)) == ""


# -- the labelled beat ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ecgs() -> ECGSet:
    return simulate(75, seed=12, fs=250, conditions={"sinus rhythm": 1})[0]


def text_of(svg: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))


def test_the_beat_says_what_the_table_says(ecgs):
    row = 4
    measured = measure(ecgs.take([row])).iloc[0]
    beats = fiducials.beats_of(ecgs, row, "Synthetic", paper.SYNTHETIC_COLOUR)
    assert [beat.lead for beat in beats] == ["II", "V5"]
    said = text_of(fiducials.labelled_beats(beats))
    for name, column in (("P", "p_duration_ms"), ("QRS", "qrs_duration_ms"), ("PR", "pr_interval_ms"),
                         ("QT", "qt_interval_ms")):  # fmt: skip
        assert said.count(f" {name} {measured[column]:.0f} ms ") == 2
    for lead in ("ii", "v5"):
        for name in ("R", "STJ", "T"):
            assert f" {name} {round(measured[f'{name.lower()}_{lead}_uv'])} uV " in said
    assert "not measured" not in said


def fake_medians(**marks: float):
    """A triangle of a beat, made up: R 1 mV high at 0, T 0.3 mV at 300 ms."""
    time_ms = np.arange(-432, 720, 2.0)
    trace = np.interp(time_ms, [-40, 0, 40, 220, 300, 380], [0, 1, 0, 0, 0.3, 0])
    found = {"p_on": np.nan, "p_off": np.nan, "qrs_on": -40.0, "qrs_off": 40.0,
             "t_on": 220.0, "t_off": 380.0, **marks}  # fmt: skip
    return SimpleNamespace(signal=trace[None, None].astype(np.float32), leads=("V5",), fs=500.0, r_at=216,
                           **{name: np.array([value]) for name, value in found.items()})  # fmt: skip


def test_a_beat_without_a_p_wave_says_so(ecgs, monkeypatch):
    monkeypatch.setattr(fiducials, "median_beats", lambda _: fake_medians())
    (beat,) = fiducials.beats_of(ecgs, 0, "Synthetic", paper.SYNTHETIC_COLOUR)
    assert fiducials._peaks(beat)["R"] == (0.0, pytest.approx(1))
    assert fiducials._peaks(beat)["T"] == (300.0, pytest.approx(0.3))
    said = text_of(fiducials.labelled_beats([beat]))
    assert "not measured: P, PR" in said
    assert "QRS 80 ms" in said
    assert "QT 420 ms" in said
    assert "T 300 uV" in said


@pytest.mark.parametrize("lost", [("t_on", "t_off"), ("qrs_on", "qrs_off"), tuple(fake_medians().__dict__)[4:]])
def test_a_beat_is_drawn_with_whatever_marks_it_has(lost, ecgs, monkeypatch):
    monkeypatch.setattr(fiducials, "median_beats", lambda _: fake_medians(**dict.fromkeys(lost, np.nan)))
    said = text_of(fiducials.labelled_beats(fiducials.beats_of(ecgs, 0, "Synthetic", paper.SYNTHETIC_COLOUR)))
    assert "not measured" in said
    assert "nan" not in said


def test_an_ecg_without_a_beat_has_no_picture(ecgs):
    flat = replace(ecgs.take([0]), signal=np.zeros((1, 12, ecgs.n_samples)))
    assert fiducials.labelled_beats(fiducials.beats_of(flat, 0, "Synthetic", paper.SYNTHETIC_COLOUR)) == ""


# -- the page ---------------------------------------------------------------------------------------------------------

ABOUT = About(title="A", recipe="quick", settings={}, seed=3, versions={}, counts={}, fs=250, seconds=10)


@pytest.fixture(scope="module")
def sets(ecgs) -> tuple[ECGSet, ECGSet, ECGSet]:
    return tuple(ecgs.take(range(start, start + 25)) for start in (0, 25, 50))


@pytest.fixture(scope="module")
def evaluation(sets) -> Evaluation:
    return evaluate(*sets, seed=0, quick=True)


@pytest.fixture
def section(sets, evaluation, tmp_path, monkeypatch):
    """Writes a report; returns its clinical section and which beats of which set were asked for."""
    asked = []
    beats_of = fiducials.beats_of
    monkeypatch.setattr(report, "_sheets", lambda *_: [])  # ECG paper has its own tests, and takes its time
    monkeypatch.setattr(fiducials, "beats_of", lambda *given: asked.append(given[0]) or beats_of(*given))

    def write(show_real: bool) -> tuple[str, list]:
        train, holdout, synthetic = sets
        write_report(tmp_path / "report.html", train=train, holdout=holdout, synthetic=synthetic,
                     evaluation=evaluation, about=ABOUT, show_real=show_real)  # fmt: skip
        page = (tmp_path / "report.html").read_text()
        start = page.index("<h2>Clinical measurements</h2>")
        return page[start : page.index("<h2>", start + 4)], asked

    return write


def test_the_keepers_page_has_it_all(section, sets, evaluation):
    html, asked = section(True)
    assert asked == [sets[0], sets[2]]
    headings = ["What is measured", "Mean, spread and range", "Heart rate", "QT interval and heart rate"]
    assert re.findall("<h3>(.*?)</h3>", html) == [*headings, "How the measurements go together", "How many are normal"]
    assert html.count("<svg") == 4
    said = text_of(html)
    assert "Real, training: lead II" in said
    assert f"{evaluation.train.table['qt_interval_ms'].mean():.1f}" in said
    assert not re.search(r"\bnan\b", said)


def test_the_public_page_draws_no_real_beat(section, sets):
    html, asked = section(False)
    assert asked == [sets[2]]
    assert "Real, training: lead" not in html
    assert "real ECGs are counted in cells" in html
    assert html.count("<svg") == 4


@pytest.mark.parametrize(
    ("n", "floor", "target", "told"),
    [
        (30, 0.5, 0.9, True),
        (30, 0.5, 1.0, True),
        (30, 0.5, 29 / 30, False),
        (30, 1 / 30, 0.5, False),
        (19, 0.5, 0.5, False),
    ],
)
def test_shares_that_one_or_two_real_people_make_up_are_not_shared(n, floor, target, told):
    share = Metric("fidelity", "normal_share", 0.4, 0.2, 0.6, "target", floor, n, "within", "", target, 0.3)
    other = replace(share, name="heart_rate_ks")
    shared, untouched = shareable([share, other])
    assert untouched is other
    assert shared.value == 0.4
    assert [each == each for each in (shared.floor, shared.target, shared.p_value)] == [told] * 3
