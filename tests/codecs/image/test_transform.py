import pytest
import torch

from obverse.codecs.image.transform import Analysis, Synthesis, block_statistics, dct8_colour
from obverse.transforms.blocks import QualityVector, depth_to_space, space_to_depth


def test_space_to_depth_is_inverted_and_ordered():
    x = torch.randn(2, 3, 16, 24)
    y = space_to_depth(x, 8)
    assert y.shape == (2, 192, 2, 3)
    assert torch.equal(depth_to_space(y, 8), x)
    assert torch.equal(y[:, (2 * 8 + 5) * 3 + 1, 1, 2], x[:, 1, 8 + 2, 16 + 5])


def test_dct_is_orthonormal_and_its_first_row_is_the_mean():
    m = dct8_colour()
    assert torch.allclose(m @ m.T, torch.eye(192), atol=1e-5)
    assert torch.allclose(m[0], torch.full((192,), 192**-0.5), atol=1e-6)


def test_initialised_pair_reconstructs_perfectly_with_all_components():
    """With as many latents as pixels the transform that training starts from is an orthonormal basis."""
    torch.manual_seed(0)
    images = torch.rand(4, 3, 64, 64)
    statistics = block_statistics(images)
    analysis, synthesis = Analysis(768, 1, 1, 8, 8), Synthesis(768, 1, 1, 8, 8)
    analysis.initialise(*statistics)
    synthesis.initialise(*statistics)
    t = torch.tensor([0.5] * 4)
    with torch.no_grad():
        assert torch.allclose(synthesis(analysis(images, t), t), images, atol=1e-4)


def test_components_come_by_falling_variance():
    torch.manual_seed(1)
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 16, 16), scale_factor=4, mode="bilinear")
    analysis = Analysis(768, 0, 0, 8, 8)
    analysis.initialise(*block_statistics(images))
    with torch.no_grad():
        energy = analysis(images, torch.zeros(8)).pow(2).mean(dim=(0, 2, 3))
    assert (energy[:-1] >= energy[1:] - 1e-4).all()


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_quality_vector_is_linear_between_anchors(t):
    vector = QualityVector(2, init=torch.tensor([[float(k), -2.0 * k] for k in range(9)]))
    value = vector(torch.tensor([t]))
    assert value.shape == (1, 2, 1, 1)
    assert value.flatten().tolist() == pytest.approx([8 * t, -16 * t], abs=1e-5)


@pytest.mark.parametrize("fine, coarse", [(3, 1), (4, 2)])
def test_latents_depend_on_no_pixel_beyond_the_reach_of_the_analysis(fine, coarse):
    torch.manual_seed(0)
    analysis = Analysis(8, fine, coarse, 8, 8)
    for block in (*analysis.fine, *analysis.coarse):
        torch.nn.init.normal_(block.expand.weight)
    image = torch.rand(1, 3, 16, 256, requires_grad=True)
    analysis(image, torch.tensor([0.5]))[..., 0].sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1, 2)).nonzero().max() + 1
    assert 16 + analysis.reach - 8 <= seen <= 16 + analysis.reach
