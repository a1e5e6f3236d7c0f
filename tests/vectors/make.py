"""Writes the small vectors: outputs of this implementation for small networks of the rule.

The implementation was held against the reference at full size first (`test_stylegan2.py`,
`test_psp.py`); ``nvidia_stylegan2_64.npz`` is NVIDIA's own output and is not made here.
Run it from the repository's root: ``PYTHONPATH=.:tests python tests/vectors/make.py``
"""

from __future__ import annotations

import numpy as np
import torch
from checkpoints import VECTORS, network
from test_psp import KINDS, photo, weights
from test_stylegan2 import SMALL, STEP, block_masks, codes, scores

from ris.generators.stylegan2 import StyleGAN2
from ris.networks.psp import PSPEncoder


@torch.no_grad()
def main() -> None:
    """Computes and writes."""
    generator = StyleGAN2(network(SMALL))
    z, noise = codes(generator.layout.rows)
    w = generator.mapping(z)
    sigma = generator.sigma(w[:, None] + 0.3 * noise)
    np.savez_compressed(
        VECTORS / "stylegan2_64.npz",
        w=w.numpy(),
        sigma=sigma[:, ::STEP].numpy(),
        image=generator.render(sigma[:1]).numpy(),
        contribution=scores(generator, sigma, block_masks())[:, :, ::STEP].numpy(),
    )
    found = {kind: PSPEncoder(weights(), kind)(photo()).numpy() for kind in KINDS}
    np.savez_compressed(VECTORS / "encoders_small.npz", **found)


if __name__ == "__main__":
    main()
