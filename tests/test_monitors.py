import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import shaped, tiny
from ecgveil.console import progress
from ecgveil.ecg import concat
from ecgveil.errors import ConfigError
from ecgveil.training import fit as fitting
from ecgveil.training import monitors
from ecgveil.training.fit import fit
from ecgveil.training.looks import Directions, variety
from ecgveil.training.monitors import LOOK_EVERY, Monitor
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder
from test_training import same, weights

STEPS, AT, WITHIN = 400, 200, 200
SMALL = {
    "data__n_samples": 256,
    "model__widths": [4, 4, 4],
    "training__batch": 8,
    "training__steps": STEPS,
    "training__pictures": 0,
}


# Rules, on figures made up


def row(step, **changed):
    """A look at a healthy training."""
    healthy = {
        "critic_loss": 0.9, "generator_loss": 1.1, "diversity": 0.8, "diversity_training": 0.7, "critic_margin": 1.0,
        "generator_gradient": 0.5, "critic_gradient": 0.4, "generator_weights": 8.0, "critic_spread": 0.7,
        "critic_weights": 5.0 + step / 1e4, "critic_accuracy": 0.8,
    }  # fmt: skip
    return {"step": step, **healthy, **changed}


def watched(after, healthy=30, looks=12, monitor=None):
    """What is said when training is healthy for some looks, and `after` (of the step) from then on."""
    monitor = monitor or Monitor()
    steps = [LOOK_EVERY * (k + 1) for k in range(healthy + looks)]
    return [
        (step, {key: told for key, told in monitor.see(row(step) if k < healthy else row(step, **after(step))).items()})
        for k, step in enumerate(steps)
    ]


def warned(said):
    return [warning for _, told in said for warning in told.get("warning", ())]


BAD = {
    "mode collapse": lambda step: {"diversity": 0.02, "diversity_training": 0.02},
    "vanishing gradient": lambda step: {"generator_gradient": 1e-6},
    "saturated critic": lambda step: {"critic_accuracy": 1.0, "critic_margin": 40.0},
    "dead critic": lambda step: {"critic_spread": 0.0, "critic_margin": 0.0, "critic_accuracy": 0.5},
    "overtaken critic": lambda step: {"critic_accuracy": 0.0, "critic_margin": -3.0},
    "divergence": lambda step: {"generator_weights": 8.0 * 1.01 ** max(step - 600, 0)},
}


@pytest.mark.parametrize("kind", BAD)
def test_each_kind_is_said_once_and_soon(kind):
    (warning,) = warned(watched(BAD[kind]))
    assert warning["kind"] == kind
    assert 600 < warning["since"] <= warning["step"] <= 600 + WITHIN
    assert f"step {warning['step']}: {kind} since step {warning['since']}: " in warning["text"]
    assert "; try " in warning["text"]
    assert set(BAD) == set(monitors.TOLD)


@pytest.mark.parametrize("what", [{"critic_loss": 1e4}, {"generator_loss": -1e4}, {"critic_weights": np.inf}])
def test_losses_and_infinities_are_divergence(what):
    assert [warning["kind"] for warning in warned(watched(lambda step: what))] == ["divergence"]


def test_a_wasserstein_distance_that_turns_is_divergence():
    def said(usual, now):
        monitor = Monitor(saturates=False)
        for k in range(30):
            monitor.see(row(20 * k, critic_loss=usual))
        return [w["kind"] for k in range(30, 36) for w in monitor.see(row(20 * k, critic_loss=now)).get("warning", ())]

    assert said(-2.3, 0.9) == ["divergence"]
    assert said(-2.3, -0.1) == said(-2.3, 0.1) == []  # a distance that has become small is what training is for
    assert said(-0.2, 0.3) == []  # where there never was a clear one
    assert not warned(watched(lambda step: {"critic_loss": 2.0}, monitor=Monitor()))  # the sign of logits means nothing


def test_weights_that_stand_still_are_a_dead_critic():
    (warning,) = warned(watched(lambda step: {"critic_weights": 5.0}))
    assert warning["kind"] == "dead critic"


def test_a_passing_look_is_not_said():
    for kind in BAD:
        monitor = Monitor()
        said = []
        for k in range(60):
            bad = k >= 20 and k % 4 != 0  # never four in a row
            said.append((k, monitor.see(row(20 * k, **(BAD[kind](20 * k) if bad else {})))))
        assert not warned(said), kind


def test_what_has_passed_is_said_and_may_come_again():
    monitor = Monitor()
    said = [(0, told) for _, told in watched(BAD["mode collapse"], monitor=monitor)]
    for k in range(50, 60):
        said.append((k, monitor.see(row(20 * k))))
    assert [told["recovered"] for _, told in said if "recovered" in told] == [["mode collapse"]]
    for k in range(60, 70):
        said.append((k, monitor.see(row(20 * k, diversity=0.01))))
    assert len(warned(said)) == 2


def test_a_low_diversity_that_rises_is_a_beginning_and_one_that_does_not_is_a_collapse():
    monitor = Monitor()
    assert not any(monitor.see(row(20 * k, diversity=min(0.7, 0.002 * 1.1**k))) for k in range(100))
    monitor = Monitor()
    said = [(k, monitor.see(row(20 * k, diversity=0.02))) for k in range(1, 40)]
    (warning,) = warned(said)
    assert warning["kind"] == "mode collapse"
    assert warning["step"] <= 400


def test_scores_of_a_wasserstein_critic_are_no_logits():
    assert not warned(watched(BAD["saturated critic"], monitor=Monitor(saturates=False)))


def test_what_the_log_holds_counts_as_said():
    monitor, rows, said = Monitor(), [], []
    for k in range(1, 60):
        look = row(20 * k, **(BAD["mode collapse"](20 * k) if 20 <= k < 40 else {}))
        rows.append(look)
        said.append(monitor.see(look))
    for cut in (10, 21, 23, 30, 41, 43, 50):
        resumed = Monitor([{"step": 1, "critic_loss": 1.0}, *rows[:cut]])
        assert [resumed.see(look) for look in rows[cut:]] == said[cut:]


# Figures


def test_variety_sees_shapes_through_noise():
    rng = np.random.default_rng(0)
    shapes = np.cumsum(rng.normal(size=(200, 1, 300)), axis=2)  # random walks: power at low frequencies
    real = torch.from_numpy(shapes).float()
    directions = Directions(real[:100])
    assert directions.of(real[:100]).std(dim=0).numpy() == pytest.approx(np.ones(16), rel=1e-3)
    noise = torch.from_numpy(rng.normal(size=(32, 1, 300))).float()
    whole = variety(directions.of(real[100:132]))
    assert variety(directions.of(real[132:164])) == pytest.approx(whole, rel=0.3)
    assert variety(directions.of(real[:1] + noise)) < 0.35 * whole
    few = real[:4].repeat(8, 1, 1)
    assert variety(directions.of(few + 0.1 * noise)) < 0.1 * whole
    assert np.isnan(variety(torch.full((3, 2), torch.nan)))


# Along training


class Held(Players):
    """Players that can be reached from outside."""

    last: "Held"

    def __init__(self, *args):
        super().__init__(*args)
        Held.last = self


def test_windows_that_all_have_a_twin_give_no_figure_of_diversity_and_no_error(image, tmp_path, monkeypatch):
    monkeypatch.setattr("ecgveil.training.looks.variety", lambda projections: 0.0)
    ecgs, recipe = image
    rows = [row for row in fit(ecgs, recipe, tmp_path / "run", use_all=True).metrics() if "diversity" in row]
    assert rows
    assert all(np.isnan(row["diversity"]) for row in rows)


@pytest.fixture(scope="module")
def image(clinic):
    recipe = tiny("piacentino-z", **SMALL)
    return shaped(clinic, recipe), recipe


@pytest.fixture(scope="module")
def healthy(image, tmp_path_factory):
    """A whole run, and its folder as it was at half time."""
    ecgs, recipe = image
    out = tmp_path_factory.mktemp("monitors")

    def stop(line):
        if line["step"] == AT:
            os.kill(os.getpid(), signal.SIGINT)

    fit(ecgs, recipe, out / "half", seed=1, on_log=stop)
    shutil.copytree(out / "half", out / "whole")
    return fit(ecgs, recipe, out / "whole", seed=1, resume=True), out / "half"


def test_a_healthy_run_is_silent_and_its_figures_are_logged(healthy):
    folder, _ = healthy
    assert folder.warnings() == []
    looks = [line for line in folder.metrics() if "diversity" in line]
    assert [line["step"] for line in looks] == list(range(LOOK_EVERY, STEPS + 1, LOOK_EVERY))
    assert all(line["generator_gradient"] > 0 and 0 <= line["critic_accuracy"] <= 1 for line in looks)
    assert all(0.05 < line["diversity"] < 2 for line in looks)


def one_shape(players):
    forward = players.generator.forward
    players.generator.forward = lambda noise: forward({"z": noise["z"][:1].expand_as(noise["z"])})


def zeroed(players):
    with torch.no_grad():
        for weight in players.critic.parameters():
            weight.zero_()


def frozen(players):
    players.optimizers[1].step = lambda: None


def hasty(players):
    for optimizer in players.optimizers:
        step = optimizer.step

        def faster(step=step, groups=optimizer.param_groups):
            for group in groups:
                group["lr"] *= 100
            step()

        optimizer.step = faster


@pytest.mark.parametrize(
    ("plant", "kind"),
    [(one_shape, "mode collapse"), (zeroed, "dead critic"), (frozen, "dead critic"), (hasty, "divergence")],
)
def test_a_plant_is_found_within_200_steps(healthy, image, tmp_path, monkeypatch, plant, kind):
    _, half = healthy
    ecgs, recipe = image
    shutil.copytree(half, tmp_path / "run")
    monkeypatch.setattr(fitting, "Players", Held)
    said = []
    fit(
        ecgs, recipe, tmp_path / "run", seed=1, resume=True,
        on_start=lambda step, total: plant(Held.last), on_log=lambda line: said.extend(line.get("warning", ())),
    )  # fmt: skip
    kinds = [warning["kind"] for warning in said]
    assert kind in kinds
    first = said[kinds.index(kind)]
    assert AT - LOOK_EVERY < first["since"] < first["step"] <= AT + WITHIN
    kept = RunFolder(tmp_path / "run").warnings()
    assert [{key: value for key, value in each.items() if key != "until"} for each in kept] == said


def test_looking_changes_nothing_and_a_stopped_run_logs_the_same(image, tmp_path, monkeypatch):
    ecgs, recipe = image
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 12})})
    blind = fit(ecgs, recipe, tmp_path / "blind", seed=2)
    monkeypatch.setattr(monitors, "LOOK_EVERY", 2)
    whole = fit(ecgs, recipe, tmp_path / "whole", seed=2)
    assert same(weights(blind.path), weights(whole.path))
    assert len([line for line in whole.metrics() if "diversity" in line]) == 6

    def crash(line):
        if line["step"] == 7:
            raise KeyError

    hasty = recipe.model_copy(update={"training": recipe.training.model_copy(update={"checkpoint_seconds": 1e-6})})
    with pytest.raises(KeyError):
        fit(ecgs, hasty, tmp_path / "stopped", seed=2, on_log=crash)
    stopped = fit(ecgs, hasty, tmp_path / "stopped", seed=2, resume=True)
    assert same(weights(stopped.path), weights(whole.path))
    logs = [[{**line, "seconds_per_step": 0} for line in run.metrics()] for run in (stopped, whole)]
    assert logs[0] == logs[1]


# The class head


@pytest.fixture(scope="module")
def classes(clinic):
    """Two classes, one the other upside down, and a recipe that tells them apart."""
    recipe = tiny("acgan", training__steps=80, training__batch=8, training__pictures=0, training__learning_rate=2e-3)
    ecgs = shaped(clinic, recipe)
    again = [tuple(f"{k}-{name}" for name in ecgs.record_name) for k in range(6)]
    ecgs = concat([replace(ecgs, record_name=each, patient_id=each) for each in again])
    names = recipe.data.classes
    number = np.arange(len(ecgs)) % len(names)
    turned = ecgs.signal * (1 - 2 * number)[:, None, None].astype(np.float32)
    return replace(ecgs, signal=turned, labels=tuple((names[i],) for i in number)), recipe


def test_class_accuracies_are_logged(classes, tmp_path):
    ecgs, recipe = classes
    folder = fit(ecgs, recipe, tmp_path / "run", seed=1)
    lines = [line for line in folder.metrics() if "class_accuracy_real" in line]
    assert [line["step"] for line in lines] == [20, 40, 60, 80]
    for kind in ("real", "synthetic"):
        told = [line[f"class_accuracy_{kind}"] for line in lines]
        assert all(0 <= each <= 1 for each in told)
    assert lines[-1]["class_accuracy_real"] > 0.8  # half of them, by chance


def test_candidates_may_be_chosen_by_class_accuracy(classes, tmp_path):
    ecgs, recipe = classes
    t = recipe.training.model_copy(update={"candidates": 4, "choose_by": "class-accuracy"})
    folder = fit(ecgs, recipe.model_copy(update={"training": t}), tmp_path / "run", seed=1)  # no judge is needed
    choice = folder.choice()
    told = {line["step"]: line for line in folder.metrics()}
    assert [each["step"] for each in choice["candidates"]] == [50, 60, 70, 80]
    for each in choice["candidates"]:
        right = [told[each["step"]][f"class_accuracy_{kind}"] for kind in ("real", "synthetic")]
        assert each["score"] == pytest.approx(1 - np.mean(right))
    assert choice["score"] == min(each["score"] for each in choice["candidates"])
    assert choice["floor"] is None
    other = recipe.training.model_copy(update={"candidates": 4, "choose_by": "class-accuracy", "objective": "bce"})
    with pytest.raises(ConfigError, match="bce has no class head; acgan and ac-wgan-gp have one"):
        fit(ecgs, recipe.model_copy(update={"training": other}), tmp_path / "other", seed=1)


# What is told of it


def test_the_run_folder_says_until_when(healthy, tmp_path):
    folder, _ = healthy
    shutil.copytree(folder.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    warning = {"kind": "mode collapse", "since": 401, "figure": 0.01, "step": 405, "text": "step 405: mode collapse"}
    run.log({"step": 405, "warning": [warning]})
    run.log({"step": 409, "recovered": ["mode collapse"]})
    run.log({"step": 415, "warning": [{**warning, "step": 415}]})
    assert run.warnings() == [{**warning, "until": 409}, {**warning, "step": 415, "until": None}]


def test_the_command_line_prints_a_warning_when_it_comes(capsys):
    with progress() as tell:
        tell("training", 405, 500, {"step": 405, "warning": [{"text": "step 405: mode collapse; try [this]"}]})
        tell("training", 409, 500, {"step": 409, "recovered": ["mode collapse"]})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: step 405: mode collapse; try [this]"
    assert "step 409: mode collapse has passed" in lines
