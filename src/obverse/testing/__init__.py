"""What every codec must pass: for the codecs of Obverse and for those of other packages.

    from obverse.testing import Example, check_codec

    check_codec(Example("tally", "ramp", data=lambda: np.arange(99, dtype=np.uint8)))

An example is data that a codec codes, with its options, and the model and side information where it needs them.
`check_codec` runs all of CHECKS on it, each of which is also a function of its own, so that a test can be made of
each pair (docs/how-to/add-a-codec.md). `golden.py` keeps files of released formats and models for ever.
"""

from __future__ import annotations

from obverse.testing.checks import CHECKS
from obverse.testing.example import ConformanceError, Example, Opened
from obverse.testing.golden import check_golden, make_golden
from obverse.testing.machines import check_other_processes

__all__ = [
    "CHECKS",
    "ConformanceError",
    "Example",
    "Opened",
    "check_codec",
    "check_golden",
    "check_other_processes",
    "make_golden",
]


def check_codec(*examples: Example) -> None:
    """Run all checks on these examples.

    Args:
        *examples: of any codecs; one is enough for a codec of one kind of data.

    Raises:
        ConformanceError: for the first promise that is not kept; it says which, and of which example.
    """
    for example in examples:
        opened = Opened(example)
        for check in CHECKS:
            check(opened)
    check_other_processes(examples)
