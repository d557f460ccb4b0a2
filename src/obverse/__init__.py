"""Obverse: learned data compression as real codecs.

    >>> import numpy as np, obverse
    >>> photo = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    >>> data = obverse.compress(photo, quality=60)
    >>> obverse.decompress(data).shape
    (64, 64, 3)

Importing this package imports neither torch nor numba; opening a codec does.
"""

from obverse.codec import Codec, compress, decompress
from obverse.codec import open_parts as open
from obverse.container import Container, Limits
from obverse.errors import ObverseError
from obverse.fields import Options
from obverse.method import Method
from obverse.registry import list_codecs, open_codec
from obverse.threads import one_thread_after_fork

one_thread_after_fork()

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "Container",
    "Limits",
    "Method",
    "ObverseError",
    "Options",
    "__version__",
    "compress",
    "decompress",
    "list_codecs",
    "open",
    "open_codec",
]
