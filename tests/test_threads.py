"""Cores, threads that wait, and forked children."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import obverse
from obverse import threads
from tests.conftest import smooth_photo

FORKS = """
import os, sys
import numpy as np
import obverse, torch
from tests.conftest import smooth_photo

torch.set_num_threads(2)
photo = smooth_photo(300, 300)
before = obverse.compress(photo)     # by now OpenMP has its threads
torch.ones(2**22).exp().sum()
child = os.fork()
if child == 0:
    os._exit(0 if torch.get_num_threads() == 1 and obverse.compress(photo) == before else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_codes() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    command = [sys.executable, "-c", FORKS]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment | {"PYTHONPATH": path}
    )
    assert done.stdout.split() == ["0", "2"], done.stderr


def test_the_program_of_the_page_on_workers(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/how-to/workers.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "pack.py").write_text(program)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(smooth_photo(30, 40, number)).save(tmp_path / f"photos/{number}.png")
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "pack.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env=os.environ | {"PYTHONPATH": path})
    for number in range(3):
        assert obverse.decompress(tmp_path / f"photos/{number}.obv").shape == (30, 40, 3)


def test_threads_sleep_unless_the_user_has_said_something() -> None:
    environment: dict[str, str] = {}
    threads.wait_passively(environment)
    assert environment == threads.PASSIVE
    for name in threads.PASSIVE:
        environment = {name: "mine"}
        threads.wait_passively(environment)
        assert environment == {name: "mine"}


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_the_quota_of_a_container(tmp_path: Path) -> None:
    groups, own = tmp_path / "cgroup", tmp_path / "self"
    own.write_text("0::/pod/box\n")
    group(groups / "pod", cpu__max="150000 100000")
    group(groups / "pod" / "box", cpu__max="max 100000")
    assert threads._quota(groups, own) == 1.5
    (groups / "pod" / "cpu.max").unlink()
    assert threads._quota(groups, own) == sys.maxsize
    assert threads._quota(groups, tmp_path / "gone") == sys.maxsize


def test_the_quota_of_an_older_container(tmp_path: Path) -> None:
    groups, own = tmp_path / "cgroup", tmp_path / "self"
    own.write_text("3:memory:/elsewhere\n1:cpu,cpuacct:/box\n0::/\n")
    group(groups / "cpu" / "box", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    assert threads._quota(groups, own) == 0.5
    group(groups / "cpu" / "box", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert threads._quota(groups, own) == sys.maxsize


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not bound here")
def test_cores_that_the_process_is_bound_to() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert threads.available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_small_images_have_one_thread_and_large_ones_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = torch.get_num_threads()
    for pixels, count in ((threads.SMALL - 1, 1), (threads.SMALL, 3), (None, 3)):
        with threads.threads_for(pixels):
            assert torch.get_num_threads() == count
    assert torch.get_num_threads() == before


def test_products_of_arrays_have_as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NumPy has the OpenBLAS of its wheels, and never more than it was given."""
    told = [2]
    functions = {"set_num_threads": told.append, "get_num_threads": lambda: told[-1]}
    monkeypatch.setattr(threads, "_openblas", functions.get)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for pixels, count in ((threads.SMALL - 1, 1), (threads.SMALL, 2), (None, 2)):
        with threads.threads_for(pixels):
            assert told[-1] == count
        assert told[-1] == 2
    monkeypatch.setattr(threads, "_openblas", lambda name: None)
    with threads.threads_for(1):
        pass


def test_the_products_of_this_numpy_are_told() -> None:
    tell, ask = threads._openblas("set_num_threads"), threads._openblas("get_num_threads")
    if tell is None or ask is None:
        pytest.skip("NumPy has another library here")
    with threads.threads_for(1):
        assert ask() == 1
