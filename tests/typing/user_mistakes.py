"""Mistakes that types show before a program runs: `mypy --strict` refuses each line that says so, and no other."""

import numpy as np

import obverse


def mistakes() -> None:
    photo = np.zeros((8, 8, 3), np.uint8)
    _ = obverse.compress(photo).shape  # mistake: bytes have no shape
    obverse.compress(photo, codec=3)  # mistake
    obverse.decompress(3.5)  # mistake
    obverse.Limits(pixels="many")  # mistake
    obverse.open_codec("image").encod(photo)  # mistake
    _ = obverse.list_codecs().id  # mistake
    obverse.compres(photo)  # mistake
