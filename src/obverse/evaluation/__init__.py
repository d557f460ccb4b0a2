"""Measure codecs on images: real files, side by side with classical codecs.

    paths -> evaluate -> rows -> write_report -> CSV tables, BD-rates, plot
    paths -> evaluate_lossless -> rows -> write_lossless_report -> CSV tables, bar plot
    items with labels -> evaluate_task -> rows -> write_task_report -> CSV table, accuracy against bytes

`peers` holds the classical codecs, `runner` measures, `report` averages, compares and draws; `lossless` does the
same for codecs that return every pixel, `task` for what a classifier loses.
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
from obverse.evaluation.task import TaskRow, evaluate_task
from obverse.evaluation.task_codecs import FileCodec, SetCodec, task_codec, task_peer
from obverse.evaluation.task_report import task_table, write_task_report

__all__ = [
    "Failure",
    "FileCodec",
    "LosslessRow",
    "ObverseCodec",
    "Peer",
    "Row",
    "SetCodec",
    "TaskRow",
    "bd_rates",
    "evaluate",
    "evaluate_lossless",
    "evaluate_task",
    "get_lossless_peer",
    "get_peer",
    "list_peers",
    "lossless_table",
    "markdown_table",
    "summarise",
    "summarise_lossless",
    "task_codec",
    "task_peer",
    "task_table",
    "write_lossless_report",
    "write_report",
    "write_task_report",
]
