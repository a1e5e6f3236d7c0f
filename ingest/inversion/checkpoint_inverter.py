"""Photos to W+ codes by a pSp or e4e checkpoint (`ris.networks.psp`)."""

from __future__ import annotations

from pathlib import Path

import torch

from ris.data.models.psp_files import EncoderFile, load_encoder_file
from ris.errors import InputError
from ris.fingerprints import tensor_digest
from ris.generators import Generator
from ris.ingest.inversion.optimisation import Inversion, Progress, check_photos, resize
from ris.networks.psp import SIZE

BATCH = 4


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
                f"{generator.name} takes {ours[0]} x {ours[1]}: name the encoder's generator "
                "with --generator"
            )
        self.generator = generator
        self.net = file.encoder.to(generator.device)
        average = generator.mean_w() if file.average is None else file.average
        self.average = average.to(generator.device) * float(file.from_average)
        self.batch = BATCH
        self.fingerprint = f"{self.name}-{self._digest()}"

    def _digest(self) -> str:
        before = self.generator.fingerprint.encode() + self.average.cpu().numpy().tobytes()
        return tensor_digest(dict(self.net.named_buffers()), before=before)

    @torch.inference_mode()
    def invert(self, images: torch.Tensor, *, progress: Progress | None = None) -> Inversion:
        """See `ris.ingest.inversion.optimisation.Inverter`; the error is not measured.

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
