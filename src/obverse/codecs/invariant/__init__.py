"""Codes of sets that keep what tasks need and forget what they do not: VIC, VC and BINCE."""

from obverse.method import Method

METHOD = Method(
    id="invariant",
    package=__name__,
    summary="sets of points or small gray images, what tasks need and no more",
    data="image set",
    codec="codec:InvariantCodec",
    paper="Dubois, Bloem-Reddy, Ullrich and Maddison, NeurIPS 2021",
    models=("invariant-mnist",),
    facts="facts:facts",
    training="command:train_invariant",
)
