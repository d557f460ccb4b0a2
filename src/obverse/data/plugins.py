"""Formats of image files that a package beside Pillow reads and writes: used where it is installed, else named."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Plugin:
    """One of them.

    Attributes:
        kind: what the format is called.
        front: how its files begin, as a pattern.
        suffixes: how their names end.
        package: what is installed.
        module: what is imported.
        register: the function of the module that makes Pillow know it; None where the import does.
    """

    kind: str
    front: bytes
    suffixes: frozenset[str]
    package: str
    module: str
    register: str | None = None

    def use(self) -> bool:
        """Make Pillow know it; False where it is not installed."""
        try:
            module = importlib.import_module(self.module)
        except ImportError:
            return False
        if self.register is not None:
            getattr(module, self.register)()
        return True


_PLUGINS = (
    Plugin(
        "HEIC",
        rb"(?s)....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
        frozenset({".heic", ".heif", ".heics", ".heifs", ".hif"}),
        "pillow-heif",
        "pillow_heif",
        "register_heif_opener",
    ),
    Plugin("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL ", frozenset({".jxl"}), "pillow-jxl-plugin", "pillow_jxl"),
)


def plugin_of_data(data: bytes) -> Plugin | None:
    """That which reads a file of these bytes."""
    return next((plugin for plugin in _PLUGINS if re.match(plugin.front, data)), None)


def plugin_of_suffix(suffix: str) -> Plugin | None:
    """That which writes files whose names end so, in lower case."""
    return next((plugin for plugin in _PLUGINS if suffix in plugin.suffixes), None)
