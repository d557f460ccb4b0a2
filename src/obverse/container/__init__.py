"""bits <-> file: the `.obv` container (docs/format.md describes it byte by byte).

    Container -> write -> bytes -> write_atomically -> file
    file -> read -> Container        everything, all checksums checked
    file -> read_header -> Header    the first bytes only
    file -> ItemReader -> reader[i]  one item of a stream, without the rest
    file -> describe -> dict         what `obverse info` prints

The container knows nothing about codecs: to it a section is a name and some bytes.
"""

from obverse.container.describe import describe
from obverse.container.files import write_atomically
from obverse.container.format import Container, read, read_header, write
from obverse.container.header import MAGIC, VERSION, Header
from obverse.container.items import ItemReader, Items
from obverse.container.limits import Limits

__all__ = [
    "MAGIC",
    "VERSION",
    "Container",
    "Header",
    "ItemReader",
    "Items",
    "Limits",
    "describe",
    "read",
    "read_header",
    "write",
    "write_atomically",
]
