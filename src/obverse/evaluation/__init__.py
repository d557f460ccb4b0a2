"""Measure codecs on real files, side by side with classical codecs.

coders.py   what is measured: codecs of Obverse (`ours`, `task_coder`) and others (`classical`), in one shape
engine.py   an item through a file: bytes, CPU time, what came back
rates.py    images: PSNR and MS-SSIM at a rate ──► report.py: CSV tables, BD-rates, a plot
lossless.py images: whether every sample came back ──► CSV tables, a plot
task.py     items with labels: what a classifier loses ──► task_report.py: a CSV table, a plot
"""

from obverse.evaluation.coders import Coder, all_ours, classical, ours
from obverse.evaluation.engine import Coded, Engine, Failure
from obverse.evaluation.lossless import (
    LosslessRow,
    evaluate_lossless,
    lossless_table,
    summarise_lossless,
    write_lossless_report,
)
from obverse.evaluation.rates import Row, evaluate
from obverse.evaluation.report import bd_rates, markdown_table, summarise, write_report
from obverse.evaluation.task import Scores, TaskRow, evaluate_task, task_coder
from obverse.evaluation.task_report import task_table, write_task_report

__all__ = [
    "Coded",
    "Coder",
    "Engine",
    "Failure",
    "LosslessRow",
    "Row",
    "Scores",
    "TaskRow",
    "all_ours",
    "bd_rates",
    "classical",
    "evaluate",
    "evaluate_lossless",
    "evaluate_task",
    "lossless_table",
    "markdown_table",
    "ours",
    "summarise",
    "summarise_lossless",
    "task_coder",
    "task_table",
    "write_lossless_report",
    "write_report",
    "write_task_report",
]
