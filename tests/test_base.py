"""The base model that ships."""

import pytest

from ecgveil.base import FOLDER, find_run
from ecgveil.errors import RunError


def test_base_is_the_model_that_ships_and_anything_else_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_run("base") == FOLDER
    assert find_run("other") == tmp_path.__class__("other")
    assert find_run(tmp_path / "base") == tmp_path / "base"


def test_a_run_here_of_that_name_is_not_guessed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "recipe.toml").touch()
    with pytest.raises(RunError, match=f"give the latter's whole path, {tmp_path}/base"):
        find_run("base")
