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
    obverse.compress(photo, qualty=50)  # mistake: misspelt
    obverse.compress(photo, quality="high")  # mistake
    len(obverse.compress(photo, codec="flow", segment="all"))  # mistake
    len(obverse.compress(photo, codec="image", loss=0.1))  # mistake: an option of another codec
    len(obverse.compress(photo, codec="features", distortion="l3"))  # mistake: no choice
