"""Measure codecs on images: real files, side by side with classical codecs.

    paths -> evaluate -> rows -> write_report -> CSV tables, BD-rates, plot

`peers` holds the classical codecs, `runner` measures, `report` averages, compares and draws.
"""

from obverse.evaluation.peers import Peer, get_peer, list_peers
from obverse.evaluation.report import bd_rates, markdown_table, summarise, write_report
from obverse.evaluation.runner import Failure, ObverseCodec, Row, evaluate

__all__ = [
    "Failure",
    "ObverseCodec",
    "Peer",
    "Row",
    "bd_rates",
    "evaluate",
    "get_peer",
    "list_peers",
    "markdown_table",
    "summarise",
    "write_report",
]
