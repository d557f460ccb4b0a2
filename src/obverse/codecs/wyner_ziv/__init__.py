"""Numbers with side information at the decoder, by three codes: learned, scalar and trellis."""

from obverse.method import Method, Training

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
    training=Training(
        inputs="recipe:PairInputs",
        recipe="recipe:WynerZivRecipe",
        fit="export_learned:fit",
        help="A run that was stopped goes on from its checkpoint.",
        examples=(
            "obverse train wyner-ziv --data pairs.npz --out model",
            "obverse compress --codec ./model x.npy",
            "obverse decompress x.obv --side-info y.npy --model model",
        ),
    ),
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
    training=Training(
        inputs="recipe:PairInputs",
        recipe="recipe:GridRecipe",
        fit="train_grid:fit",
        help="Of scalars, for squared error, by Lloyd iterations on a grid.",
        examples=(
            "obverse train wyner-ziv-grid --data pairs.npz --out model --indices 8",
            "obverse compress --codec ./model x.npy",
            "obverse decompress x.obv --side-info y.npy --model model",
        ),
    ),
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
    training=Training(
        inputs="recipe:PairInputs",
        recipe="recipe:TrellisRecipe",
        fit="train_trellis:fit",
        help="A trellis, p(x|y) learned from the pairs, and a Slepian-Wolf code. A run that was stopped while it "
        "learned p(x|y) goes on from its checkpoint.",
        examples=(
            "obverse train wyner-ziv-trellis --data pairs.npz --rate 1.9 --out model",
            "obverse compress --codec ./model x.npy",
            "obverse decompress x.obv --side-info y.npy --model model",
        ),
    ),
)
