"""Rows of real files, BD-rates, tables and plots of plug-and-play compression."""

import numpy as np
import pytest

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.evaluate import TestItem, bd_rates, measure, quality, table, write_report
from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.fit import build_model, fit
from obverse.codecs.plug_and_play.generative_model import of_module
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.container import write
from obverse.errors import InputError
from tests.codecs.plug_and_play.models import Linear


def posterior(seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    return Posterior.of(rng.normal(size=(800, 4)), np.exp(rng.normal(-2, 1, (800, 4))))


def test_rows_are_of_files():
    items = [TestItem(None, posterior(seed)) for seed in (1, 2)]
    rows = measure({"vbq": None}, items, [1.0, 0.1])
    assert [row.lmbda for row in rows] == [0.1, 1.0]
    sizes = [
        len(write(PlugAndPlayCodec().encode(item.posterior, PlugAndPlayCodec.options(lmbda=0.1))))
        for item in items
    ]
    assert rows[0].bytes == sum(sizes) and rows[0].latents == 6400
    assert rows[0].bits_per_latent == 8 * sum(sizes) / 6400
    assert rows[0].bpp is None and rows[0].mse is None and rows[0].psnr is None
    assert quality(rows[0]) > quality(rows[1])


def test_decoded_data_is_compared_with_what_it_was():
    x = np.random.default_rng(0).uniform(size=(50, 6)).astype(np.float32)
    module = of_module(Linear())
    p = module.posterior(x)
    networks = exported(Linear(), x)
    models = {
        name: build_model(fit(p, 1, [0.01, 0.1, 1.0], name), p.shape, axis=1, networks=networks)
        for name in ("vbq", "uniform")
    }
    rows = measure(models, [TestItem(x, p)], [0.01, 0.09, 0.11, 1.0])
    # between rungs there is something new for vbq only
    assert [row.lmbda for row in rows] == [0.01, 0.09, 0.11, 1.0, 0.01, 0.1, 1.0]
    back = PlugAndPlayCodec(models["vbq"]).decode(
        PlugAndPlayCodec(models["vbq"]).encode(x, PlugAndPlayCodec.options(lmbda=0.09))
    )
    assert rows[1].mse == pytest.approx(np.square(np.clip(back, 0, 1) - x).mean(), rel=1e-4)
    assert rows[1].psnr == pytest.approx(-10 * np.log10(rows[1].mse), abs=1e-3)


def test_reports(tmp_path):
    items = [TestItem(None, posterior(3), 1000)]
    rows = measure(
        {"vbq": None, "uniform": None},
        items,
        [0.1, 0.3, 1.0, 3.0],
        options={"uniform": {"method": "uniform"}},
    )
    assert bd_rates(rows, "uniform")["vbq"] < 0 and bd_rates(rows, "nothing") == {}
    assert rows[0].bpp == rows[0].bytes * 8 / 1000
    assert table(rows).count("\n") == 9
    paths = write_report(rows, tmp_path / "a" / "b")
    assert paths["plot"].stat().st_size > 10_000
    assert len(paths["csv"].read_text().splitlines()) == 9


def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match="nothing to measure"):
        measure({"vbq": None}, [])
