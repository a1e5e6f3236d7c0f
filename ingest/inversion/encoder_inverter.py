"""Real photos to W+ codes in one forward pass of a trained network: the encoder that ships
(`ris.networks.encoder`), or that of a pSp or e4e checkpoint (`ris.networks.psp`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ris.data.models.psp_files import EncoderFile, load_encoder_file
from ris.errors import InputError, MismatchError, ModelFileError
from ris.fingerprints import tensor_digest
from ris.generators import Generator
from ris.generators.pspace import PSpace
from ris.ingest.inversion.contract import Inversion, Progress, check_photos, resize
from ris.ingest.threads import StepCounter, by_groups
from ris.networks.encoder import EncoderConfig, EncoderNet, load_encoder
from ris.networks.psp import SIZE

BATCH = 16
CHECKPOINT_BATCH = 4


class EncoderInverter:
    """Codes by the encoder; on a CPU every photo goes alone through the network, on one thread.

    Args:
        generator: whose codes the encoder gives.
        net: the trained network.
        pspace: whitening of the generator's P space.
        fingerprint: of the weights.

    Raises:
        InputError: the network gives codes of another shape than the generator takes.
    """

    name = "encoder"

    def __init__(
        self, generator: Generator, net: EncoderNet, pspace: PSpace, fingerprint: str
    ) -> None:
        ours = (generator.layout.rows, generator.latent_size)
        if ours != (net.config.rows, net.config.latent):
            raise InputError(
                f"the encoder gives codes of {net.config.rows} x {net.config.latent}, "
                f"{generator.name} takes {ours[0]} x {ours[1]}"
            )
        self.generator, self.net, self.pspace = generator, net, pspace
        self.fingerprint = f"{self.name}-{fingerprint}"
        self.batch = BATCH

    def invert(self, images: torch.Tensor, *, progress: Progress | None = None) -> Inversion:
        """See `ris.ingest.inversion.contract.Inverter`; the error is not measured.

        Raises:
            InputError: images are not (B, 3, S, S).
        """
        check_photos(images)
        rows, width = self.net.config.rows, self.net.config.latent
        if not len(images):
            return Inversion(torch.zeros(0, rows, width), None, 0)
        device = self.generator.device
        counter = StepCounter(len(images), progress)

        @torch.inference_mode()
        def work(part: slice) -> torch.Tensor:
            some = images[part].to(device, torch.float32)
            photos = resize(some, self.net.config.size)
            v, d = self.net(photos.contiguous(memory_format=torch.channels_last))
            w = self.pspace.to_w(v[:, None] + d).cpu()
            counter.step(len(some))
            return w

        return Inversion(torch.cat(by_groups(work, len(images), device, counter)), None, 0)


def pack(net: EncoderNet) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Half-precision tensors and metadata of an encoder's file, what `unpack` takes."""
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in net.tensors().items()}
    return tensors, {"config": json.dumps(dataclasses.asdict(net.config))}


def unpack(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], *, train: bool = False
) -> EncoderNet:
    """The encoder of a file.

    Raises:
        ModelFileError: metadata or tensors do not describe an encoder.
    """
    try:
        sizes = json.loads(metadata["config"])
        sizes["maps"] = tuple(tuple(pair) for pair in sizes["maps"])
        return load_encoder(tensors, EncoderConfig(**sizes), train=train)
    except (KeyError, ValueError, TypeError) as e:
        raise ModelFileError(f"not an encoder of this program: {e}") from e


def load_encoder_inverter(generator: Generator) -> EncoderInverter:
    """The encoder that ships for a generator.

    Raises:
        ModelFileError: there is none for this generator, or its file is damaged.
        MismatchError: it was trained for other weights.
    """
    from ris.data.models.asset_files import asset_path, load_tensors

    path = asset_path(f"encoder-{generator.name}.safetensors")
    if not path.is_file():
        raise ModelFileError(
            f"no encoder ships for the generator {generator.name}",
            "name a pSp or e4e checkpoint with `inverter`, or codes with `latents`",
        )
    tensors, metadata = load_tensors(path)
    if metadata.get("generator") != generator.fingerprint:
        raise MismatchError(
            f"the encoder was trained for generator {metadata.get('generator')}, "
            f"not for {generator.fingerprint}",
            "train one with `python -m train.train_encoder`",
        )
    shared, _ = load_tensors(asset_path(f"inversion-{generator.name}.safetensors"))
    pspace = PSpace(shared["pspace.mean"], shared["pspace.root"]).to(generator.device)
    net = unpack(tensors, metadata).to(generator.device)
    digest = tensor_digest(tensors, before=generator.fingerprint.encode())
    return EncoderInverter(generator, net, pspace, digest)


class CheckpointInverter:
    """Codes by the encoder of a file; photos go through it one by one.

    Args:
        generator: whose codes are wanted.
        file: the encoder and what is added to its codes.

    Raises:
        InputError: the encoder gives codes of another shape than the generator takes.
    """

    def __init__(self, generator: Generator, file: EncoderFile) -> None:
        self.name: str = file.encoder.kind
        config = file.encoder.config
        ours = (generator.layout.rows, generator.latent_size)
        if ours != (config.rows, config.latent):
            raise InputError(
                f"the {self.name} encoder gives codes of {config.rows} x {config.latent}, "
                f"{generator.name} takes {ours[0]} x {ours[1]}",
                "name the encoder's generator with `generator`",
            )
        self.generator = generator
        self.net = file.encoder.to(generator.device)
        average = generator.mean_w() if file.average is None else file.average
        self.average = average.to(generator.device) * float(file.from_average)
        self.batch = CHECKPOINT_BATCH
        self.fingerprint = f"{self.name}-{self._digest()}"

    def _digest(self) -> str:
        before = self.generator.fingerprint.encode() + self.average.cpu().numpy().tobytes()
        return tensor_digest(dict(self.net.named_buffers()), before=before)

    @torch.inference_mode()
    def invert(self, images: torch.Tensor, *, progress: Progress | None = None) -> Inversion:
        """See `ris.ingest.inversion.contract.Inverter`; the error is not measured.

        Raises:
            InputError: images are not (B, 3, S, S).
        """
        check_photos(images)
        rows, width = self.net.config.rows, self.net.config.latent
        codes = [torch.zeros(0, rows, width)]
        for done, image in enumerate(images, 1):
            photo = resize(image[None].to(self.generator.device, torch.float32), SIZE)
            photo = photo.contiguous(memory_format=torch.channels_last)
            codes.append((self.net(photo) + self.average).cpu())
            if progress is not None:
                progress(done, len(images))
        return Inversion(torch.cat(codes), None, 0)


def load_checkpoint_inverter(generator: Generator, path: Path) -> CheckpointInverter:
    """The inverter of a pSp or e4e checkpoint.

    Raises:
        ModelFileError: the file cannot be used.
        InputError: its codes are not the generator's.
    """
    return CheckpointInverter(generator, load_encoder_file(path))
