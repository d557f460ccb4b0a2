"""The package brings its types: a user's program is checked strictly against them, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import obverse
from tests.typing import user_script

HERE = Path(__file__).parent
SOURCE = Path(obverse.__file__).parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


def strictly(script: Path, cache: Path) -> list[str]:
    """What `mypy --strict` says of the script, a sentence a line; errors inside Obverse are not the user's."""
    command = ["-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    command += ["--config-file", os.devnull, "--cache-dir", str(cache), str(script)]
    environment = os.environ | {"MYPYPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, cwd=HERE
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def test_a_user_s_program_is_typed(cache):
    assert strictly(HERE / "user_script.py", cache) == []


def test_mistakes_are_found(cache):
    script = HERE / "user_mistakes.py"
    mistakes = {n for n, line in enumerate(script.read_text().splitlines(), 1) if "# mistake" in line}
    found = {
        int(re.search(r":(\d+): error", line)[1]) for line in strictly(script, cache) if ": error" in line
    }
    assert found == mistakes


def test_the_program_runs(tmp_path):
    assert user_script.main(tmp_path) == "image-lossless True 1.0"  # a ramp is no photo


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "py.typed").is_file()
