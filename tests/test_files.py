import errno
import os
import subprocess
import sys

import pytest

from ecgveil.errors import RunError, Stopped
from ecgveil.files import new_folder, require_free, write_atomic, write_together

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "a").read_text() == "1"
    with pytest.raises(KeyError), new_folder(tmp_path / "other"):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_run_that_was_asked_to_stop_is_still_said_to_have_stopped(tmp_path):
    with pytest.raises(Stopped, match=f"^stopped in {tmp_path / 'out'}$"), new_folder(tmp_path / "out") as folder:
        raise Stopped(f"stopped in {folder}")


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_builds_is_not(tmp_path):
    dead = tmp_path / ".out.00000000.partial"
    dead.mkdir()
    with new_folder(tmp_path / "out") as alive:  # a process elsewhere, whose number says nothing here
        for _ in range(2):
            with pytest.raises(KeyError), new_folder(tmp_path / "out"):
                raise KeyError
        assert not dead.exists()
        assert alive.exists()


def test_a_folder_whose_process_was_killed_is_free_again(tmp_path):
    building = f"""
from pathlib import Path
from ecgveil.files import new_folder
with new_folder(Path({str(tmp_path / "out")!r})):
    print(flush=True)
    input()
"""
    killed = subprocess.Popen([sys.executable, "-c", building], **PIPES)
    killed.stdout.readline()
    left = next(tmp_path.glob(".out.*.partial"))
    with pytest.raises(KeyError), new_folder(tmp_path / "out"):
        raise KeyError
    assert left.exists()
    killed.kill()
    killed.communicate()
    with new_folder(tmp_path / "out"):
        assert not left.exists()


def test_what_tells_of_the_others_is_replaced_last(tmp_path, monkeypatch):
    write_together(tmp_path, {"a.dat": b"1", "a.hea": b"1"})
    replace, done = os.replace, []

    def fails_at_the_second(source, target):
        if done:
            raise OSError(errno.EIO, "Input/output error")
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_at_the_second)
    with pytest.raises(RunError, match="cannot write"):
        write_together(tmp_path, {"a.dat": b"2", "a.hea": b"2"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.dat": b"2", "a.hea": b"1"}


@pytest.mark.parametrize("content", ["file", "folder", "link"])
def test_occupied(tmp_path, content):
    out = tmp_path / "out"
    if content == "file":
        out.write_text("mine")
    elif content == "link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        (out / "mine").mkdir(parents=True)
    with pytest.raises(RunError, match="out already holds something; choose another folder"):
        require_free(out)


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        write_atomic(folder / "a", "1")
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_a_full_disk_names_the_folder_that_was_asked_for(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(RunError, match=r"/out: the disk is full; free some space"),
        new_folder(tmp_path / "out") as folder,
    ):
        write_atomic(folder / "a", "1")
    assert list(tmp_path.iterdir()) == []


def test_files_that_belong_together_change_together(tmp_path):
    write_together(tmp_path, {"a": b"1", "b": b"2"})
    with pytest.raises(RunError, match="cannot write"):
        write_together(tmp_path, {"a": b"3", "no/such/folder": b"4"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


def test_a_place_that_cannot_be_made_is_named_as_it_was_given(tmp_path):
    (tmp_path / "file").write_text("1")
    with (
        pytest.raises(RunError, match=f"^{tmp_path / 'file' / 'x'}: cannot write"),
        new_folder(tmp_path / "file" / "x"),
    ):
        pass
