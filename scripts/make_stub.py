"""Write src/obverse/__init__.pyi from the declarations: python scripts/make_stub.py

So that editors and type checkers know the options of `obverse.compress` for each built-in codec. A test fails when the
file is not what this writes.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import obverse
from obverse.fields import OptionField
from obverse.method import Method
from obverse.registry import built_in_methods

TARGET = Path(obverse.__file__).with_suffix(".pyi")
HEAD = '''# Written by scripts/make_stub.py from the declarations of the codecs; do not edit.
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

{imports}

__version__: str
__all__ = [
{names}
]

_Verify: TypeAlias = bool | Literal["quick", "certain"] | None
_BuiltIn: TypeAlias = Literal[
{ids}
]

class NoSuchOption:
    """What `compress` returns, for type checkers, where a built-in codec does not have the options given: no bytes."""
'''
TAIL = """
@overload  # a built-in codec, but not its options
def compress(data: Any, codec: _BuiltIn, *, verify: _Verify = ..., **options: Any) -> NoSuchOption: ...
@overload  # codecs of other packages, and trained models by name or folder
def compress(data: Any, codec: str | Path, *, verify: _Verify = ..., **options: Any) -> bytes: ...
"""


def imports() -> str:
    """The public names, imported from where `obverse/__init__.py` has them."""
    source = ast.parse(Path(obverse.__file__).with_suffix(".py").read_text())
    lines = []
    for node in source.body:
        if isinstance(node, ast.ImportFrom):
            names = [
                f"{alias.name} as {alias.asname or alias.name}"
                for alias in node.names
                if alias.name != "compress"
            ]
            lines += [f"from {node.module} import {name}" for name in names]
    return "\n".join(lines)


def overload(method: Method) -> str:
    """`compress` with the options of this codec, and what they mean."""
    options = method.options_class.described()
    given = "".join(f"    {option.name}: {kind_of(option)} = ...,\n" for option in options)
    default = ' = "image"' if method.id == "image" else ""
    names = ", ".join(f'"{name}"' for name in names_of(method))
    told = "".join(f"        {option.name}: {option.about.help}\n" for option in options)
    return (
        f"@overload\ndef compress(\n    data: Any,\n    codec: Literal[{names}]{default},\n    *,\n"
        f"    verify: _Verify = ...,\n{given}) -> bytes:\n"
        f'    """{method.summary[0].upper()}{method.summary[1:]}.\n\n    Args:\n{told}    """\n\n'
    )


def names_of(method: Method) -> list[str]:
    """Its id and the names of its shipped models."""
    return list(dict.fromkeys((method.id, *method.models)))


def kind_of(option: OptionField) -> str:
    """The type of an option as it is written."""
    if option.about.choices is not None:
        choices = ", ".join(f'"{choice}"' for choice in option.about.choices)
        kind = f"Literal[{choices}]"
    elif option.kind is not None:
        kind = option.kind.__name__
    else:
        kind = {"metadata": "Mapping[str, Any]", "limits": "Limits"}.get(option.name, "Any")
    return kind if kind == "Any" or option.default is not None else f"{kind} | None"


def stub() -> str:
    """What the file holds."""
    methods = list(built_in_methods().values())
    names = "\n".join(f'    "{name}",' for name in obverse.__all__)
    ids = "\n".join(f'    "{name}",' for method in methods for name in names_of(method))
    head = HEAD.format(imports=imports(), names=names, ids=ids)
    return head + "\n" + "".join(map(overload, methods)).rstrip("\n") + "\n" + TAIL


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(stub())
