"""Slepian-Wolf coding: indices u sent at a rate near H(U|Y) by a sender that never sees y.

    sender     u ──► bit planes ──► polar transform ──► the unreliable bits, checksums ──► bytes
    receiver   q(u|y), bytes ──► plane 0 ──► plane 1 given plane 0 ──► ... ──► u, or an error that names the block

Each block of 65,536 indices is coded by itself. Plane b holds bit b of every index; its log-odds at the receiver
come from q(u|y) restricted to the u that agree with the planes below, so that the planes' conditional entropies
add up to H(U|Y) (multistage decoding; Imai and Hirakawa 1977). A plane about which y says next to nothing goes
raw. The others are polar coded (`obverse.coding.polar`): n (H + gap) bits, where the gap is measured when the
code is designed, such that decoding fails no more often than asked.

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

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from obverse.coding import polar
from obverse.errors import CodingError, DamagedError, UnrecoverableBlockError

BLOCK = 65_536
SMALLEST = 1_024  # indices of a block that is coded; shorter rests go raw
RAW_FROM = 0.985  # planes of which more than this part would be sent go raw
ALL_BUT_RAW = RAW_FROM - 0.005  # planes of more entropy than this are not worth a code
CHECK_BITS = 16  # a polar plane's own checksum, by which the path is chosen
LISTS = (8, 32, 128, 512)  # paths followed: more only where fewer did not lead to the checksum
CHUNK = 8_192  # rows of soft information held at once

Bits = npt.NDArray[np.uint8]
Odds = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Rows = Callable[[int, int], Odds]
SoftInformation = Rows | Odds


@dataclass(frozen=True)
class Plane:
    """How one bit plane is coded.

    entropy: bits that remain given y and the planes below. log2_mean: the channel that the polar order is made
    for (`polar.log2_mean_of`). gap, gap_small: bits sent for each bit beyond its entropy, in whole blocks and in
    blocks of `SMALLEST`.
    """

    entropy: float
    log2_mean: int
    gap: float
    gap_small: float


@dataclass(frozen=True)
class SlepianWolfCode:
    """A code designed for a source; both sides hold the same one. Indices are 0 <= u < alphabet.

    planes: the lowest first. block: indices a block, a power of two of at least `SMALLEST`.
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

    def sent_bits(self, plane: Plane, n: int) -> int:
        """How many of a plane's n bits are sent in a block of n, checksums aside."""
        if n < SMALLEST:
            return n
        share = math.log(n / SMALLEST) / math.log(self.block / SMALLEST) if self.block > SMALLEST else 1.0
        gap = math.exp((1 - share) * math.log(plane.gap_small) + share * math.log(plane.gap))
        count = math.ceil(n * (plane.entropy + gap))
        return n if count > RAW_FROM * n else count

    def block_bytes(self, n: int) -> int:
        """Bytes of a block of n indices."""
        bits = 32
        for plane in self.planes:
            count = self.sent_bits(plane, n)
            bits += count + (CHECK_BITS if count < n else 0)
        return -(-bits // 8)

    def total_bytes(self, n: int) -> int:
        """Bytes that `encode` makes of n indices: known to both sides from n alone."""
        full, rest = divmod(n, self.block)
        tail = sum(self.block_bytes(last - first) for first, last in self.blocks(rest))
        return full * self.block_bytes(self.block) + tail

    # -- coding -------------------------------------------------------------------------------------

    def encode(self, u: npt.ArrayLike) -> bytes:
        """(n,) integers -> `total_bytes(n)` bytes. Raises CodingError for what are not indices."""
        indices = self._checked(u)
        return b"".join(self._encode_block(indices[first:last]) for first, last in self.blocks(indices.size))

    def _encode_block(self, u: Indices) -> bytes:
        parts = []
        for b, plane in enumerate(self.planes):
            x = _plane(u, b)
            count = self.sent_bits(plane, x.size)
            if count == x.size:
                parts.append(x)
            else:
                parts += [_unreliable(x, plane, 0, count), _bits_of(_checksum(x) & 0xFFFF, CHECK_BITS)]
        parts.append(_bits_of(_block_checksum(u), 32))
        return np.packbits(np.concatenate(parts)).tobytes()

    def decode(
        self, data: bytes, n: int, log_q: SoftInformation, extra: Mapping[int, bytes] | None = None
    ) -> Indices:
        """The n indices that `encode` was given.

        log_q: (n, alphabet) ln q(u|y), up to a constant in each row, or a function of (first, last) that returns
        such rows. extra: what `more_bits` made for blocks, by their number. Raises DamagedError if the data has
        the wrong length, UnrecoverableBlockError if a block cannot be found with this side information.
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
        """One block of n indices from its bytes. rows: as `log_q` of `decode`, counted within the block."""
        stream, further = _BitReader(data), _BitReader(more[1:])
        u = np.zeros(n, np.int64)
        for b, plane in enumerate(self.planes):
            count = self.sent_bits(plane, n)
            if count == n:
                u |= stream.take(n).astype(np.int64) << b
                continue
            sent = stream.take(count)
            check = stream.number(CHECK_BITS)
            if more:
                sent = np.concatenate([sent, further.take(min(more[0] * _step(n), n - count))])
            x = _find(plane, b, u, rows, sent, check)
            if x is None:
                raise _unrecoverable(number)
            u |= x.astype(np.int64) << b
        if _block_checksum(u) != stream.number(32) or (u >= self.alphabet).any():
            raise _unrecoverable(number)
        return u

    def more_bits(self, u: npt.ArrayLike, block: int, steps: int = 1) -> bytes:
        """For a receiver that failed at a block: the next `steps` per cent of each of its polar planes.

        u: all indices, as for `encode`. Pass the bytes to `decode` as extra={block: bytes}; if that fails as
        well, ask for more steps, which contain the earlier ones. Raises CodingError.
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
            count = self.sent_bits(plane, n)
            if count < n:
                end = min(n, count + steps * _step(n))
                parts.append(_unreliable(_plane(indices[first:last], b), plane, count, end))
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
    ) -> SlepianWolfCode:
        """The code for a source of which samples are given.

        u: (n,) indices, some ten thousand at least. log_q: as for `decode`. alphabet: needed if log_q is a
        function. failure: how often at most a block may fail, planes taken together, as estimated from the bits
        that sample blocks need if `lists` paths are followed (decoding follows up to 512; designing with more takes
        longer and makes shorter files). Raises CodingError.
        """
        if block < SMALLEST or block & (block - 1):
            raise CodingError(f"a block is a power of two of at least {SMALLEST} indices, not {block}")
        indices = np.asarray(u, np.int64).ravel()
        size = alphabet if callable(log_q) else log_q.shape[1]
        if size is None or size < 2 or indices.size < SMALLEST or indices.min() < 0 or indices.max() >= size:
            raise CodingError(
                f"a code is designed from at least {SMALLEST} indices of an alphabet of 2 or more"
            )
        draft = cls(size, (), block)
        rows = draft._rows(log_q, indices.size)
        entropies = bits_of_planes(indices, rows, size)
        uncertain = sum(1e-3 < entropy <= ALL_BUT_RAW for entropy in entropies)  # the others hardly ever fail
        rng = np.random.default_rng(seed)
        planes = []
        for b, entropy in enumerate(entropies):
            x, odds = _plane(indices, b), _all_odds(rows, indices, b)
            log2_mean = polar.log2_mean_of(min(max(entropy, 1e-5), 0.999))
            if entropy > ALL_BUT_RAW:
                planes.append(Plane(1.0, log2_mean, 1e-3, 1e-3))
                continue
            gaps = [
                _needed_gap(x, odds, entropy, log2_mean, n, lists, failure / max(1, uncertain), rng)
                for n in (block, SMALLEST)
            ]
            planes.append(Plane(entropy, log2_mean, *gaps))
        return cls(size, tuple(planes), block)

    def state(self) -> dict[str, Any]:
        """Plain values from which `from_state` makes the same code."""
        return {"alphabet": self.alphabet, "block": self.block, "planes": [asdict(p) for p in self.planes]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SlepianWolfCode:
        """The code that `state` came from."""
        return cls(int(state["alphabet"]), tuple(Plane(**p) for p in state["planes"]), int(state["block"]))

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


# -- planes ------------------------------------------------------------------------------------------


def _plane(u: Indices, b: int) -> Bits:
    return ((u >> b) & 1).astype(np.uint8)


def bits_of_planes(u: npt.ArrayLike, log_q: Rows, alphabet: int) -> list[float]:
    """Conditional entropy, in bits, of each plane given y and the planes below: what an ideal code would send.

    u: (n,) samples of the indices. log_q: as for `SlepianWolfCode.decode`.
    """
    indices = np.asarray(u, np.int64)
    planes = range((alphabet - 1).bit_length())
    return [_entropy(_plane(indices, b), _all_odds(log_q, indices, b)) for b in planes]


def _entropy(x: Bits, odds: Odds) -> float:
    nats = np.logaddexp(0, np.where(x == 1, odds, -odds).astype(np.float64))
    return float(nats.mean() / math.log(2))


def _unreliable(x: Bits, plane: Plane, first: int, last: int) -> Bits:
    """Bits `first` to `last` of the transform of x in the order of their unreliability."""
    order = polar.order(plane.log2_mean, x.size.bit_length() - 1)
    return polar.transform(x)[order[first:last]]


def _step(n: int) -> int:
    """Bits of a plane in one step of `more_bits`."""
    return -(-n // 100)


@njit(cache=True, nogil=True)
def _plane_odds(rows: Any, below: Any, b: int, out: Any) -> None:
    """ln of P(bit b is 0) / P(bit b is 1) among the u whose lower bits are `below`."""
    step = 1 << b
    for i in range(below.size):
        top = np.float32(-np.inf)
        for u in range(below[i], rows.shape[1], step):
            top = max(top, rows[i, u])
        zero = one = 0.0
        if top > -np.inf:
            for u in range(below[i], rows.shape[1], 2 * step):
                zero += math.exp(rows[i, u] - top)
            for u in range(below[i] + step, rows.shape[1], 2 * step):
                one += math.exp(rows[i, u] - top)
        out[i] = math.log((zero + 1e-30) / (one + 1e-30))


def _all_odds(rows: Rows, u: Indices, b: int) -> Odds:
    """Log-odds of plane b at every sample, given the lower planes of u."""
    odds = np.empty(u.size, np.float32)
    below = u & ((1 << b) - 1)
    for first in range(0, u.size, CHUNK):
        last = min(first + CHUNK, u.size)
        part = np.ascontiguousarray(rows(first, last), np.float32)
        _plane_odds(part, below[first:last], b, odds[first:last])
    return odds


def _find(plane: Plane, b: int, below: Indices, rows: Rows, sent: Bits, check: int) -> Bits | None:
    """The bits of plane b of a block whose lower planes are `below`; None if no path has the checksum."""
    odds = _all_odds(rows, below, b)
    order = polar.order(plane.log2_mean, below.size.bit_length() - 1)
    for lists in LISTS:
        found, _ = polar.list_decode(odds, order[: len(sent)], sent, plane.log2_mean, lists)
        for k in range(len(found)):
            if _checksum(found[k]) & 0xFFFF == check:
                return np.array(found[k], np.uint8)
    return None


def _needed_gap(
    x: Bits, odds: Odds, entropy: float, log2_mean: int, n: int, lists: int, failure: float,
    rng: np.random.Generator,
) -> float:  # fmt: skip
    """Bits a bit beyond the entropy with which a block of n bits fails at this rate."""
    if entropy < 1e-7:
        return 16 / n  # not one bit in a hundred blocks
    order = polar.order(log2_mean, n.bit_length() - 1)
    tries = 64 if entropy < 0.05 else 32
    needs = []
    for _ in range(tries):
        chosen = rng.integers(0, x.size, n) if x.size < n else rng.permutation(x.size)[:n]
        block, soft = x[chosen], odds[chosen]
        u = polar.transform(block)

        def decodes(count: int, block: Bits = block, soft: Odds = soft, u: Bits = u) -> bool:
            sent = order[:count]
            found, _ = polar.list_decode(soft, sent, u[sent], log2_mean, lists)
            return any(np.array_equal(candidate, block) for candidate in found)

        low = high = int(n * max(0.0, entropy - 0.02))
        width = max(1, n // 16)
        while high < n and not decodes(high):
            low, high = high, min(n, high + width)
        if low == high:
            low = 0
        while high - low > max(1, n // 2048):
            middle = (low + high) // 2
            low, high = (low, middle) if decodes(middle) else (middle, high)
        needs.append(high / n - entropy)
    # the quantile of a new block's need, mean and deviation being themselves estimates (Student's t)
    z, freedom = _deviations(failure), tries - 1
    z *= (1 + (z * z + 1) / (4 * freedom)) * math.sqrt(1 + 1 / tries)
    gap = max(float(np.mean(needs)) + z * float(np.std(needs, ddof=1)), max(needs) if tries > 32 else 0.0)
    return max(gap, 16 / n)


def _deviations(probability: float) -> float:
    """How many standard deviations a normal variable exceeds with this probability."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) / 2 > probability else (low, middle)
    return low


# -- bits --------------------------------------------------------------------------------------------


def _checksum(x: Bits) -> int:
    return zlib.crc32(np.packbits(x).tobytes())


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
