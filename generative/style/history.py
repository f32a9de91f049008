"""Pictures that a generator drew in earlier steps, so that its discriminator does not forget them (Shrivastava et al. 2017)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from reid.gather import num_processes, rank

_STAGE = 9
"""Sets these draws apart from those of other stages with the same seed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exchange:
    """What becomes of the pictures of a step, over all processes together. On the CPU."""

    places: Tensor
    """(B,) int64 in a history, each another."""
    are_kept: Tensor
    """(B,) bool: new pictures that are kept in their place."""
    are_shown: Tensor
    """(B,) bool: places whose old pictures are shown in place of the new ones."""


def draw_exchange(size: int, batch_size: int, seed: int, step: int) -> Exchange:
    """Of step 0, 1, ... of a run: the first pictures fill a history of `size`; later ones are shown as they are, or with a
    probability of a half are kept in the place of an older one, drawn at random, which is shown in theirs."""
    rng = np.random.default_rng((_STAGE, seed, step))
    num_found = min(size, step * batch_size)
    num_fresh = min(batch_size, size - num_found)
    old = rng.permutation(num_found)[: batch_size - num_fresh]
    places = np.concatenate([np.arange(num_found, num_found + num_fresh), old])
    are_shown = (rng.random(batch_size) < 0.5) & (np.arange(batch_size) >= num_fresh)
    are_kept = are_shown | (np.arange(batch_size) < num_fresh)
    return Exchange(
        places=torch.from_numpy(places), are_kept=torch.from_numpy(are_kept), are_shown=torch.from_numpy(are_shown)
    )


class History(nn.Module):
    """The pictures, which checkpoints keep. They are the same in every process."""

    def __init__(self, size: int, height: int, width: int):
        super().__init__()
        self.register_buffer("pictures", torch.zeros(size, 3, height, width))

    @torch.no_grad()
    def exchange(self, drawn: Tensor, exchange: Exchange) -> Tensor:
        """drawn (B, 3, H, W) float32, of this process -> (B, 3, H, W): in place of some, older ones. All processes call it
        together; none waits for its device."""
        everywhere = _of_all(drawn)
        places, are_kept, are_shown = (
            _to_device(each, drawn.device) for each in (exchange.places, exchange.are_kept, exchange.are_shown)
        )
        old = self.pictures.index_select(0, places)
        self.pictures.index_copy_(0, places, torch.where(are_kept[:, None, None, None], everywhere, old))
        shown = torch.where(are_shown[:, None, None, None], old, everywhere)
        return shown[rank() * len(drawn) : (rank() + 1) * len(drawn)]


def _of_all(drawn: Tensor) -> Tensor:
    """(B, 3, H, W) of this process as (W * B, 3, H, W) of all W, in their order."""
    if num_processes() == 1:
        return drawn
    parts = [torch.empty_like(drawn, memory_format=torch.contiguous_format) for _ in range(num_processes())]
    torch.distributed.all_gather(parts, drawn.contiguous())
    return torch.cat(parts)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting for the device: from page-locked memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
