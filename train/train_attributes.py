"""Trains the attribute classifier on labelled photos (CelebA's training set).

    python -m train.train_attributes photos celeba/train --name celeba  # aligned crops
    python -m train.train_attributes train --labels celeba.csv          # the network
    python -m train.train_attributes export --labels celeba.csv         # data/models/assets/...

Every step keeps what it has under --folder (out/attributes) and goes on from there when it is run
again. A tenth of the people are held out: they choose the thresholds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ris.data.models.asset_files import asset_path
from ris.data.models.attribute_file import CLASSIFIER, pack_classifier, unpack_classifier
from ris.data.models.feature_networks import load_efficientnet
from ris.evaluate.attributes import accuracy, auc, share, share_thresholds
from ris.images import from_bytes
from ris.ingest.sources.sources import find_photos
from ris.memory import keep_freed_memory
from ris.networks.attribute_classifier import AttributeConfig, AttributeNet, attribute_logits
from train.encoder_training.augment import Augmentation, augment
from train.encoder_training.loop import Schedule, Terms, Trainer
from train.encoder_training.training_photos import gather
from train.labelled import Labelled, hold_out, load_labelled

HELD_OUT = 0.1
"""Share of the people."""
AUGMENTATION = Augmentation(
    rotation=2.5, scale=0.05, shift=0.02, colour=0.06, blur=0.0, noise=0.1, jpeg=0.1, occlusion=0.15
)
"""What leaves the labels as they are: blur would make Blurry true, much colour another hair."""
FACES_AT_ONCE = 64


def attribute_loss(net: AttributeNet, faces: Labelled) -> Terms:
    """Cross entropy of the known labels, an equal weight for each; images are floats here."""
    logits = net(faces.images.contiguous(memory_format=torch.channels_last))
    known = faces.labels != 0
    found = F.binary_cross_entropy_with_logits(
        logits, (faces.labels > 0).float(), weight=known.float(), reduction="sum"
    )
    return {"labels": found / known.sum().clamp(min=1)}


def batches(
    data: Labelled, size: int, threads: int, device: torch.device, rng: torch.Generator
) -> Iterator[list[Labelled]]:
    """Altered photos, half of them mirrored, for ever; every photo once before any comes again."""
    size = min(size, len(data.images))
    while True:
        for rows in torch.split(torch.randperm(len(data.images), generator=rng), size):
            if len(rows) < size:
                continue
            some = data.rows(rows)
            images = from_bytes(some.images.to(device))
            turned = (torch.rand(len(rows), generator=rng) < 0.5).to(device)
            images = torch.where(turned[:, None, None, None], images.flip(3), images)
            whole = Labelled(
                augment(images, rng, AUGMENTATION), some.labels.to(device), some.people
            )
            parts = (part.chunk(threads) for part in whole)
            yield [Labelled(*job) for job in zip(*parts, strict=True)]


def logits_of(net: AttributeNet, images: torch.Tensor) -> torch.Tensor:
    """(N, 3, 128, 128) uint8 -> (N, A) on the CPU."""
    device = net.bias.device
    parts = [
        attribute_logits(net, from_bytes(x.to(device))).cpu()
        for x in torch.split(images, FACES_AT_ONCE)
    ]
    return torch.cat(parts)


def quality(net: AttributeNet, held: Labelled) -> str:
    """A line on what the network does on photos of people it has not seen."""
    logits, labels = logits_of(net, held.images).numpy(), held.labels.numpy()
    predicted = np.where(logits >= 0, 1, -1)
    return (
        f"held out: mean AUC {np.nanmean(auc(labels, logits)):.4f}, "
        f"accuracy {100 * np.nanmean(accuracy(labels, predicted)):.2f}%"
    )


def take_photos(args: argparse.Namespace) -> None:
    """Step ``photos``."""
    paths = list(find_photos(args.photos))
    for seen, faces in gather(paths, args.folder / "photos", args.name):
        print(f"{seen} of {len(paths)} photos, {faces} faces", flush=True)


def read_data(args: argparse.Namespace) -> tuple[Labelled, Labelled]:
    """Photos to train on, and those held out."""
    config = AttributeConfig()
    data = load_labelled(args.folder / "photos", args.labels, config.attributes, args.identity)
    return hold_out(data, HELD_OUT)


def train(args: argparse.Namespace) -> None:
    """Step ``train``."""
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    data, held = read_data(args)
    net = AttributeNet.untrained(load_efficientnet()).to(device).train()
    schedule = Schedule(args.steps, args.rate, decay=args.decay)
    trainer = Trainer(net, schedule, attribute_loss, args.folder / "train.pt", args.threads)
    rng = torch.Generator().manual_seed(args.seed + trainer.step)
    jobs = batches(data, args.batch, args.threads, device, rng)
    for i, line in enumerate(trainer.run(jobs, every=50), 1):
        print(line, flush=True)
        if i % 8 == 0:
            print(quality(trainer.averaged.eval(), held), flush=True)
    print(quality(trainer.averaged.eval(), held))


def export(args: argparse.Namespace) -> None:
    """Step ``export``: averaged weights in half precision, and thresholds for just these."""
    _, held = read_data(args)
    net = AttributeNet.untrained(load_efficientnet())
    state = torch.load(args.folder / "train.pt", weights_only=True, map_location="cpu")
    net.load_state_dict(state["averaged"])
    rounded = unpack_classifier(*pack_classifier(net, torch.zeros(len(net.config.attributes)))).net
    logits, labels = logits_of(rounded, held.images).numpy(), held.labels.numpy()
    thresholds = share_thresholds(labels, logits)
    tensors, metadata = pack_classifier(rounded, torch.from_numpy(thresholds))
    metadata["training"] = json.dumps({"steps": state["step"], "held_out": len(held.images)})
    out = args.out or asset_path(CLASSIFIER)
    save_file(tensors, out, metadata=metadata)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    for name, cut in (("half a chance", np.zeros_like(thresholds)), ("equal share", thresholds)):
        predicted = np.where(logits >= cut, 1, -1)
        off = np.nanmean(np.abs(share(predicted) - share(labels)))
        print(
            f"threshold by {name}: accuracy {100 * np.nanmean(accuracy(labels, predicted)):.2f}%, "
            f"shares off by {100 * off:.2f} points on average"
        )
    print(quality(rounded, held))


def main() -> None:
    """Reads the step and its options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--folder", type=Path, default=Path("out/attributes"), help="kept there")
    labelled = argparse.ArgumentParser(add_help=False)
    labelled.add_argument("--labels", type=Path, required=True, help="CSV or Parquet table")
    labelled.add_argument("--identity", default="identity", help="column of the people shown")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("photos", parents=[shared], help="align the photos")
    one.add_argument("photos", help="folder, list or pattern")
    one.add_argument("--name", required=True, help="what to call these photos")
    one = steps.add_parser("train", parents=[shared, labelled], help="train the network")
    one.add_argument("--steps", type=int, default=2400)
    one.add_argument("--batch", type=int, default=32, help="faces a step")
    one.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    one.add_argument("--decay", type=float, default=0.995, help="of the averaged weights, a step")
    one.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    one.add_argument("--threads", type=int, default=None, help="jobs at once; 1 on a GPU")
    one.add_argument("--seed", type=int, default=0)
    one = steps.add_parser("export", parents=[shared, labelled], help="write the classifier's file")
    one.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.step == "train" and args.threads is None:
        args.threads = torch.get_num_threads() if args.device == "cpu" else 1
    {"photos": take_photos, "train": train, "export": export}[args.step](args)


if __name__ == "__main__":
    keep_freed_memory()
    main()
