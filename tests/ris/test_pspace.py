from __future__ import annotations

import pytest
import torch

from ris.generators.pspace import PSpace, fit_pspace, from_p, to_p


@pytest.fixture(scope="module")
def pspace(generator):
    return fit_pspace(generator, samples=6000)


@pytest.fixture(scope="module")
def codes(generator):
    z = torch.randn(2000, 512, generator=torch.Generator().manual_seed(99))
    return generator.mapping(z)


def test_p_undoes_the_mappings_last_activation(generator):
    weight = generator.get_buffer("mapping/7/weight")
    bias = generator.get_buffer("mapping/7/bias")
    z = torch.randn(3, 512, generator=torch.Generator().manual_seed(1))
    inputs = []
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    for i in range(8):
        inputs.append(x)
        x = torch.nn.functional.linear(
            x,
            generator.get_buffer(f"mapping/{i}/weight"),
            generator.get_buffer(f"mapping/{i}/bias"),
        )
        x = torch.nn.functional.leaky_relu(x, 0.2) * 2**0.5
    before = torch.nn.functional.linear(inputs[-1], weight, bias)
    assert torch.allclose(to_p(generator.mapping(z)), before, atol=1e-4)


def test_round_trips(pspace, codes):
    assert torch.allclose(from_p(to_p(codes)), codes, atol=1e-6)
    assert torch.allclose(pspace.to_w(pspace.from_w(codes)), codes, atol=1e-3)
    v = torch.randn(5, 22, 512, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(pspace.from_w(pspace.to_w(v)), v, atol=1e-3)


def test_unseen_codes_come_out_white(pspace, codes):
    """Also off the diagonal: directions of the whitened code do not go together."""
    v = pspace.from_w(codes)
    assert v.mean(0).abs().max() < 0.2
    largest = torch.linalg.eigvalsh(torch.cov(v.T))[-1].item()
    plain = torch.corrcoef(to_p(codes).T)
    assert largest < 3.5  # 2.3 is what 2,000 samples of white noise give
    assert torch.linalg.eigvalsh(plain)[-1].item() > 3 * largest


def test_wrong_statistics_are_refused(generator):
    with pytest.raises(ValueError, match="wants"):
        PSpace(torch.zeros(4), torch.eye(3))
    with pytest.raises(ValueError, match="not invertible"):
        PSpace(torch.zeros(4), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="cannot whiten"):
        fit_pspace(generator, samples=512)
