"""Every declared codec passes every check; a method without examples, or golden files of its models, fails by name."""

from __future__ import annotations

import importlib
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from obverse.registry import built_in_methods
from obverse.testing import CHECKS, Example, Opened, check_golden, check_other_processes, make_golden
from obverse.zoo import load_model

pytestmark = pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")

METHODS = {method.package.rpartition(".")[2] for method in built_in_methods().values()}
HERE = Path(__file__).parent


def module_of(method: str):
    """tests/codecs/<method>/cases.py; where there is none, that method fails by name, and no other."""
    if not (HERE / method / "cases.py").is_file():
        return SimpleNamespace(EXAMPLES=(), GOLDEN=())
    return importlib.import_module(f"tests.codecs.{method}.cases")


EXAMPLES = {str(e): e for method in sorted(METHODS) for e in module_of(method).EXAMPLES}
KEPT = {
    f"{method}/{example.name}": (example, HERE / method / "golden")
    for method in sorted(METHODS)
    for example in (*module_of(method).EXAMPLES, *getattr(module_of(method), "GOLDEN", ()))
    if example.golden
}


@cache
def opened(name: str) -> Opened:
    return Opened(EXAMPLES[name])


@pytest.mark.parametrize("codec", sorted(built_in_methods()))
def test_every_codec_has_an_example(codec: str) -> None:
    folder = built_in_methods()[codec].package.rpartition(".")[2]
    found = any(example.codec == codec for example in EXAMPLES.values())
    assert found, f"name examples of {codec} in tests/codecs/{folder}/cases.py (see CONTRIBUTING.md)"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", EXAMPLES)
def test_conformance(name: str, check) -> None:
    check(opened(name))


@pytest.mark.parametrize("name", KEPT)
def test_golden_files(name: str, request: pytest.FixtureRequest) -> None:
    """With --make-golden, those that are missing are written; never one that is there."""
    if request.config.getoption("--make-golden"):
        make_golden(*KEPT[name])
    check_golden(*KEPT[name])


def test_every_golden_file_has_an_example() -> None:
    assert {path.relative_to(HERE).with_suffix("") for path in HERE.glob("*/golden/*.obv")} == {
        folder.relative_to(HERE) / example.name for example, folder in KEPT.values()
    }
    assert max(Counter((folder, example.name) for example, folder in KEPT.values()).values()) == 1


@pytest.mark.parametrize("codec", sorted(built_in_methods()))
def test_every_shipped_model_has_a_golden_file(codec: str) -> None:
    shipped = {load_model(name).fingerprint for name in built_in_methods()[codec].models}
    kept = [example for example, _ in KEPT.values() if example.codec == codec]
    assert shipped <= {example.open().fingerprint for example in kept} and kept


@pytest.mark.slow
def test_files_are_read_by_other_processes() -> None:
    check_other_processes(list(EXAMPLES.values()))


def test_an_example_says_what_it_is() -> None:
    example = Example("image", "mine", lambda: 0)
    assert str(example) == "image: mine"
