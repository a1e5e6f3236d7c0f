"""Trains the encoder: generated faces first, then real photos beside them.

    python -m train.train_encoder faces --count 14000        # pictures and their codes
    python -m train.train_encoder pretrain --steps 1600      # codes from pictures
    python -m train.train_encoder photos faces/train --name celeba
    python -m train.train_encoder adapt --steps 1000         # photos, through the read-out
    python -m train.train_encoder export --from adapt        # data/models/assets/encoder-...

Every step keeps what it has under --folder (out/encoder) and goes on from there when it is run
again. With a GPU, `pretrain` and `adapt` use it, and `pretrain` makes faces on the fly.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ris.data.models.asset_files import asset_path, load_tensors
from ris.data.models.feature_networks import load_efficientnet, load_faceres
from ris.data.models.shipped import load_generator
from ris.generators.mobilestylegan import MobileStyleGAN
from ris.generators.readout import ReadOut, fit_readout
from ris.images import from_bytes
from ris.ingest.inversion.encoder_inverter import pack, unpack
from ris.ingest.inversion.optimisation import OptimisationInverter, load_inverter
from ris.ingest.sources.sources import find_photos
from ris.memory import keep_freed_memory
from ris.networks import EfficientNetLiteTrunk
from ris.networks.encoder import EncoderNet
from train.encoder_training.augment import LIGHT, augment, vary
from train.encoder_training.generated_faces import (
    Renderer,
    chunk_path,
    draw_codes,
    make_chunk,
    openvino_renderer,
    read_chunk,
    torch_renderer,
)
from train.encoder_training.loop import Schedule, Terms, Trainer
from train.encoder_training.losses import CodeLoss, PhotoLoss, PhotoLossConfig
from train.encoder_training.probe import LandmarkProbe, fit_probe
from train.encoder_training.training_photos import (
    Photos,
    gather,
    load_photos,
    mirror_order,
    mirrored,
)

CHUNK = 256  # faces in one file
FIRST_SEED = 10_000
HELD_OUT = 9_000  # seed of faces that are never trained on
CHUNKS_AT_ONCE = 6  # read and shuffled together
PROBE_PHOTOS = 4000
READOUT_FACES = 50
CODE_WEIGHT = 2.0  # of generated faces beside photos
LOSS_WEIGHTS = [f.name for f in dataclasses.fields(PhotoLossConfig) if f.name != "blocks"]
Job = TypeVar("Job")


class Pairs(NamedTuple):
    """Pictures (B, 3, 128, 128) in [-1, 1] and the codes (B, L, 512) they were made from."""

    images: torch.Tensor
    w: torch.Tensor


class Mixed(NamedTuple):
    """Photos, altered and as they are, with what is known of them, and generated pairs."""

    altered: torch.Tensor
    photos: torch.Tensor
    landmarks: torch.Tensor
    pairs: Pairs
    resolution: int


def cached_pairs(folder: Path, batch: int) -> Iterator[Pairs]:
    """Batches of the faces kept under `folder`, for ever; files made meanwhile are seen."""
    while True:
        files = [p for p in folder.glob("codes-*.safetensors") if p != chunk_path(folder, HELD_OUT)]
        if not files:
            sys.exit(f"no faces in {folder}: run the `faces` step first")
        random.shuffle(files)
        for first in range(0, len(files), CHUNKS_AT_ONCE):
            codes, images = zip(
                *map(read_chunk, files[first : first + CHUNKS_AT_ONCE]), strict=True
            )
            w, pixels = torch.cat(codes), torch.cat(images)
            order = torch.randperm(len(w))
            for part in torch.split(order, batch):
                if len(part) == batch:
                    yield Pairs(from_bytes(pixels[part]), w[part].float())


def made_pairs(generator: MobileStyleGAN, render: Renderer, batch: int) -> Iterator[Pairs]:
    """Batches of faces made on the spot, for ever."""
    while True:
        w = draw_codes(generator, batch, random.getrandbits(40)).to(generator.device)
        yield Pairs(render(w).clamp(-1, 1), w)


class Workshop:
    """What all steps share."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, Path(args.folder)
        self.device = torch.device(args.device)
        random.seed(args.seed)
        torch.manual_seed(args.seed)
        generator = load_generator()
        assert isinstance(generator, MobileStyleGAN)
        self.generator = generator.to(self.device)
        self.inverter: OptimisationInverter = load_inverter(self.generator)
        self.pspace = self.inverter.pspace.to(self.device)
        self.rng = torch.Generator().manual_seed(args.seed)

    def new_net(self) -> EncoderNet:
        """Untrained but for the trunk."""
        weights = load_efficientnet().trunk_tensors()
        return EncoderNet(EfficientNetLiteTrunk(weights, trainable=True)).to(self.device)

    def pairs(self, batch: int) -> Iterator[Pairs]:
        """Generated faces: made on a GPU, read from files on a CPU."""
        if self.device.type == "cpu":
            return cached_pairs(self.folder / "faces", batch)
        render = torch_renderer(self.generator, self.inverter.readout)
        return made_pairs(self.generator, render, batch)

    def trainer(
        self,
        name: str,
        schedule: Schedule,
        loss: Callable[[EncoderNet, Job], Terms],
        start: Path | None = None,
    ) -> Trainer[EncoderNet, Job]:
        """A trainer that goes on where it was, or starts from the averaged weights of another
        (.pt) or from an encoder's file."""
        net = self.new_net()
        if start is not None and start.suffix == ".pt":
            state = torch.load(start, weights_only=True, map_location=self.device)
            net.load_state_dict(state["averaged"])
        elif start is not None:
            net = unpack(*load_tensors(start), train=True).to(self.device)
        return Trainer(net, schedule, loss, self.folder / f"{name}.pt", self.args.threads)

    def code_loss(self) -> Callable[[EncoderNet, Pairs], Terms]:
        """Loss of generated faces."""
        distance = CodeLoss(self.generator, self.pspace)

        def loss(net: EncoderNet, pairs: Pairs) -> Terms:
            v, d = net(pairs.images.contiguous(memory_format=torch.channels_last))
            codes, styles = distance(v, d, pairs.w)
            return {"codes": codes, "styles": styles, "deviation": 0.02 * d.square().mean()}

        return loss

    def small_readout(self) -> dict[str, torch.Tensor]:
        """Tensors of the 64 px read-out, fitted on first need."""
        path = self.folder / "readout-64.safetensors"
        if not path.exists():
            w = draw_codes(self.generator, READOUT_FACES, HELD_OUT + 1)[:, 0]
            with torch.no_grad():
                pairs = [
                    (code[None], F.adaptive_avg_pool2d(self._render(code[None]), 64)) for code in w
                ]
            fitted = fit_readout(self.generator, 64, pairs, steps=400)
            save_file({k: t.contiguous() for k, t in fitted.tensors.items()}, path)
        return load_file(path)

    def _render(self, w: torch.Tensor) -> torch.Tensor:
        return self.generator.render(self.generator.sigma(w.to(self.device)))

    def probe(self, photos: Photos) -> LandmarkProbe:
        """The landmark probe, fitted on first need."""
        path = self.folder / "probe.safetensors"
        if not path.exists():
            rng = torch.Generator().manual_seed(0)
            some = torch.randperm(len(photos.images), generator=rng)[:PROBE_PHOTOS]
            backbone = self.inverter.backbone.cpu()
            save_file(fit_probe(backbone, photos.images[some], photos.landmarks[some]), path)
        return LandmarkProbe({k: t.to(self.device) for k, t in load_file(path).items()})

    def photo_loss(self, photos: Photos, weights: Mapping[str, Any]) -> PhotoLoss:
        """Loss of photos, some of its weights changed; the read-outs compute in bfloat16."""
        generator = self.generator.cast(torch.bfloat16)
        config = self.inverter.config
        return PhotoLoss(
            readouts={
                128: ReadOut(generator, 128, self.inverter.readout.tensors),
                64: ReadOut(generator, 64, self.small_readout()),
            },
            pspace=self.pspace,
            probe=self.probe(photos),
            backbone=self.inverter.backbone.to(self.device),
            std=dict(zip(config.blocks, self.inverter.feature_stds(), strict=True)),
            identity=load_faceres().to(self.device),
            config=dataclasses.replace(PhotoLossConfig(), **weights),
        )


def make_faces(shop: Workshop) -> None:
    """Step ``faces``."""
    generator = shop.generator
    folder, count = shop.folder / "faces", shop.args.count
    readout = shop.inverter.readout
    try:
        render = openvino_renderer(generator, readout, shop.args.threads)
    except ImportError:
        render = torch_renderer(generator, readout)
    made = make_chunk(folder, generator, render, CHUNK, HELD_OUT)
    for k in range(-(-count // CHUNK)):
        made = make_chunk(folder, generator, render, CHUNK, FIRST_SEED + k)
        if made:
            print(f"{min((k + 1) * CHUNK, count)} faces", flush=True)


def take_photos(shop: Workshop) -> None:
    """Step ``photos``."""
    paths = list(find_photos(shop.args.photos))[shop.args.first :: shop.args.every]
    for seen, faces in gather(paths, shop.folder / "photos", shop.args.name):
        print(f"{seen} of {len(paths)} photos, {faces} faces", flush=True)


def pretrain(shop: Workshop) -> None:
    """Step ``pretrain``."""
    args = shop.args
    trainer = shop.trainer("pretrain", Schedule(args.steps, args.rate or 1e-3), shop.code_loss())

    def jobs() -> Iterator[list[Pairs]]:
        for pairs in shop.pairs(args.batch or 32):
            altered = Pairs(augment(pairs.images, shop.rng), pairs.w)
            images, w = altered.images.chunk(args.threads), altered.w.chunk(args.threads)
            yield [Pairs(*both) for both in zip(images, w, strict=True)]

    for line in trainer.run(jobs()):
        print(line, flush=True)


def adapt(shop: Workshop) -> None:
    """Step ``adapt``."""
    args = shop.args
    photos = load_photos(shop.folder / "photos", dict(args.weight))
    order = mirror_order(photos.landmarks).to(shop.device)
    of_photos = shop.photo_loss(photos, dict(args.loss))
    distance = CodeLoss(shop.generator, shop.pspace)

    def loss(net: EncoderNet, job: Mixed) -> Terms:
        both = torch.cat([job.altered, job.pairs.images])
        v, d = net(both.contiguous(memory_format=torch.channels_last))
        n = len(job.altered)
        terms = of_photos(v[:n], d[:n], job.photos, job.landmarks, job.resolution)
        codes, styles = distance(v[n:], d[n:], job.pairs.w)
        return terms | {"codes": CODE_WEIGHT * codes, "styles": CODE_WEIGHT * styles}

    schedule = Schedule(args.steps, args.rate or 4e-4, warmup=40, clip=2.0, decay=0.995)
    start = args.start or shop.folder / "pretrain.pt"
    trainer = shop.trainer("adapt", schedule, loss, start)
    size = args.batch or 12

    def jobs() -> Iterator[list[Mixed]]:
        for pairs in shop.pairs(size):
            rows = torch.multinomial(photos.weights, size)
            clean = from_bytes(photos.images[rows].to(shop.device))
            marks = photos.landmarks[rows].to(shop.device).float()
            turned = (torch.rand(size, generator=shop.rng) < 0.5).nonzero()[:, 0].to(shop.device)
            clean[turned], marks[turned] = mirrored(clean[turned], marks[turned], order)
            clean, marks = vary(clean, marks, shop.rng)
            whole = Mixed(
                augment(clean, shop.rng, LIGHT),
                clean,
                marks,
                Pairs(augment(pairs.images, shop.rng), pairs.w),
                random.choice((64, 128)),
            )
            yield list(split(whole, args.threads))

    for line in trainer.run(jobs(), every=25):
        print(line, flush=True)


def split(job: Mixed, parts: int) -> Iterator[Mixed]:
    """A job in as many jobs as there are threads."""
    columns = [t.chunk(parts) for t in (*job[:3], *job.pairs)]
    for altered, photos, landmarks, images, w in zip(*columns, strict=True):
        yield Mixed(altered, photos, landmarks, Pairs(images, w), job.resolution)


def export(shop: Workshop) -> None:
    """Step ``export``: averaged weights in half precision, and what they were made with."""
    state = torch.load(
        shop.folder / f"{shop.args.source}.pt", weights_only=True, map_location="cpu"
    )
    net = shop.new_net().cpu()
    net.load_state_dict(state["averaged"])
    tensors, metadata = pack(net)
    metadata["generator"] = shop.generator.fingerprint
    metadata["training"] = json.dumps({"from": shop.args.source, "steps": state["step"]})
    out = shop.args.out or asset_path(f"encoder-{shop.generator.name}.safetensors")
    save_file(tensors, out, metadata=metadata)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def weight(text: str) -> tuple[str, float]:
    """``NAME=NUMBER``."""
    name, _, number = text.partition("=")
    return name, float(number)


def loss_weight(text: str) -> tuple[str, float]:
    """``TERM=NUMBER``, a number of `PhotoLossConfig`."""
    name, number = weight(text)
    if name not in LOSS_WEIGHTS:
        raise argparse.ArgumentTypeError(f"no such weight: {name}; {', '.join(LOSS_WEIGHTS)}")
    return name, number


def main() -> None:
    """Reads the step and its options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--folder", default="out/encoder", help="where everything is kept")
    shared.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    shared.add_argument("--threads", type=int, default=None, help="jobs at once; 1 on a GPU")
    shared.add_argument("--seed", type=int, default=0)
    shared.add_argument("--batch", type=int, default=None, help="faces a step")
    shared.add_argument("--rate", type=float, default=None, help="highest learning rate")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("faces", parents=[shared], help="render faces to train on (CPU)")
    one.add_argument("--count", type=int, default=14_000)
    one = steps.add_parser("photos", parents=[shared], help="align photos to adapt to")
    one.add_argument("photos", help="folder, list or pattern")
    one.add_argument("--name", required=True, help="what to call these photos")
    one.add_argument("--every", type=int, default=1, help="take every Nth")
    one.add_argument("--first", type=int, default=0, help="from this one on")
    one = steps.add_parser("pretrain", parents=[shared], help="train on generated faces")
    one.add_argument("--steps", type=int, default=1600)
    one = steps.add_parser("adapt", parents=[shared], help="train on photos beside them")
    one.add_argument("--steps", type=int, default=1000)
    one.add_argument("--start", type=Path, default=None, help="pretrain.pt or an encoder's file")
    one.add_argument("--weight", type=weight, action="append", default=[], metavar="NAME=X")
    one.add_argument(
        "--loss",
        type=loss_weight,
        action="append",
        default=[],
        metavar="TERM=X",
        help=f"another weight of the loss: {', '.join(LOSS_WEIGHTS)}",
    )
    one = steps.add_parser("export", parents=[shared], help="write the encoder's file")
    one.add_argument("--from", dest="source", choices=["pretrain", "adapt"], default="adapt")
    one.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.threads is None:
        args.threads = torch.get_num_threads() if args.device == "cpu" else 1
    run = {
        "faces": make_faces,
        "photos": take_photos,
        "pretrain": pretrain,
        "adapt": adapt,
        "export": export,
    }
    if args.device != "cpu":
        torch.set_float32_matmul_precision("high")
    run[args.step](Workshop(args))


if __name__ == "__main__":
    keep_freed_memory()
    main()
