"""The networks that draw people in poses, loaded once in each process."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generative.device import Autocast, autocast, in_memory_of, own_device
from generative.transfer.guider import load_guider
from generative.transfer.run import load_transfer
from generative.transfer.skeleton import draw_skeletons
from reid.checkpoint import which_checkpoint
from shards.build import file_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A network that tells the people apart, to leave out pictures in which it does not see them."""

    folder: Path
    """Run of `python -m reid train`."""
    hash: str
    """SHA-256 of its checkpoint."""
    people: tuple[str, ...]
    """Identities that it is asked about, all among its classes."""
    least: float
    """Probability of the right one for a picture to be kept."""


class Artist:
    """A trained generator, and the filter's network where there is one, on a device."""

    def __init__(self, run: Path, run_hash: str, filter: Filter | None, precision: Autocast, device: torch.device):
        """run_hash: SHA-256 of the run's checkpoint. Raises ValueError where a checkpoint is another by now, else as
        `load_transfer` and `load_guider` do."""
        transfer = load_transfer(run)
        hashes = [(run, transfer.hash, run_hash)]
        if filter is not None:
            hashes.append((filter.folder, file_sha256(which_checkpoint(filter.folder)), filter.hash))
        for folder, found, wanted in hashes:
            if found != wanted:
                raise ValueError(f"the checkpoint in {folder} has changed while it was in use: run the command anew")
        self.size = transfer.config.networks.size
        """Height and width of the pictures that it is given and draws."""
        self.device = device
        self._generator = transfer.generator.to(device, memory_format=torch.channels_last)
        self._precision = precision
        if device.type == "cuda":
            torch.cuda.set_device(device)  # page-locked memory is that of the current one
        self._guider = None if filter is None else load_guider(filter.folder, filter.people).to(device)
        self._classes = {} if filter is None else {name: i for i, name in enumerate(filter.people)}

    @torch.inference_mode()
    def skeletons(self, keypoints: Tensor) -> Tensor:
        """keypoints (B, 17, 3) float32 in pixels of S x S pictures -> (B, 3, S, S) float32 in -1..1."""
        return draw_skeletons(self.to_device(keypoints), (self.size, self.size), self.size).float() / 127.5 - 1

    @torch.inference_mode()
    def draw(self, appearance: Tensor, skeletons: Tensor) -> Tensor:
        """Tell the device to draw people in poses, without waiting for it.

        appearance (R, S, S, 3) uint8, RGB; skeletons (R * N, 3, S, S) as `skeletons` gives them, a person's N together.
        Returns (R * N, 3, S, S) float32 in -1..1. Raises ValueError where the device has not enough memory.
        """
        people = self.to_device(appearance).permute(0, 3, 1, 2).float() / 127.5 - 1
        people = people.repeat_interleave(len(skeletons) // len(people), 0)
        with in_memory_of(len(skeletons)), autocast(self.device, self._precision):
            return self._generator(people, skeletons).float()

    @torch.inference_mode()
    def confidences(self, pictures: Tensor, identities: Sequence[str]) -> Tensor | None:
        """The filter's probability that each picture (B, 3, S, S) shows its person, (B,) float32, the mean over its
        classifiers; None without a filter. Raises ValueError where the device has not enough memory."""
        if self._guider is None:
            return None
        people = torch.tensor([self._classes[identity] for identity in identities])
        classes = self._guider.classes[self.to_device(people)]
        with in_memory_of(len(pictures)):
            chances = torch.stack([logits.softmax(1) for logits in self._guider.logits(pictures)]).mean(0)
        return chances.gather(1, classes[:, None])[:, 0]

    def to_device(self, tensor: Tensor) -> Tensor:
        """Without waiting for the device: from page-locked memory."""
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


@functools.lru_cache(maxsize=1)
def own_artist(run: Path, run_hash: str, filter: Filter | None, precision: Autocast) -> Artist:
    """This process's artist, on its device; errors as of `Artist`."""
    return Artist(run, run_hash, filter, precision, own_device())
