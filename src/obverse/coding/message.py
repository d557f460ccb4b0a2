"""The ANS message: a stack of symbols. Start here to read the coder.

`push` puts symbols on a message, `pop` takes them off in the mirrored order: what was pushed last comes
off first, and an array comes off as the array that went on.

    >>> import numpy as np
    >>> from obverse.coding import Message, TableFamily
    >>> tables = TableFamily.gaussian([1.0, 8.0])
    >>> index = np.array([0, 1, 1, 0])
    >>> message = Message()
    >>> message.push(np.array([0, -5, 9, 1]), tables, index)
    >>> data = message.to_bytes()
    >>> Message.from_bytes(data).pop(tables, index)
    array([ 0, -5,  9,  1], dtype=int32)

Popping is sampling: from a message of random bits (`Message.random`) `pop` draws symbols from their
tables, and pushing them again restores the very same bits. Bits-back coding needs nothing else.

How long arrays become fast. One state codes an array strictly one symbol after the other; four states
in turn code four at once. The extra three are opened with words of the message itself and closed by
pushing them onto the first, so they cost a few bits, not words. Arrays of millions are cut into parts
coded by one thread each. Both happen by the number of symbols alone, which the receiver knows.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding import logistic_mixture, rans
from obverse.coding.logistic_mixture import LogisticMixtures
from obverse.coding.tables import TableFamily
from obverse.errors import DamagedError, MessageEmptyError, TableError

LANES_FROM = 16_384  # arrays of at least this many symbols use four states
HEAD = 4_096  # of which so many go first on one state, to have words to open the others with
PARTS_FROM = 4_000_000  # arrays of at least this many symbols are cut into parts
PARTS = 4

Symbols = npt.NDArray[np.int32]
Index = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]


class Message:
    """A stack of symbols, held as the ANS state `state` and the words under it.

    Args:
        interleave: let long arrays use four states and threads. Switch it off, at both ends, for messages that are
            popped before they are pushed (bits-back): only the plain layout can be popped from arbitrary bits, and only
            with tables without escape, as not all bits are the code of an escape.
    """

    def __init__(self, interleave: bool = True):
        self.interleave = interleave
        self._state = int(rans.LOW)
        self._words = np.empty(64, np.uint32)
        self._count = 0

    # -- symbols ------------------------------------------------------------------------------------

    def push(self, symbols: npt.ArrayLike, tables: TableFamily, index: npt.ArrayLike = 0) -> None:
        """Push an array so that `pop` returns it.

        Args:
            symbols: integers of any shape, within int32.
            tables: the family that the symbols are coded with.
            index: which table each symbol uses, the same shape or one number for all.

        Raises:
            TableError: with the message unchanged, for a value that its table gives no probability (possible only
                without escape), an index out of range, or not integers.
        """
        values = _as_symbols(symbols)
        chosen = _as_index(index, values.shape, len(tables))
        values, chosen = values.ravel(), chosen.ravel()
        backup = (self._state, self._count)
        kept = self._words[: self._count].copy() if self.interleave and len(values) >= LANES_FROM else None
        try:
            if self.interleave and len(values) >= PARTS_FROM:
                self._push_parts(values, tables, chosen)
            elif self.interleave and len(values) >= LANES_FROM:
                self._push_long(values, tables, chosen)
            else:
                self._push_plain(values, tables, chosen, 0, len(values))
        except BaseException:
            self._state, self._count = backup
            if kept is not None:
                self._words[: len(kept)] = kept
            raise

    def pop(self, tables: TableFamily, index: npt.ArrayLike) -> Symbols:
        """Pop an array of the shape of `index`: the mirror of `push` with the same tables and index.

        After an error the message is not to be used further.

        Raises:
            MessageEmptyError: if the message does not hold that much.
            DamagedError: if what it holds was not written by `push`.
        """
        chosen = _as_index(index, None, len(tables))
        flat = chosen.ravel()
        symbols = np.empty(flat.size, np.int32)
        if self.interleave and flat.size >= PARTS_FROM:
            self._pop_parts(symbols, tables, flat)
        elif self.interleave and flat.size >= LANES_FROM:
            self._pop_long(symbols, tables, flat)
        else:
            self._pop_plain(symbols, tables, flat, 0, flat.size)
        return symbols.reshape(chosen.shape)

    def push_intervals(self, starts: npt.ArrayLike, lengths: npt.ArrayLike, precision: int) -> None:
        """Push symbols given as their intervals [start, start + length) out of 2**precision, on one state.

        For codecs whose model runs symbol by symbol: their decoder pops with the functions of `obverse.coding.rans`.

        Args:
            starts: integers.
            lengths: integers >= 1, of the shape of starts.
            precision: bits, 1 to 31.

        Raises:
            TableError: where shapes differ, or an interval is empty or not within 2**precision.
        """
        first = np.ascontiguousarray(starts, np.uint64).ravel()
        length = np.ascontiguousarray(lengths, np.uint64).ravel()
        if not 1 <= precision <= 31 or first.shape != length.shape:
            raise TableError("intervals need starts and lengths of one shape, and 1 to 31 bits of precision")
        if first.size and (
            int(length.min()) < 1
            or int(first.max()) >= 1 << precision
            or int((first + length).max()) > 1 << precision
        ):
            raise TableError(f"intervals must not be empty and must lie within 2**{precision}")
        self._reserve(first.size)
        x, n = logistic_mixture.push_intervals(
            np.uint64(self._state), self._words, self._count, first, length, np.uint64(precision)
        )
        self._state, self._count = int(x), int(n)

    def push_mixtures(self, symbols: npt.ArrayLike, mixtures: LogisticMixtures) -> None:
        """Push an array of integers, each under its own mixture, on one state.

        Raises:
            TableError: for symbols of another shape than the mixtures, or outside of their values.
        """
        self.push_intervals(*mixtures.intervals(symbols), logistic_mixture.PRECISION)

    def pop_mixtures(self, mixtures: LogisticMixtures) -> Symbols:
        """Pop what `push_mixtures` pushed; arbitrary bits can be popped too (bits-back).

        Raises:
            MessageEmptyError: if the message does not hold that much.
        """
        symbols = np.empty(math.prod(mixtures.shape), np.int32)
        x, n = logistic_mixture.pop_mixtures(
            np.uint64(self._state), self._words, self._count, symbols, mixtures.low, *mixtures.flat(),
            logistic_mixture.INVERSE_SCALE, logistic_mixture.SIGMOID,
        )  # fmt: skip
        if n < 0:
            raise _unreadable(rans.EMPTY)
        self._state, self._count = int(x), int(n)
        return symbols.reshape(mixtures.shape)

    def push_bits(self, value: int, bits: int) -> None:
        """Push an integer 0 <= value < 2**bits as raw bits, 0 <= bits <= 31."""
        if not 0 <= bits <= 31 or not 0 <= value < 1 << bits:
            raise TableError(f"{value} is not a number of {bits} bits, of which there may be 0 to 31")
        self._reserve(1)
        x, n = rans.push_bits(
            np.uint64(self._state), self._words, self._count, np.uint64(value), np.uint64(bits)
        )
        self._state, self._count = int(x), int(n)

    def pop_bits(self, bits: int) -> int:
        """Pop what `push_bits` pushed."""
        if not 0 <= bits <= 31:
            raise TableError(f"raw bits come 0 to 31 at a time, not {bits}")
        x, n, value = rans.pop_bits(np.uint64(self._state), self._words, self._count, np.uint64(bits))
        if n < 0:
            raise _unreadable(rans.EMPTY)
        self._state, self._count = int(x), int(n)
        return int(value)

    # -- size and bytes -----------------------------------------------------------------------------

    @property
    def bits(self) -> float:
        """Information on the message, in bits: 0 when it is empty, and a sum of code lengths otherwise."""
        return 32.0 * self._count + math.log2(self._state) - 32.0

    @property
    def empty(self) -> bool:
        """Whether everything that was pushed has been popped."""
        return self._count == 0 and self._state == int(rans.LOW)

    def to_bytes(self) -> bytes:
        """The words, then the state in 5 to 8 bytes, little-endian; nothing at all for an empty message."""
        if self.empty:
            return b""
        words = self._words[: self._count].astype("<u4").tobytes()
        return words + self._state.to_bytes((self._state.bit_length() + 7) // 8, "little")

    @classmethod
    def from_bytes(cls, data: bytes, interleave: bool = True) -> Message:
        """The message that `to_bytes` wrote.

        Raises:
            DamagedError: if no message has these bytes.
        """
        message = cls(interleave)
        if not data:
            return message
        tail = 5 + (len(data) - 5) % 4
        count = (len(data) - tail) // 4
        state = int.from_bytes(data[-tail:], "little") if count >= 0 else 0
        if (
            state < int(rans.LOW)
            or state.bit_length() <= 8 * (tail - 1)
            or (count == 0 and state == int(rans.LOW))
        ):
            raise DamagedError(f"{len(data)} bytes that are not an ANS message")
        message._put(np.frombuffer(data, "<u4", count))
        message._state = state
        return message

    @classmethod
    def random(cls, words: int, seed: int) -> Message:
        """A message of 32 * words random bits to start bits-back coding from; not interleaved."""
        rng = np.random.default_rng(seed)
        message = cls(interleave=False)
        message._put(rng.integers(0, 1 << 32, words, dtype=np.uint32))
        message._state = int(rng.integers(1 << 32, 1 << 64, dtype=np.uint64))
        return message

    def parts(self) -> tuple[int, npt.NDArray[np.uint32], int]:
        """The state, the words under it and how many of them count: for decoders that pop with `rans`."""
        return self._state, self._words, self._count

    def copy(self) -> Message:
        """An independent message with the same content."""
        other = Message(self.interleave)
        other._state, other._count, other._words = self._state, self._count, self._words.copy()
        return other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self._state == other._state
            and self._count == other._count
            and bool(np.array_equal(self._words[: self._count], other._words[: other._count]))
        )

    __hash__ = None  # type: ignore[assignment]  # messages change

    def __repr__(self) -> str:
        return f"Message({self.bits:.1f} bits)"

    # -- one state ----------------------------------------------------------------------------------

    def _reserve(self, more: int) -> None:
        needed = self._count + more + 64
        if len(self._words) < needed:
            words = np.empty(max(needed, len(self._words) * 3 // 2), np.uint32)
            words[: self._count] = self._words[: self._count]
            self._words = words

    def _put(self, words: npt.NDArray[np.uint32]) -> None:
        self._reserve(len(words))
        self._words[self._count : self._count + len(words)] = words
        self._count += len(words)

    def _push_plain(self, values: Symbols, tables: TableFamily, index: Index, first: int, end: int) -> None:
        while True:
            self._reserve((end - first) // 2)
            code, position, x, n = rans.push_one_state(
                np.uint64(self._state), self._words, self._count, values, index, first, end,
                tables.rows, tables.padded, np.uint64(tables.precision), tables.escape,
            )  # fmt: skip
            if code not in (rans.OK, rans.NO_ROOM):
                raise _impossible(values[position], index[position])
            self._state, self._count = int(x), int(n)
            if code == rans.OK:
                return
            end = position + 1  # out of room: what was pushed stays, go on with the rest

    def _pop_plain(self, symbols: Symbols, tables: TableFamily, index: Index, first: int, end: int) -> None:
        code, x, n = rans.pop_one_state(
            np.uint64(self._state), self._words, self._count, symbols, index, first, end,
            tables.rows, tables.padded, tables.first, np.uint64(tables.precision),
        )  # fmt: skip
        if code != rans.OK:
            raise _unreadable(code)
        self._state, self._count = int(x), int(n)

    # -- four states --------------------------------------------------------------------------------

    def _push_long(self, values: Symbols, tables: TableFamily, index: Index) -> None:
        end = (len(values) - HEAD) // rans.LANES * rans.LANES
        self._push_plain(values, tables, index, end, len(values))
        if self._count < rans.LANES - 1:  # next to no information so far: stay on one state
            self._push_plain(values, tables, index, 0, end)
            self.push_bits(0, 1)
            return
        states = np.empty(rans.LANES, np.uint64)
        states[0] = self._state
        for lane in range(1, rans.LANES):
            self._count -= 1
            states[lane] = rans.LOW | np.uint64(self._words[self._count])
        more = end // 2
        while True:
            self._reserve(more)
            trial = states.copy()
            code, position, n = rans.push_lanes(
                trial, self._words, self._count, values, index, end,
                tables.rows, tables.padded, np.uint64(tables.precision), tables.escape,
            )  # fmt: skip
            if code == rans.OK:
                break
            if code != rans.NO_ROOM:
                raise _impossible(values[position], index[position])
            more *= 2
        self._count, self._state = int(n), int(trial[0])
        for lane in range(1, rans.LANES):
            # the high half of each state, 1 to 2**32 - 1, costs 5 bits more than its logarithm
            low, high = int(trial[lane]) & 0xFFFFFFFF, int(trial[lane]) >> 32
            self._reserve(4)
            self._words[self._count] = low
            self._count += 1
            length = high.bit_length() - 1
            self.push_bits(high - (1 << length), length)
            self.push_bits(length, 5)
        self.push_bits(1, 1)

    def _pop_long(self, symbols: Symbols, tables: TableFamily, index: Index) -> None:
        end = (len(symbols) - HEAD) // rans.LANES * rans.LANES
        if self.pop_bits(1) == 0:
            self._pop_plain(symbols, tables, index, 0, end)
        else:
            states = np.empty(rans.LANES, np.uint64)
            for lane in range(rans.LANES - 1, 0, -1):
                length = self.pop_bits(5)
                high = (1 << length) + self.pop_bits(length)
                if self._count == 0:
                    raise _unreadable(rans.EMPTY)
                self._count -= 1
                states[lane] = high << 32 | int(self._words[self._count])
            states[0] = self._state
            code, n = rans.pop_lanes(
                states, self._words, self._count, symbols, index, end,
                tables.rows, tables.padded, tables.first, np.uint64(tables.precision),
            )  # fmt: skip
            if code != rans.OK:
                raise _unreadable(code)
            self._count, self._state = int(n), int(states[0])
            if any(int(s) >> 32 != 1 for s in states[1:]):
                raise _unreadable(rans.BAD_DATA)
            self._reserve(rans.LANES)
            for lane in range(rans.LANES - 1, 0, -1):
                self._words[self._count] = int(states[lane]) & 0xFFFFFFFF
                self._count += 1
        self._pop_plain(symbols, tables, index, end, len(symbols))

    # -- threads ------------------------------------------------------------------------------------

    def _push_parts(self, values: Symbols, tables: TableFamily, index: Index) -> None:
        cuts = _cuts(len(values))

        def code(part: int) -> bytes:
            message = Message()
            here = slice(cuts[part], cuts[part + 1])
            message._push_long(values[here], tables, index[here])
            return message.to_bytes()

        with ThreadPoolExecutor(PARTS) as pool:
            parts = list(pool.map(code, range(PARTS)))
        for data in parts[::-1]:
            padding = -len(data) % 4
            words = np.frombuffer(data + bytes(padding), "<u4")
            self._put(words)
            self.push_bits(padding, 2)
            self.push_bits(len(words), 31)

    def _pop_parts(self, symbols: Symbols, tables: TableFamily, index: Index) -> None:
        parts = []
        for _ in range(PARTS):
            count = self.pop_bits(31)
            padding = self.pop_bits(2)
            if count > self._count:
                raise _unreadable(rans.EMPTY)
            self._count -= count
            data = self._words[self._count : self._count + count].astype("<u4").tobytes()
            if any(data[len(data) - padding :]):
                raise _unreadable(rans.BAD_DATA)
            parts.append(data[: len(data) - padding])
        cuts = _cuts(len(symbols))

        def code(part: int) -> None:
            message = Message.from_bytes(parts[part])
            here = slice(cuts[part], cuts[part + 1])
            message._pop_long(symbols[here], tables, index[here])
            if not message.empty:
                raise DamagedError("a part of the message holds more than was pushed")

        with ThreadPoolExecutor(PARTS) as pool:
            list(pool.map(code, range(PARTS)))


def _cuts(count: int) -> list[int]:
    return [count * part // PARTS for part in range(PARTS + 1)]


def _as_symbols(symbols: npt.ArrayLike) -> Symbols:
    array: npt.NDArray[Any] = np.asarray(symbols)
    if array.size == 0:
        return np.empty(array.shape, np.int32)
    if array.dtype.kind not in "iub":
        raise TableError(f"symbols must be integers, not {array.dtype}; round and convert them first")
    if array.dtype != np.int32 and (int(array.min()) < -(2**31) or int(array.max()) >= 2**31):
        raise TableError("symbols must lie within int32")
    return _plain_array(array, np.int32)


def _as_index(index: npt.ArrayLike, shape: tuple[int, ...] | None, tables: int) -> Index:
    """uint8 when that holds every table, else uint32: two compiled versions of each loop, not many."""
    array: npt.NDArray[Any] = np.asarray(index)
    if shape is not None:
        if array.ndim == 0:
            array = np.broadcast_to(array, shape)
        if array.shape != shape:
            raise TableError(f"index has shape {array.shape}, the symbols {shape}")
    kind = np.uint8 if tables <= 256 else np.uint32
    if array.size == 0:
        return np.empty(array.shape, kind)
    if array.dtype.kind not in "iub":
        raise TableError(f"a table index must be integers, not {array.dtype}")
    if int(array.min()) < 0 or int(array.max()) >= tables:
        raise TableError(f"table index outside of 0 to {tables - 1}")
    return _plain_array(array, kind)


def _plain_array(array: npt.NDArray[Any], kind: type[np.generic]) -> npt.NDArray[Any]:
    """Contiguous, aligned and writable, so that Numba sees one type of array and compiles once."""
    return np.require(array.astype(kind, copy=False), requirements=["C", "A", "W"])


def _impossible(symbol: np.int32, table: np.integer[Any]) -> TableError:
    return TableError(
        f"the value {symbol} has no probability in table {table} (a family with escape would code it)"
    )


def _unreadable(code: int) -> MessageEmptyError | DamagedError:
    if code == rans.EMPTY:
        return MessageEmptyError("more was popped from the message than was pushed")
    return DamagedError("the message is not what was pushed, or the tables are not those it was pushed with")
