"""The documentation: links of the site, and what its pages say of the code."""

import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts/site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_out_of_docs_lead_to_pages_of_the_site():
    links = script("links")
    text = "[a](../src/obverse/codec.py), [b](format.md#limits), [c](../src/obverse/zoo/image/card.md), "
    text += "[d](../examples)"
    assert links.in_site(text, "index.md") == (
        "[a](repository/src/obverse/codec.py.md), [b](format.md#limits), "
        "[c](repository/src/obverse/zoo/image/card.md), d"
    )
    assert list(links.linked_places(text, "docs/index.md")) == [
        "src/obverse/codec.py",
        "src/obverse/zoo/image/card.md",
    ]


def test_links_of_pages_outside_of_docs_are_those_of_their_place():
    links = script("links")
    text = "![p](docs/images/kodak_rd.png) [`f`](src/obverse/coding) [x](nowhere.md) [y](https://obverse.example/a)"
    assert links.in_site(text, "repository/README.md") == (
        "![p](../images/kodak_rd.png) [`f`](src/obverse/coding/__init__.py.md) [x](nowhere.md) "
        "[y](https://obverse.example/a)"
    )


def test_a_page_of_a_file_shows_all_of_it():
    page = script("links").file_page("src/obverse/method.py")
    assert (REPOSITORY / "src/obverse/method.py").read_text() in page
