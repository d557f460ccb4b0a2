"""Numbers with side information at the decoder, by three codes: learned, scalar and trellis."""

from obverse.method import Method

LEARNED = Method(
    id="wyner-ziv",
    package=__name__,
    summary="numbers or vectors with side information at the decoder, one learned index each",
    data="array",
    codec="learned:WynerZivCodec",
    paper="Ozyilkan, Balle and Erkip, ISIT 2023",
    side_info=True,
    models=("wyner-ziv",),
    facts="facts:facts",
    training="command:train_wyner_ziv",
)
GRID = Method(
    id="wyner-ziv-grid",
    package=__name__,
    summary="numbers with side information at the decoder, the best scalar design without networks",
    data="array",
    codec="grid:WynerZivGridCodec",
    side_info=True,
    models=("wyner-ziv-grid",),
    facts="facts:facts",
    training="command:train_wyner_ziv_grid",
)
TRELLIS = Method(
    id="wyner-ziv-trellis",
    package=__name__,
    summary="numbers with side information at the decoder, near the Wyner-Ziv limit",
    data="array",
    codec="trellis:WynerZivTrellisCodec",
    paper="Pradhan and Ramchandran, IEEE Trans. IT 2003",
    side_info=True,
    models=("wyner-ziv-trellis",),
    facts="facts:facts",
    training="command:train_trellis",
)
