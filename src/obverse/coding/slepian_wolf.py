"""Slepian-Wolf coding: indices u sent at a rate near H(U|Y) by a sender that never sees y.

    sender     u ──► bit planes ──► the first bits of each plane's code, checksums ──► bytes
    receiver   q(u|y), bytes ──► plane 0 ──► plane 1 given plane 0 ──► ... ──► u, or an error that names the block

Each block of 65,536 indices is coded by itself. Plane b holds bit b of every index; its log-odds at the receiver
come from q(u|y) restricted to the u that agree with the planes below, so that the planes' conditional entropies
add up to H(U|Y) (multistage decoding; Imai and Hirakawa 1977). A plane about which y says next to nothing goes
raw. Of the others so many bits of a code are sent (`obverse.coding.planes`) as were measured to be enough when the code
was designed (`obverse.coding.plane_design`).

    >>> import numpy as np
    >>> from obverse.coding.slepian_wolf import SlepianWolfCode
    >>> rng = np.random.default_rng(1)
    >>> u = rng.integers(0, 2, 40_000)
    >>> noisy = u ^ (rng.random(u.size) < 0.05)  # what the receiver has: u with 5 % of the bits flipped
    >>> log_q = np.log(np.where(noisy[:, None] == np.arange(2), 0.95, 0.05)).astype(np.float32)
    >>> code = SlepianWolfCode.design(u, log_q, block=4096)
    >>> data = code.encode(u)  # made without `noisy`
    >>> bool((code.decode(data, u.size, log_q) == u).all()), 8 * len(data) / u.size < 0.45  # H(U|Y) = 0.286
    (True, True)

The sender cannot know whether decoding will succeed. A 32-bit checksum for each block makes a failure an error,
never wrong indices; a receiver that can ask is sent more bits of the same code (`more_bits`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding.ldpc import Design
from obverse.coding.plane_design import NEVER, RAW_FROM, Progress, design_plane
from obverse.coding.planes import (
    SMALLEST,
    Bits,
    Indices,
    Odds,
    Plane,
    Rows,
    checksum,
    conditional_bits,
    plane_odds,
    plane_of,
)
from obverse.errors import CodingError, DamagedError, InputError, UnrecoverableBlockError

BLOCK = 65_536
MOST_LISTS = 4_096
LARGEST_BLOCK, LARGEST_ALPHABET = 1 << 20, 1 << 16
CHECK_BITS = 16  # a plane's own checksum, by which it is known when it is found

SoftInformation = Rows | Odds


@dataclass(frozen=True)
class SlepianWolfCode:
    """A code designed for a source; both sides hold the same one. Indices are 0 <= u < alphabet.

    Attributes:
        alphabet: number of possible indices.
        planes: the lowest first.
        block: indices a block, a power of two of at least `SMALLEST`.
    """

    alphabet: int
    planes: tuple[Plane, ...]
    block: int = BLOCK

    # -- sizes --------------------------------------------------------------------------------------

    def blocks(self, n: int) -> Iterator[tuple[int, int]]:
        """(first, last) of each block of n indices: whole blocks, then powers of two, then a raw rest."""
        first, size = 0, self.block
        while n - first >= SMALLEST:
            while size > n - first:
                size //= 2
            yield first, first + size
            first += size
        if first < n:
            yield first, n

    def block_bytes(self, n: int) -> int:
        """Bytes of a block of n indices."""
        bits = 32
        for plane in self.planes:
            count = plane.count(n)
            bits += count + (CHECK_BITS if count < n else 0)
        return -(-bits // 8)

    def total_bytes(self, n: int) -> int:
        """Bytes that `encode` makes of n indices: known to both sides from n alone."""
        full, rest = divmod(n, self.block)
        tail = sum(self.block_bytes(last - first) for first, last in self.blocks(rest))
        return full * self.block_bytes(self.block) + tail

    # -- coding -------------------------------------------------------------------------------------

    def encode(self, u: npt.ArrayLike) -> bytes:
        """(n,) integers -> `total_bytes(n)` bytes.

        Raises:
            CodingError: for what are not indices.
        """
        indices = self._checked(u)
        return b"".join(self._encode_block(indices[first:last]) for first, last in self.blocks(indices.size))

    def _encode_block(self, u: Indices) -> bytes:
        parts = []
        for b, plane in enumerate(self.planes):
            x = plane_of(u, b)
            count = plane.count(x.size)
            if count == x.size:
                parts.append(x)
            else:
                parts += [plane.bits(x, 0, count), _bits_of(checksum(x), CHECK_BITS)]
        parts.append(_bits_of(_block_checksum(u), 32))
        return np.packbits(np.concatenate(parts)).tobytes()

    def decode(
        self, data: bytes, n: int, log_q: SoftInformation, extra: Mapping[int, bytes] | None = None
    ) -> Indices:
        """The n indices that `encode` was given.

        Args:
            data: what `encode` made.
            n: number of indices.
            log_q: (n, alphabet) ln q(u|y), up to a constant in each row, or a function of (first, last) that returns
                such rows.
            extra: what `more_bits` made for blocks, by their number.

        Raises:
            DamagedError: if the data has the wrong length.
            UnrecoverableBlockError: if a block cannot be found with this side information.
        """
        if len(data) != self.total_bytes(n):
            raise DamagedError(f"{len(data)} bytes of Slepian-Wolf code where {self.total_bytes(n)} belong")
        rows = self._rows(log_q, n)
        u = np.empty(n, np.int64)
        place = 0
        for number, (first, last) in enumerate(self.blocks(n)):
            size = self.block_bytes(last - first)
            u[first:last] = self.decode_block(
                data[place : place + size],
                last - first,
                lambda start, end, first=first: rows(first + start, first + end),  # type: ignore[misc]
                number,
                (extra or {}).get(number, b""),
            )
            place += size
        return u

    def decode_block(self, data: bytes, n: int, rows: Rows, number: int = 0, more: bytes = b"") -> Indices:
        """One block of n indices from its bytes.

        Args:
            data: the bytes of the block.
            n: number of its indices.
            rows: as `log_q` of `decode`, counted within the block.
            number: of the block, for errors.
            more: what `more_bits` made for the block.

        Raises:
            UnrecoverableBlockError: if the block cannot be found with this side information.
        """
        stream, further = _BitReader(data), _BitReader(more[1:])
        u = np.zeros(n, np.int64)
        for b, plane in enumerate(self.planes):
            count = plane.count(n)
            if count == n:
                u |= stream.take(n).astype(np.int64) << b
                continue
            sent = stream.take(count)
            check = stream.number(CHECK_BITS)
            if more:
                sent = np.concatenate([sent, further.take(min(more[0] * _step(n), n - count))])
            x = plane.find(plane_odds(rows, u, b), sent, check)
            if x is None:
                raise _unrecoverable(number)
            u |= x.astype(np.int64) << b
        if _block_checksum(u) != stream.number(32) or (u >= self.alphabet).any():
            raise _unrecoverable(number)
        return u

    def more_bits(self, u: npt.ArrayLike, block: int, steps: int = 1) -> bytes:
        """For a receiver that failed at a block: the next `steps` per cent of each of its coded planes.

        Pass the bytes to `decode` as extra={block: bytes}; if that fails as well, ask for more steps, which contain the
        earlier ones.

        Args:
            u: all indices, as for `encode`.
            block: its number.
            steps: 1 to 100.

        Raises:
            CodingError: for what are not indices, and where there is no such block or number of steps.
        """
        indices = self._checked(u)
        places = list(self.blocks(indices.size))
        if not 0 <= block < len(places) or not 1 <= steps <= 100:
            raise CodingError(
                f"there are blocks 0 to {len(places) - 1} and 1 to 100 steps, not {block}, {steps}"
            )
        first, last = places[block]
        n = last - first
        parts = [np.empty(0, np.uint8)]
        for b, plane in enumerate(self.planes):
            count = plane.count(n)
            if count < n:
                end = min(n, count + steps * _step(n))
                parts.append(plane.bits(plane_of(indices[first:last], b), count, end))
        return bytes([steps]) + np.packbits(np.concatenate(parts)).tobytes()

    # -- design and storage -------------------------------------------------------------------------

    @classmethod
    def design(
        cls,
        u: npt.ArrayLike,
        log_q: SoftInformation,
        alphabet: int | None = None,
        failure: float = 0.005,
        block: int = BLOCK,
        lists: int = 32,
        seed: int = 0,
        progress: Progress = lambda share: None,
    ) -> SlepianWolfCode:
        """The code for a source of which samples are given.

        Args:
            u: (n,) indices, some ten thousand at least.
            log_q: as for `decode`.
            alphabet: needed if log_q is a function.
            failure: how often at most a block may fail, planes taken together, as estimated from the bits that sample
                blocks need if `lists` paths are followed.
            block: indices a block.
            lists: paths followed (decoding follows up to 512; designing with more takes longer and makes shorter
                files).
            seed: of the choice of sample blocks.

        Raises:
            CodingError: for a size of blocks or a number of paths that cannot be, too few indices, or any outside of
                the alphabet.
        """
        if not SMALLEST <= block <= LARGEST_BLOCK or block & (block - 1):
            raise CodingError(
                f"a block is a power of two of {SMALLEST} to {LARGEST_BLOCK} indices, not {block}"
            )
        if not 1 <= lists <= MOST_LISTS:
            raise CodingError(f"1 to {MOST_LISTS} paths can be followed when a code is designed, not {lists}")
        indices = np.asarray(u, np.int64).ravel()
        size = alphabet if callable(log_q) else log_q.shape[1]
        if size is None or size < 2 or indices.size < SMALLEST or indices.min() < 0 or indices.max() >= size:
            raise CodingError(
                f"a code is designed from at least {SMALLEST} indices of an alphabet of 2 or more"
            )
        draft = cls(size, (), block)
        rows = draft._rows(log_q, indices.size)
        entropies = conditional_bits(indices, rows, size)
        uncertain = sum(1e-3 < entropy < 0.98 for entropy in entropies)  # the others hardly ever fail
        rng = np.random.default_rng(seed)
        # nearly all of the time goes to the planes that are coded, to each about as much
        coded = [b for b, entropy in enumerate(entropies) if NEVER <= entropy <= RAW_FROM - 0.005]
        planes = []
        for b, entropy in enumerate(entropies):
            before = sum(c < b for c in coded)

            def tell(share: float, before: int = before) -> None:
                progress((before + share) / max(1, len(coded)))

            planes.append(
                design_plane(indices, rows, b, entropy, block, failure / max(1, uncertain), lists, rng, tell)
            )
        return cls(size, tuple(planes), block)

    def state(self) -> dict[str, Any]:
        """Plain values from which `from_state` makes the same code."""
        return {"alphabet": self.alphabet, "block": self.block, "planes": [asdict(p) for p in self.planes]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SlepianWolfCode:
        """The code that `state` came from; lists in place of tuples, as JSON has them, will do.

        Raises:
            InputError: for what is not the state of a code: models come from others, too.
        """
        try:
            planes = []
            for plane in state["planes"]:
                graph = plane["graph"]
                if graph is not None:
                    columns = tuple((index(degree), index(count)) for degree, count in graph["columns"])
                    graph = Design(columns, index(graph["layers"]))
                counts = tuple(map(index, plane["counts"]))
                planes.append(Plane(float(plane["entropy"]), counts, index(plane["log2_mean"]), graph))
            code = cls(index(state["alphabet"]), tuple(planes), index(state["block"]))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"the model's Slepian-Wolf code is damaged: {error!r}") from None
        if not code._holds():
            raise InputError("the model's Slepian-Wolf code is damaged: its numbers do not agree")
        return code

    def _holds(self) -> bool:
        """Whether the numbers are those of a code that can run: kernels rely on it."""
        if not (
            2 <= self.alphabet <= LARGEST_ALPHABET
            and SMALLEST <= self.block <= LARGEST_BLOCK
            and self.block & (self.block - 1) == 0
            and len(self.planes) == (self.alphabet - 1).bit_length()
        ):
            return False
        sizes = [SMALLEST << k for k in range((self.block // SMALLEST).bit_length())]
        return all(plane.holds(sizes) for plane in self.planes)

    def _checked(self, u: npt.ArrayLike) -> Indices:
        indices: npt.NDArray[Any] = np.asarray(u)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise CodingError("Slepian-Wolf coding takes a list of integers")
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < self.alphabet:
            raise CodingError(f"indices must be 0 to {self.alphabet - 1}")
        return indices.astype(np.int64)

    def _rows(self, log_q: SoftInformation, n: int) -> Rows:
        if callable(log_q):
            return log_q
        if log_q.shape != (n, self.alphabet):
            raise CodingError(f"log_q has shape {log_q.shape}, not {(n, self.alphabet)}")
        table = log_q
        return lambda first, last: table[first:last]


def _step(n: int) -> int:
    """Bits of a plane in one step of `more_bits`."""
    return -(-n // 100)


# -- bits --------------------------------------------------------------------------------------------


def _block_checksum(u: Indices) -> int:
    return zlib.crc32(u.astype("<u4").tobytes())


def _bits_of(value: int, count: int) -> Bits:
    return np.array([(value >> (count - 1 - i)) & 1 for i in range(count)], np.uint8)


class _BitReader:
    def __init__(self, data: bytes):
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self._place = 0

    def take(self, count: int) -> Bits:
        if self._place + count > self._bits.size:
            raise DamagedError("Slepian-Wolf code ends too early")
        self._place += count
        return self._bits[self._place - count : self._place]

    def number(self, count: int) -> int:
        value = 0
        for bit in self.take(count).tolist():
            value = value << 1 | bit
        return value


def _unrecoverable(block: int) -> UnrecoverableBlockError:
    return UnrecoverableBlockError(
        f"block {block} cannot be recovered: the side information is not the right one or worse than what the "
        "model was trained with; give the right one, or have the sender send more bits of this block",
        block,
    )
