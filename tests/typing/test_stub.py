"""The stub of `obverse.compress` is what the declarations say now."""

import sys

import obverse
from tests.conftest import REPOSITORY

sys.path.append(str(REPOSITORY / "scripts"))
import make_stub


def test_the_stub_is_made_from_the_declarations_of_today():
    assert make_stub.TARGET.read_text() == make_stub.stub(), "run python scripts/make_stub.py"


def test_it_has_every_public_name():
    text = make_stub.stub()
    assert all(f" as {name}\n" in text for name in set(obverse.__all__) - {"compress", "__version__"})
