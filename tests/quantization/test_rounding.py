import torch

from obverse.quantization.rounding import straight_through, with_noise


def test_rounding_lands_on_whole_steps_from_the_offset_and_passes_the_gradient():
    z = torch.tensor([[0.2, -3.7], [1.0, 0.6]], requires_grad=True)
    codes = straight_through(z, torch.tensor([0.0, 0.25]))
    torch.testing.assert_close(codes.detach(), torch.tensor([[0.0, -3.75], [1.0, 0.25]]))
    codes.sum().backward()
    torch.testing.assert_close(z.grad, torch.ones(2, 2))


def test_noise_is_one_step_wide_and_centred():
    torch.manual_seed(1)
    noise = with_noise(torch.full((20_000,), 3.0)) - 3
    assert 0.49 < float(noise.abs().max()) <= 0.5 + 1e-6
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.var()) - 1 / 12) < 0.003
