"""Every error that a user of Obverse can meet, as one tree.

    ObverseError                     exit code 1
    ├── InputError                   3   what was given to compress cannot be read or used
    │   ├── UnsupportedInputError    4   readable, but of a kind this codec does not code
    │   ├── SideInformationError     5   side information missing, unwanted or not the right one
    │   ├── ItemIndexError           6   an item that is not in the file; an IndexError as well
    │   ├── OptionError              7   an option that the codec does not have, or a value that it cannot have
    │   └── CodecNameError           8   no codec or model of this name is here
    ├── ModelError                   9   a trained model is missing, damaged, or of another codec
    ├── DecodeError                  10  a file that cannot be decoded
    │   ├── NotObverseError          11  not an .obv file at all
    │   ├── NewerVersionError        12  written by a newer format version
    │   ├── TruncatedError           13  ends too early
    │   ├── DamagedError             14  a checksum or a field is wrong
    │   ├── UnknownCodecError        15  written by a codec that is not installed
    │   ├── WrongModelError          16  written with other model weights
    │   └── UnrecoverableBlockError  18  a block cannot be found with this side information
    ├── LimitError                   17  larger than the limits set for reading or coding
    ├── CodingError                  20  the entropy coder was used wrongly
    │   ├── MessageEmptyError        21  more was popped than was pushed
    │   └── TableError               22  not a valid probability table, symbol or index
    ├── RateTargetError              23  no quality reaches the bytes or bpp asked for
    ├── VerificationError            24  what was written does not decode to what was given
    ├── OutputError                  30  the result cannot be written (permission, disk full, kind of file)
    │   └── OutputExistsError        31  it would overwrite a file
    ├── TrainingError                40  a training run cannot start or go on
    │   └── ExportError              41  a network cannot be proven exact, or a model cannot be exported
    ├── MissingExtraError            50  an optional package is not installed
    └── DeclarationError             51  a package declares a codec wrongly

A message says what was wrong and what to do. `exit_code` is what the command line ends with (2 is a
wrong use of the command line itself, a value that an option can have for no file among it, so that 7 is left for
what does not go with this file; 130 an interruption, 141 a reader of the output that went away, 143 SIGTERM).
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "CodecNameError",
    "CodingError",
    "DamagedError",
    "DeclarationError",
    "DecodeError",
    "ExportError",
    "InputError",
    "ItemIndexError",
    "LimitError",
    "MessageEmptyError",
    "MissingExtraError",
    "ModelError",
    "NewerVersionError",
    "NotObverseError",
    "ObverseError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "RateTargetError",
    "SideInformationError",
    "TableError",
    "TrainingError",
    "TruncatedError",
    "UnknownCodecError",
    "UnrecoverableBlockError",
    "UnsupportedInputError",
    "VerificationError",
    "WrongModelError",
    "exit_codes",
]


class ObverseError(Exception):
    """Base of all errors raised on purpose by Obverse."""

    exit_code = 1


class InputError(ObverseError):
    """What was given to compress cannot be read or used."""

    exit_code = 3


class UnsupportedInputError(InputError):
    """Readable input of a kind that the codec does not code (dtype, mode, shape)."""

    exit_code = 4


class SideInformationError(InputError):
    """Side information is missing, unwanted, or not the one the file was written for."""

    exit_code = 5


class ItemIndexError(InputError, IndexError):
    """No item of a file has this number: out of range, or no whole number."""

    exit_code = 6


class OptionError(InputError):
    """An option that the codec does not have, or a value that the option cannot have."""

    exit_code = 7


class CodecNameError(InputError):
    """No codec, and no trained model, of this name is installed."""

    exit_code = 8


class ModelError(ObverseError):
    """A trained model is missing, damaged, or of another codec."""

    exit_code = 9


class DecodeError(ObverseError):
    """A file that cannot be decoded."""

    exit_code = 10


class NotObverseError(DecodeError):
    """Not an .obv file."""

    exit_code = 11


class NewerVersionError(DecodeError):
    """Written by a format version newer than this reader."""

    exit_code = 12


class TruncatedError(DecodeError):
    """The file ends before what it announces."""

    exit_code = 13


class DamagedError(DecodeError):
    """A checksum, a length or a field does not hold."""

    exit_code = 14


class UnknownCodecError(DecodeError):
    """The file, or the caller, written by a codec that is not installed."""

    exit_code = 15


class WrongModelError(DecodeError):
    """The file was written with other model weights than those installed."""

    exit_code = 16


class UnrecoverableBlockError(DecodeError):
    """A block of Slepian-Wolf code does not decode with this side information: the wrong one, or too noisy.

    Attributes:
        block: the number of the block, from 0.
    """

    exit_code = 18

    def __init__(self, message: str, block: int):
        super().__init__(message)
        self.block = block


class LimitError(ObverseError):
    """Larger than the limits set for reading or coding; each limit has an override."""

    exit_code = 17


class CodingError(ObverseError):
    """The entropy coder was used wrongly, or its message is not what was pushed."""

    exit_code = 20


class MessageEmptyError(CodingError):
    """More was popped from a message than was pushed."""

    exit_code = 21


class TableError(CodingError):
    """Not a valid probability table, or a symbol or index outside of it."""

    exit_code = 22


class RateTargetError(ObverseError):
    """No quality reaches the bytes or bits per pixel asked for."""

    exit_code = 23


class VerificationError(ObverseError):
    """What was written does not decode to what was given, on the machine that wrote it."""

    exit_code = 24


class OutputError(ObverseError):
    """The result cannot be written: to this place, or as this kind of file."""

    exit_code = 30


class OutputExistsError(OutputError):
    """The result would overwrite a file."""

    exit_code = 31


class TrainingError(ObverseError):
    """A training run cannot start or go on."""

    exit_code = 40


class ExportError(TrainingError):
    """A network cannot be proven exact, or a model cannot be exported."""

    exit_code = 41


class MissingExtraError(ObverseError):
    """An optional package is not installed."""

    exit_code = 50


class DeclarationError(ObverseError):
    """A package declares a codec wrongly: what it names is missing, or two packages share an id."""

    exit_code = 51


def exit_codes() -> str:
    """A sentence for the help of the command line: each branch of the tree with its exit codes."""
    parts = ["0 done", "2 wrong command line"]
    codes = {
        branch: {kind.exit_code for kind in _with_subclasses(branch)}
        for branch in ObverseError.__subclasses__()
    }
    for branch, own in codes.items():
        others = {code for other, of_other in codes.items() if other is not branch for code in of_other}
        summary = (branch.__doc__ or "").split(".")[0].split(";")[0].split("\n")[0]
        parts.append(f"{_ranges(sorted(own), others)} {summary[:1].lower()}{summary[1:]}")
    parts += ["130 interrupted", "143 terminated", "1 all else"]
    return f"Exit codes: {'; '.join(parts)}. Of several files, that of the first failure."


def _with_subclasses(kind: type[ObverseError]) -> Iterator[type[ObverseError]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _with_subclasses(derived)


def _ranges(codes: list[int], others: set[int]) -> str:
    """10, 11, 12, 14 as "10 to 14", if 13 is not one of the others."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and not others & set(range(runs[-1][-1], code)):
            runs[-1].append(code)
        else:
            runs.append([code])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
