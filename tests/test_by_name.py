import sys

import pytest

from obverse.by_name import imported, is_name, working_folder
from obverse.errors import InputError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a:b", True), ("a.b_c:d", True), ("a", False), ("a:b.c", False), ("x/a.py:b", False)],
)
def test_what_looks_like_a_name(text, wanted):
    assert is_name(text) is wanted


def test_modules_of_the_working_folder_are_found_and_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "mine_by_name.py").write_text("answer = 42\n")
    before = list(sys.path)
    assert imported("mine_by_name:answer", "number") == 42
    assert sys.path == before
    with working_folder():
        assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(
    ("content", "name"), [("", "none"), ("1 / 0", "x"), ("def", "x"), ("import not_there_at_all", "x")]
)
def test_what_cannot_be_imported_is_said(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    module = f"bad_{abs(hash(content))}"
    (tmp_path / f"{module}.py").write_text(content)
    with pytest.raises(InputError, match=f"the thing {module}:{name} cannot be imported"):
        imported(f"{module}:{name}", "thing")
