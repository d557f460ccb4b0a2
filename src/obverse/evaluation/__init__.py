"""Measure codecs on images: real files, side by side with classical codecs.

    paths -> evaluate -> rows -> write_report -> CSV tables, BD-rates, plot
    paths -> evaluate_lossless -> rows -> write_lossless_report -> CSV tables, bar plot

`peers` holds the classical codecs, `runner` measures, `report` averages, compares and draws; `lossless` does the
same for codecs that return every pixel.
"""

from obverse.evaluation.lossless import (
    LosslessRow,
    evaluate_lossless,
    get_lossless_peer,
    lossless_table,
    summarise_lossless,
    write_lossless_report,
)
from obverse.evaluation.peers import Peer, get_peer, list_peers
from obverse.evaluation.report import bd_rates, markdown_table, summarise, write_report
from obverse.evaluation.runner import Failure, ObverseCodec, Row, evaluate

__all__ = [
    "Failure",
    "LosslessRow",
    "ObverseCodec",
    "Peer",
    "Row",
    "bd_rates",
    "evaluate",
    "evaluate_lossless",
    "get_lossless_peer",
    "get_peer",
    "list_peers",
    "lossless_table",
    "markdown_table",
    "summarise",
    "summarise_lossless",
    "write_lossless_report",
    "write_report",
]
