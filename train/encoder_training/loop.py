"""The training loop's machinery: schedule, averaged weights, threads, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch

from ris.networks.attribute_classifier import AttributeNet
from ris.networks.encoder import EncoderNet

Net = TypeVar("Net", bound=EncoderNet | AttributeNet)
Job = TypeVar("Job")
Terms = dict[str, torch.Tensor]
FROZEN = ("_conv_stem", "_blocks/0/", "_blocks/1/", "_blocks/2/")
"""Tensors of the trunk that are not trained: edges and blobs are the same everywhere, and the
finest maps cost the most to go back through."""
SECONDS_BETWEEN_SAVES = 60.0


@dataclass(frozen=True)
class Schedule:
    """Steps and rates of AdamW; the rate rises linearly, then falls as a cosine.

    Attributes:
        steps: of the whole training.
        rate: the highest, for the layers above the trunk.
        trunk: the trunk's rate relative to it.
        warmup: steps of rising.
        floor: last rate relative to the highest.
        clip: largest norm of a gradient.
        decay: of the averaged weights, a step.
    """

    steps: int
    rate: float = 1e-3
    trunk: float = 0.3
    warmup: int = 100
    floor: float = 0.03
    clip: float = 1.0
    decay: float = 0.998

    def at(self, step: int) -> float:
        """Rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup)
        fall = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * rise * (self.floor + (1 - self.floor) * fall)


class Trainer(Generic[Net, Job]):
    """Trains a network with an image trunk; batches are split over threads, one torch thread each.

    Eager training of a small network on a CPU is mostly waiting: threads that share one
    operation wait for each other thousands of times a step, threads that share a step once.

    Args:
        net: the network; changed in place.
        schedule: steps and rates.
        loss: terms of a job, to be summed; called on several threads at once.
        checkpoint: file that the state is kept in; read if it is there.
        threads: jobs at once.
    """

    def __init__(
        self,
        net: Net,
        schedule: Schedule,
        loss: Callable[[Net, Job], Terms],
        checkpoint: Path,
        threads: int,
    ) -> None:
        self.net, self.schedule, self.loss, self.checkpoint = net, schedule, loss, checkpoint
        for name, parameter in net.trunk.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN))
        trunk = [p for p in net.trunk.parameters() if p.requires_grad]
        inside = {id(p) for p in net.trunk.parameters()}
        head = [p for p in net.parameters() if id(p) not in inside]
        self._parameters = trunk + head
        self._optimiser = torch.optim.AdamW(
            [{"params": trunk, "share": schedule.trunk}, {"params": head, "share": 1.0}],
            betas=(0.9, 0.98),
            weight_decay=0.02,
        )
        self.averaged = copy.deepcopy(net)
        self.step = 0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True, map_location=self._device)
            net.load_state_dict(state["net"])
            self.averaged.load_state_dict(state["averaged"])
            self._optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    @property
    def _device(self) -> torch.device:
        return self._parameters[0].device

    def _gradients(self, job: Job) -> tuple[Sequence[torch.Tensor], Terms]:
        terms = self.loss(self.net, job)
        total = torch.stack(list(terms.values())).sum()
        gradients = torch.autograd.grad(total, self._parameters)
        return gradients, {name: term.detach() for name, term in terms.items()}

    def update(self, jobs: Sequence[Job]) -> list[Terms]:
        """One step on the mean of some jobs; returns their terms."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.schedule.at(self.step) * group["share"]
        found = list(self._pool.map(self._gradients, jobs))
        for parameter, parts in zip(
            self._parameters, zip(*(g for g, _ in found), strict=True), strict=True
        ):
            parameter.grad = torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]
        torch.nn.utils.clip_grad_norm_(self._parameters, self.schedule.clip)
        self._optimiser.step()
        self.step += 1
        with torch.no_grad():
            decay = min(self.schedule.decay, self.step / (self.step + 9))
            for slow, fast in zip(self.averaged.parameters(), self.net.parameters(), strict=True):
                if fast.requires_grad:
                    slow.lerp_(fast, 1 - decay)
        return [terms for _, terms in found]

    def save(self) -> None:
        """Keeps the state, in one rename."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def run(self, batches: Iterable[Sequence[Job]], every: int = 50) -> Iterator[str]:
        """Trains to the schedule's last step.

        Args:
            batches: jobs of each step, without end.
            every: steps between reports; the state is kept at the end and with the first report
                a minute after it last was.

        Yields:
            a line of text a report: the step, seconds a step, the mean of every term.
        """
        begin, first = time.perf_counter(), self.step
        kept = begin
        sums: dict[str, list[torch.Tensor]] = defaultdict(list)
        for jobs in batches:
            if self.step >= self.schedule.steps:
                break
            for terms in self.update(jobs):
                for name, value in terms.items():
                    sums[name].append(value)
            if self.step % every == 0 or self.step == self.schedule.steps:
                now = time.perf_counter()
                if now - kept > SECONDS_BETWEEN_SAVES or self.step == self.schedule.steps:
                    self.save()
                    kept = time.perf_counter()
                seconds = (now - begin) / (self.step - first)
                means = " ".join(
                    f"{name} {torch.stack(terms).mean():.4f}"
                    for name, terms in sorted(sums.items())
                )
                yield f"{self.step}/{self.schedule.steps}  {seconds:.2f} s a step  {means}"
                sums.clear()
        else:  # the batches came to an end
            self.save()
