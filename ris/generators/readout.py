"""A small picture of what a code would render, without the generator's large upper blocks.

The blocks of MobileStyleGAN above a resolution R do little at that resolution: an inverse Haar
transform leaves twice the local mean of its output in its first quarter of channels (LL), a
depthwise 3x3 convolution of something smooth is a multiplication, and the rest are 1x1
convolutions. So the upper blocks can be run *at* R on the LL channels alone. Styles of all layers
keep their meaning (colours and lighting are set by the upper ones), nothing but the sub-pixel
detail is lost, and a step of gradient descent costs a fraction of a full render.

What the smoothing gets wrong (a LeakyReLU of a mean is not the mean of a LeakyReLU) is made up by
one gain a channel in place of the depthwise kernel and by re-fitted biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

from ris.generators.mobilestylegan import SLOPE, MobileStyleGAN


class ReadOut:
    """Image of R x R pixels from a code's sigma.

    Args:
        generator: the generator whose upper blocks are imitated.
        resolution: R, the input width of one of its ``up`` layers (8 .. 256 for FFHQ 1024).
        tensors: fitted values by name, see `initial`; None: the unfitted ones.

    Raises:
        ValueError: no ``up`` layer has that input width, or a tensor is missing or of another
            shape (the first is named).
    """

    def __init__(
        self,
        generator: MobileStyleGAN,
        resolution: int,
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.generator = generator
        self.resolution = resolution
        layers = generator.layout.layers
        starts = [
            i
            for i, layer in enumerate(layers)
            if layer.resolution == resolution and layer.name.endswith("up")
        ]
        if not starts:
            raise ValueError(f"no block of {generator.name} starts at {resolution} px")
        self.start = starts[0]
        initial = self.initial()
        tensors = initial if tensors is None else tensors
        for name, tensor in initial.items():
            if name not in tensors:
                raise ValueError(f"the {resolution} px read-out lacks {name}")
            if tensors[name].shape != tensor.shape:
                raise ValueError(
                    f"{name} of the {resolution} px read-out is {tuple(tensors[name].shape)}, "
                    f"expected {tuple(tensor.shape)}"
                )
        self.tensors = {k: tensors[k].to(generator.device, generator.dtype) for k in initial}
        self._noise = {
            layer.name: F.adaptive_avg_pool2d(self._weight(f"{layer.name}.noise"), resolution)
            for layer in layers[self.start :]
            if not layer.name.endswith("up") and not layer.to_image
        }

    def _weight(self, name: str) -> torch.Tensor:
        return self.generator.get_buffer(name.replace(".", "/"))

    def initial(self) -> dict[str, torch.Tensor]:
        """What follows from the generator's weights alone.

        ``NAME.gain`` (C,) and ``NAME.bias`` (C_out,) for every convolution from `start` on,
        ``to_img.weight`` (3, C, 1, 1) and ``to_img.bias`` (3,).
        """
        tensors: dict[str, torch.Tensor] = {}
        for layer in self.generator.layout.layers[self.start :]:
            n = layer.name
            if layer.to_image:  # half of LL is the mean of the four pixels
                tensors["to_img.weight"] = self._weight(f"{n}.weight")[:3] / 2
                tensors["to_img.bias"] = self._weight(f"{n}.bias")[:3] / 2
            elif not n.endswith("up"):
                fan_in = layer.channels * 9  # equalised learning rate of a 3x3 convolution
                kernel = self._weight(f"{n}.depthwise")
                tensors[f"{n}.gain"] = kernel.sum((1, 2, 3)) * fan_in**-0.5
                tensors[f"{n}.bias"] = self._weight(f"{n}.bias").clone()
        # to_img shares the scale of a 1x1 convolution
        last = self.generator.layout.layers[-1]
        tensors["to_img.weight"] = tensors["to_img.weight"] * last.channels**-0.5
        return tensors

    def top(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """(B, C, R, R) input of style layer `start` and (B, S) sigma -> (B, 3, R, R) image.

        Only the first quarter of the C channels is read, and need be given.
        """
        layers, slices = self.generator.layout.layers, self.generator.layout.slices
        sigma = sigma.to(x.dtype)
        for layer, part in zip(layers[self.start :], slices[self.start :], strict=True):
            n = layer.name
            style = sigma[:, part]  # [B, C]
            if n.endswith("up"):
                c = layer.channels // 4
                x = x[:, :c] * (style[:, :c, None, None] / 2)
                continue
            if layer.to_image:
                x = x * style[:, :, None, None]
                image = F.conv2d(x, self.tensors["to_img.weight"], self.tensors["to_img.bias"])
                return image.float()
            x = x * (style * self.tensors[f"{n}.gain"])[:, :, None, None]
            x = F.conv2d(x, self._weight(f"{n}.weight"), self.tensors[f"{n}.bias"])
            x += self._noise[n]
            x = F.leaky_relu(x, SLOPE, inplace=True)
        raise AssertionError("the layout has no to-image layer")

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        """(B, S) sigma -> (B, 3, R, R) image, about [-1, 1]; differentiable."""
        x = None
        for activation in self.generator.activations(sigma, self.resolution):
            x = activation.input
            if activation.layer == self.start - 1:
                break
        assert x is not None
        low = self.generator.layout.layers[self.start].channels // 4  # LL is all that counts
        x = self.generator.apply_layer(self.start - 1, x, sigma.to(x.dtype), low)
        return self.top(x, sigma)


def fit_readout(
    generator: MobileStyleGAN,
    resolution: int,
    samples: Iterable[tuple[torch.Tensor, torch.Tensor]],
    steps: int = 300,
    rate: float = 0.01,
) -> ReadOut:
    """Fits gains and biases by Adam on the mean square error over rendered faces.

    Args:
        generator: see `ReadOut`.
        resolution: see `ReadOut`.
        samples: pairs of W code (1, 512) and its render scaled to (1, 3, R, R); kept in memory
            as half-precision activations (4 MB a face at 64 px, 8 MB at 128 px).
        steps: of Adam, one face each, with a cosine-decayed rate.
        rate: relative to each tensor's standard deviation.
    """
    readout = ReadOut(generator, resolution)
    faces: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    with torch.no_grad():
        for w, image in samples:
            sigma = generator.sigma(w)
            for activation in generator.activations(sigma, resolution):
                x = activation.input
            faces.append((x.half(), sigma, image))
    for tensor in readout.tensors.values():
        tensor.requires_grad_()
    optimiser = torch.optim.Adam(
        [{"params": [t], "lr": rate * t.detach().std().item()} for t in readout.tensors.values()],
        betas=(0.9, 0.99),
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x, sigma, image = faces[int(torch.randint(len(faces), (1,), generator=rng))]
        loss = (readout.top(x.float(), sigma) - image).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    for tensor in readout.tensors.values():
        tensor.requires_grad_(False)
    return readout
