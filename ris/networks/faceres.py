"""An identity embedding of faces: MobileNet (Howard et al. 2017, arXiv:1704.04861) as trained for
recognition by HSE_FaceRec (Savchenko 2019), in plain torch, differentiable in its input.

The file's batch normalisations are folded already except for the gain after each depthwise
convolution, which is folded here. Its age and gender heads are not read. Padding is TensorFlow's
"same": with stride 2 on an even size the extra row and column go to the bottom and the right.

Trained on face boxes: `central_crop` takes the part of an FFHQ crop that does best.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from ris.networks.weights import check_shapes

SIZE = 224
"""Pixels of the network's input."""
WIDTH = 1024
"""Numbers in an embedding."""
CHANNEL_MEANS = (103.94, 116.78, 123.68)
"""Of blue, green and red in [0, 255], taken off the input."""
FFHQ_SHARE = 0.8
FFHQ_CENTRE = (0.5, 0.55)
"""Where a face is recognised best in an FFHQ crop: AUC over pairs .984, against .977 of all."""
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels after the first convolution and after each of the 13 separable ones."""


def weight_names() -> dict[str, tuple[int, ...]]:
    """Name (as in the TensorFlow graph) and shape (height, width, in, out) of every tensor."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/convolution/merged_input": (3, 3, 3, WIDTHS[0]),
        "conv1_bn/batchnorm_1/sub": (WIDTHS[0],),
    }
    for i in range(1, len(WIDTHS)):
        inp, out = WIDTHS[i - 1], WIDTHS[i]
        shapes[f"conv_dw_{i}/depthwise_kernel"] = (3, 3, inp, 1)
        shapes[f"conv_dw_{i}_bn/batchnorm_1/mul"] = (inp,)
        shapes[f"conv_dw_{i}_bn/batchnorm_1/sub"] = (inp,)
        shapes[f"conv_pw_{i}/convolution/merged_input"] = (1, 1, inp, out)
        shapes[f"conv_pw_{i}_bn/batchnorm_1/sub"] = (out,)
    return shapes


class FaceRes(torch.nn.Module):
    """The frozen network.

    Args:
        weights: tensors by the names and of the shapes of `weight_names`.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        check_shapes(weights, weight_names())
        given = {name: tensor.detach().float() for name, tensor in weights.items()}
        self._keep("first", given["conv1/convolution/merged_input"].permute(3, 2, 0, 1))
        self._keep("first_bias", given["conv1_bn/batchnorm_1/sub"])
        for i in range(1, len(WIDTHS)):
            kernel = given[f"conv_dw_{i}/depthwise_kernel"]
            kernel = kernel * given[f"conv_dw_{i}_bn/batchnorm_1/mul"][:, None]
            self._keep(f"depthwise{i}", kernel.permute(2, 3, 0, 1))
            self._keep(f"depthwise{i}_bias", given[f"conv_dw_{i}_bn/batchnorm_1/sub"])
            pointwise = given[f"conv_pw_{i}/convolution/merged_input"]
            self._keep(f"pointwise{i}", pointwise.permute(3, 2, 0, 1))
            self._keep(f"pointwise{i}_bias", given[f"conv_pw_{i}_bn/batchnorm_1/sub"])
        self.register_buffer("means", torch.tensor(CHANNEL_MEANS)[:, None, None])

    def _keep(self, name: str, tensor: torch.Tensor) -> None:
        self.register_buffer(name, tensor.contiguous())

    def _conv(self, x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight, bias = self.get_buffer(name), self.get_buffer(f"{name}_bias")
        pad = weight.shape[-1] // 2
        if stride == 2:
            x, pad = F.pad(x, (0, 1, 0, 1)), 0
        return F.relu6(F.conv2d(x, weight, bias, stride, pad, groups=groups), inplace=True)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) face crops, RGB in [-1, 1] -> (B, 1024) embeddings, none negative.

        Crops are scaled to 224 px. Compare embeddings by cosine.

        Raises:
            ValueError: another shape.
        """
        if faces.ndim != 4 or faces.shape[1] != 3:
            raise ValueError(f"faces are (B, 3, S, S), not {tuple(faces.shape)}")
        x = F.interpolate(
            faces, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
        )
        x = (x.flip(1) + 1) * 127.5 - self.get_buffer("means")
        x = self._conv(x, "first", stride=2)
        for i, stride in enumerate(STRIDES, start=1):
            x = self._conv(x, f"depthwise{i}", stride, groups=x.shape[1])
            x = self._conv(x, f"pointwise{i}")
        return x.mean((2, 3))


def central_crop(
    images: torch.Tensor,
    share: float = FFHQ_SHARE,
    centre: tuple[float, float] = FFHQ_CENTRE,
) -> torch.Tensor:
    """The part of FFHQ-aligned pictures that the network is to see.

    Args:
        images: (B, 3, S, S).
        share: side of the crop to S, in (0, 1].
        centre: of the crop as parts of S, from the left and from the top; the crop is moved
            inward where it would leave the picture.

    Returns:
        (B, 3, s, s), s = share * S rounded; a view.
    """
    size = images.shape[-1]
    side = round(share * size)
    left, top = (min(max(round(c * size - side / 2), 0), size - side) for c in centre)
    return images[..., top : top + side, left : left + side]
