"""Pixels of drawings: text, screenshots, diagrams. Which neighbour's colour comes next, else a new colour.

Photos have a new colour at almost every pixel; drawings repeat those around. Each pixel is a few yes-or-no
decisions, whose probabilities are learned as the picture goes (`bit_mixing`):

    pixels around ──► hashes ──► contexts ──► p(bit) ──► message

    1. once a row: is it the row above?
    2. is it candidate 0, 1, ...? What followed the same surroundings last time, then W, N, NE, NW.
    3. else the colour, bit by bit: its number in a palette, or for each channel the error of a gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.image_lossless import bit_mixing as mixing
from obverse.codecs.image_lossless.bit_mixing import (
    INPUTS,
    PRECISION,
    SPREAD,
    code_bit,
    decide,
    join,
    magnitude,
    put,
)
from obverse.coding import Message
from obverse.coding.rans import LOW, compiled, inline
from obverse.errors import DamagedError, MessageEmptyError

CANDIDATES = 7
MIXERS = CANDIDATES * 16 + 5 * 8  # sets of weights: for each candidate, for each bit of each symbol
MOST_DECISIONS = 1 + CANDIDATES + 8 * 4  # of one pixel
TOP, LEFT, RIGHT = 3, 6, 6  # rows and columns of zeros around the pixels
PIECE = 1 << 20  # decisions that the encoder records at once

Array = npt.NDArray[Any]


def encode(symbols: npt.NDArray[np.uint8], bits: int, most: int) -> bytes | None:
    """(H, W, C) uint8 to the bytes of a message; None as soon as they would be more than `most`.

    bits: 1 to 8, of a palette index in the one channel; 0 for 1 to 4 channels of brightness; 16 for
    the low and the high bytes of 16-bit brightness.
    """
    state = _State(*symbols.shape, bits)
    for c in range(symbols.shape[2]):
        state.inner[...] |= symbols[:, :, c].astype(np.uint32) << np.uint32(8 * c)
    pieces: list[Array] = []
    spent = 0.0
    while not state.done:
        piece = state.run_encoder()
        p = (piece >> np.uint32(1)).astype(np.float64)
        # an estimate that decides only whether to go on: what is written does not depend on it
        spent -= float(np.log2(np.where(piece & np.uint32(1), p, 65536 - p) / 65536).sum()) / 8
        if spent > most:
            return None
        pieces.append(piece)
    message = Message()
    for piece in pieces[::-1]:  # a stack: what is popped first is pushed last
        p = (piece >> np.uint32(1)).astype(np.uint64)
        one = (piece & np.uint32(1)).astype(bool)
        message.push_intervals(np.where(one, 0, p), np.where(one, p, 65536 - p), PRECISION)
    return message.to_bytes()


def decode(data: bytes, height: int, width: int, channels: int, bits: int) -> npt.NDArray[np.uint8]:
    """The mirror of `encode`: (height, width, channels) uint8. Raises DamagedError, MessageEmptyError."""
    state = _State(height, width, channels, bits)
    state.run_decoder(Message.from_bytes(data))
    return np.stack([(state.inner >> np.uint32(8 * c)).astype(np.uint8) for c in range(channels)], axis=2)


class _State:
    """What both sides know: the pixels so far, counters and weights, and which pixel comes next."""

    def __init__(self, height: int, width: int, channels: int, bits: int):
        self.size = max(10, min(20, (4 * height * width).bit_length()))
        self.height, self.width, self.channels, self.bits = height, width, channels, bits
        wide = width + LEFT + RIGHT
        self.keys = np.zeros((height + TOP, wide), np.uint32)  # a pixel's channels, 8 bits each
        self.counters = mixing.new_counters(self.size)
        self.weights = np.full((MIXERS, INPUTS), mixing.FIRST_WEIGHT, np.int32)
        self.guesses = np.zeros((3, 1 << self.size), np.uint64)  # the key seen last, and how often in a row
        self.ranks = np.zeros((2, wide), np.uint8)  # of this row and the one above: which candidate it was
        self.errors = np.zeros((2, wide, 4), np.uint8)  # of this row and the one above: errors of gradients
        self.rows = np.full(8, 32768, np.int64)  # p(a row is the one above), given the three rows before
        self.scratch = np.zeros((3, INPUTS), np.int64)  # counters' places, mixer inputs, candidates
        self.next = np.zeros(3, np.int64)  # row and column of the pixel that comes next; the rows before

    @property
    def inner(self) -> Array:
        """The keys of the pixels alone."""
        return self.keys[TOP:, LEFT:-RIGHT]

    @property
    def done(self) -> bool:
        return int(self.next[0]) >= self.height

    def run_encoder(self) -> Array:
        """Go on until PIECE decisions are recorded or all is done: each as 2 p(1) + bit, uint32."""
        record = np.empty(PIECE + MOST_DECISIONS + 1, np.uint32)
        _, n = _code(False, record, np.uint64(0), record, 0, *self._all())
        return record[:n]

    def run_decoder(self, message: Message) -> None:
        """Pop all pixels, which must be all of the message. Raises MessageEmptyError, DamagedError."""
        state, words, count = message.parts()
        x, n = _code(True, np.empty(0, np.uint32), np.uint64(state), words, count, *self._all())
        if n < 0:
            raise MessageEmptyError("the message holds fewer pixels than were pushed")
        if n > 0 or int(x) != int(LOW):
            raise DamagedError("the message holds more than its pixels")

    def _all(self) -> tuple[Any, ...]:
        return (
            self.keys, self.channels, self.bits, self.size, self.counters, self.weights, self.guesses, self.ranks,
            self.errors, self.rows, self.scratch, self.next, mixing.SQUASH, mixing.STRETCH, mixing.RATES,
        )  # fmt: skip


# -- the compiled loop --------------------------------------------------------------------------------


@inline
def _channel(key, c):  # type: ignore[no-untyped-def]
    return (key >> (8 * c)) & 255


@inline
def _gradient(w, n, nw):  # type: ignore[no-untyped-def]
    """The median edge detector: W + N - NW, not beyond W and N."""
    return max(min(w, n), min(max(w, n), w + n - nw))


@compiled
def _code(decoding, record, x, words, n, keys, channels, bits, size, counters, weights, guesses, ranks, errors, rows,
          scratch, following, squash, stretch, rates):  # type: ignore[no-untyped-def]  # fmt: skip
    """Code pixels from number `following` on. Encoding stops when the record is full. -> state, n as `decide`."""
    at, inputs, candidates = scratch[0], scratch[1], scratch[2]
    height, width = keys.shape[0] - TOP, keys.shape[1] - LEFT - RIGHT
    for y in range(following[0], height):
        r, here, above = y + TOP, y & 1, (y + 1) & 1
        if following[1] == 0 and y > 0:
            same = np.int64(1)
            if not decoding:
                for q in range(LEFT, LEFT + width):
                    if keys[r, q] != keys[r - 1, q]:
                        same = np.int64(0)
                        break
                if n >= len(record) - MOST_DECISIONS - 1:  # then there is room for the row's first pixel too
                    following[0] = y
                    return x, n
            p = rows[following[2]]
            same, x, n = code_bit(decoding, same, p, record, x, words, n)
            if n < 0:
                return x, n
            rows[following[2]] = min(max(p + (((same << 16) - p) >> 3), 64), 65536 - 64)
            following[2] = (following[2] * 2 + same) & 7
            if same:
                for q in range(LEFT, LEFT + width):
                    keys[r, q] = keys[r - 1, q]
                    ranks[here, q] = 0
                    for c in range(4):
                        errors[here, q, c] = 0
                continue
        for q in range(LEFT + following[1], LEFT + width):
            if not decoding and n >= len(record) - MOST_DECISIONS:
                following[0], following[1] = y, q - LEFT
                return x, n
            w, ww, www = np.int64(keys[r, q - 1]), np.int64(keys[r, q - 2]), np.int64(keys[r, q - 3])
            no, nw, ne = np.int64(keys[r - 1, q]), np.int64(keys[r - 1, q - 1]), np.int64(keys[r - 1, q + 1])
            nww, nee = np.int64(keys[r - 1, q - 2]), np.int64(keys[r - 1, q + 2])
            nn, nne, nnw = (
                np.int64(keys[r - 2, q]),
                np.int64(keys[r - 2, q + 1]),
                np.int64(keys[r - 2, q - 1]),
            )
            nnn = np.int64(keys[r - 3, q])
            key = np.int64(keys[r, q])  # what is to be coded; 0 while decoding
            hash_2 = join(join(np.int64(1), w), no)
            hash_4 = join(join(hash_2, nw), ne)
            hash_8 = join(join(join(join(hash_4, ww), nn), nww), nee)
            hash_12 = join(join(join(join(hash_8, www), nne), nnw), nnn)
            hash_32 = hash_12
            for d in range(3, 7):
                hash_32 = join(join(hash_32, keys[r, q - d]), keys[r - 1, q - d])
                hash_32 = join(hash_32, keys[r - 1, q + d])
            for d in range(2, 5):
                hash_32 = join(join(hash_32, keys[r - 2, q - d]), keys[r - 2, q + d])
            for d in range(1, 3):
                hash_32 = join(join(hash_32, keys[r - 3, q - d]), keys[r - 3, q + d])
            place_32 = np.int64(np.uint64(hash_32 * SPREAD) >> (np.uint64(64) - np.uint64(size)))
            seen_32 = np.int64(guesses[2, place_32] >> np.uint64(32))
            guess_32 = np.int64(guesses[2, place_32] & np.uint64(0xFFFFFFFF))
            place_8 = np.int64(np.uint64(hash_8 * SPREAD) >> (np.uint64(64) - np.uint64(size)))
            place_12 = np.int64(np.uint64(hash_12 * SPREAD) >> (np.uint64(64) - np.uint64(size)))
            seen_8, seen_12 = (
                np.int64(guesses[0, place_8] >> np.uint64(32)),
                np.int64(guesses[1, place_12] >> np.uint64(32)),
            )
            guess_8 = np.int64(guesses[0, place_8] & np.uint64(0xFFFFFFFF))
            guess_12 = np.int64(guesses[1, place_12] & np.uint64(0xFFFFFFFF))

            count = 0
            for i in range(CANDIDATES):
                if i == 0:
                    candidate, there = guess_32, seen_32 > 0
                elif i == 1:
                    candidate, there = guess_12, seen_12 > 0
                elif i == 2:
                    candidate, there = guess_8, seen_8 > 0
                elif i == 3:
                    candidate, there = w, True
                elif i == 4:
                    candidate, there = no, True
                elif i == 5:
                    candidate, there = ne, True
                else:
                    candidate, there = nw, True
                for j in range(count):
                    if candidates[j] == candidate:
                        there = False
                if there:
                    candidates[count] = candidate
                    count += 1

            rank_w, rank_n = np.int64(ranks[here, q - 1]), np.int64(ranks[above, q])
            ranks_around = (
                rank_w | rank_n << 2 | np.int64(ranks[above, q + 1]) << 4 | np.int64(ranks[above, q - 1]) << 6
            )
            ranks_around |= np.int64(ranks[here, q - 2]) << 8
            pattern = (
                np.int64(w == no) | np.int64(no == nw) << 1 | np.int64(no == ne) << 2 | np.int64(w == nw) << 3
            )
            pattern |= np.int64(w == ww) << 4 | np.int64(no == nn) << 5 | np.int64(ne == nee) << 6
            sure = (
                min(magnitude(seen_12), 3) | min(magnitude(seen_8), 3) << 2 | min(magnitude(seen_32), 3) << 4
            )
            hit = np.int64(0)
            rank = 3
            for j in range(count):
                candidate = candidates[j]
                kind = np.int64(j + 1) << 40
                place = (
                    np.int64(candidate == w)
                    | np.int64(candidate == no) << 1
                    | np.int64(candidate == guess_8) << 2
                    | np.int64(candidate == guess_32) << 3
                )
                put(at, 0, join(kind | sure << 10 | place << 20, pattern), size)
                put(at, 1, join(join(hash_4, kind), candidate), size)
                put(at, 2, join(join(hash_8, kind), candidate), size)
                put(at, 3, join(join(hash_2, kind), candidate), size)
                put(at, 4, join(kind | 1 << 32, ranks_around | place << 10), size)
                put(at, 5, join(join(kind | 2 << 32, candidate), w ^ (nw << 8)), size)
                put(at, 6, join(join(hash_12, kind), candidate), size)
                put(at, 8, join(join(hash_32, kind), candidate), size)
                put(at, 7, join(kind | 3 << 32, place | sure << 8 | rank_w << 16 | rank_n << 18), size)
                mixer = j * 16 + (sure >> 4) * 4 + min(rank_w, 1) * 2 + min(rank_n, 1)
                hit, x, n = decide(
                    decoding, np.int64(candidate == key), record, x, words, n, at, inputs, mixer,
                    counters, weights, squash, stretch, rates,
                )  # fmt: skip
                if n < 0:
                    return x, n
                if hit:
                    key, rank = candidate, min(j, 2)
                    break
            for c in range(4):
                errors[here, q, c] = 0
            if not hit and 1 <= bits <= 8:
                node = np.int64(1)
                for b in range(bits - 1, -1, -1):
                    kind = node | np.int64(1) << 50
                    put(at, 0, join(np.int64(20), kind), size)
                    put(at, 1, join(join(np.int64(21), w), kind), size)
                    put(at, 2, join(join(np.int64(22), no), kind), size)
                    put(at, 3, join(hash_2, kind), size)
                    put(at, 4, join(hash_4, kind), size)
                    put(at, 5, join(join(np.int64(25), ww), kind), size)
                    put(at, 6, join(join(np.int64(26), nw), kind), size)
                    put(at, 7, join(hash_8, kind), size)
                    put(at, 8, join(hash_12, kind), size)
                    bit, x, n = decide(
                        decoding, (key >> b) & 1, record, x, words, n, at, inputs, CANDIDATES * 16 + b,
                        counters, weights, squash, stretch, rates,
                    )  # fmt: skip
                    if n < 0:
                        return x, n
                    node = node * 2 + bit
                key = node - (np.int64(1) << bits)
            elif not hit:
                fresh = np.int64(0)
                first = np.int64(0)  # the error of the first channel, in which the others share
                before = np.int64(0)
                for number in range(channels):
                    # green first: it says most of red and blue
                    c = number if channels < 3 or number > 1 else 1 - number
                    if bits == 16:
                        a, b_, d = w, no, nw
                    else:
                        a, b_, d = _channel(w, c), _channel(no, c), _channel(nw, c)
                    expected = _gradient(a, b_, d)
                    if bits == 0 and channels >= 3 and 1 <= number <= 2:
                        expected = min(max(expected + first, 0), 255)
                    activity = magnitude((abs(a - d) + abs(b_ - d)) >> (4 if bits == 16 else 0))
                    if bits == 16:
                        e = ((key - expected + 32768) & 65535) - 32768
                        folded = 2 * e if e >= 0 else -2 * e - 1
                        folded = folded >> 8 if number == 0 else folded & 255
                    else:
                        e = ((_channel(key, c) - expected + 128) & 255) - 128
                        folded = 2 * e if e >= 0 else -2 * e - 1
                    left, up = np.int64(errors[here, q - 1, number]), np.int64(errors[above, q, number])
                    node = np.int64(1)
                    for b in range(7, -1, -1):
                        kind = node | np.int64(number + 1) << 50
                        put(at, 0, join(np.int64(30), kind), size)
                        put(at, 1, join(np.int64(31) | activity << 8, kind), size)
                        put(at, 2, join(np.int64(32) | before << 8, kind), size)
                        put(
                            at,
                            3,
                            join(np.int64(33) | magnitude(left) << 8 | magnitude(up) << 16, kind),
                            size,
                        )
                        put(at, 4, join(join(np.int64(34), expected), kind), size)
                        put(at, 5, join(np.int64(35) | left << 8 | before << 16, kind), size)
                        put(at, 6, join(join(np.int64(36) | a << 8, b_), kind), size)
                        put(at, 7, join(hash_4, kind), size)
                        put(at, 8, join(np.int64(37) | activity << 8 | before << 16, kind), size)
                        bit, x, n = decide(
                            decoding, (folded >> b) & 1, record, x, words, n, at, inputs,
                            CANDIDATES * 16 + 8 * (number + 1) + b, counters, weights, squash, stretch, rates,
                        )  # fmt: skip
                        if n < 0:
                            return x, n
                        node = node * 2 + bit
                    folded = node & 255
                    errors[here, q, number] = folded
                    before = folded
                    if bits == 16:
                        fresh = fresh << 8 | folded
                        if number == 1:
                            e = fresh >> 1 if fresh & 1 == 0 else -(fresh >> 1) - 1
                            fresh = (expected + e) & 65535
                    else:
                        e = folded >> 1 if folded & 1 == 0 else -(folded >> 1) - 1
                        value = (expected + e) & 255
                        fresh |= value << (8 * c)
                        if number == 0:
                            first = value - _gradient(a, b_, d)
                key = fresh
            keys[r, q] = np.uint32(key)
            ranks[here, q] = rank
            for table in range(3):
                if table == 0:
                    place, guess, seen = place_8, guess_8, seen_8
                elif table == 1:
                    place, guess, seen = place_12, guess_12, seen_12
                else:
                    place, guess, seen = place_32, guess_32, seen_32
                seen = min(seen + 1, 255) if guess == key and seen > 0 else np.int64(1)
                guesses[table, place] = np.uint64(seen) << np.uint64(32) | np.uint64(key)
        following[1] = 0
    following[0] = height
    return x, n
