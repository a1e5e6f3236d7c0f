"""Writes ``stylegan2_64.npz``: the rule's 64 px generator, as this implementation computes it.

The implementation was held against the reference at 1024 px first (`test_stylegan2.py`).
Run it from the repository's root: ``PYTHONPATH=.:tests python tests/vectors/make_stylegan2_64.py``
"""

from __future__ import annotations

import numpy as np
import torch
from checkpoints import VECTORS, network
from test_stylegan2 import SMALL, STEP, block_masks, codes, scores

from ris.generators.stylegan2 import StyleGAN2


def main() -> None:
    """Computes and writes."""
    generator = StyleGAN2(network(SMALL))
    z, noise = codes(generator.layout.rows)
    with torch.no_grad():
        w = generator.mapping(z)
        sigma = generator.sigma(w[:, None] + 0.3 * noise)
        image = generator.render(sigma[:1])
        found = scores(generator, sigma, block_masks())
    np.savez_compressed(
        VECTORS / "stylegan2_64.npz",
        w=w.numpy(),
        sigma=sigma[:, ::STEP].numpy(),
        image=image.numpy(),
        contribution=found[:, :, ::STEP].numpy(),
    )


if __name__ == "__main__":
    main()
