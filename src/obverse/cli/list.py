"""`obverse list`."""

from __future__ import annotations

from dataclasses import asdict

import obverse
from obverse.cli.console import out, printable, to_json
from obverse.cli.options import Json
from obverse.registry import shipped_models
from obverse.zoo import own_models


def list_(*, json: Json = False) -> int:
    """List the codecs that can be used here, and the models that they code with.

    For example: `obverse list --json`
    """
    entries, own, shipped = obverse.list_codecs(), own_models(), shipped_models()
    if json:
        models = [{"model": name, "codec": codec} for name, codec in (shipped | own).items()]
        out(to_json([asdict(entry) for entry in entries] + models))
    else:
        for entry in entries:
            out(f"{entry.id:18} {printable(entry.summary)} ({entry.package})")
        more = {name: codec for name, codec in shipped.items() if name != codec}
        for name, codec in more.items():
            out(f"{name:18} a model of {codec}")
        for name, codec in own.items():
            out(f"{printable(name):18} a model of yours for codec {printable(codec)}")
        count = len(more | own)
        out(
            f"{len(entries)} codecs, {count} more models: obverse compress --codec NAME takes any of these names"
        )
    return 0
