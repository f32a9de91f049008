"""The batch of all processes, with gradients that find their way back."""

import torch
import torch.distributed
import torch.distributed.nn.functional as differentiable
from torch import Tensor


def gather(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Each tensor (B, ...) of this process as (W * B, ...) of all W processes, in their order; itself where W is 1.

    The gradient of floating point tensors goes back to the process that they came from, summed over all that gathered
    them. All processes call it together. Raises ValueError, in all of them, where B differs between processes.
    """
    if num_processes() == 1:
        return tensors
    size = torch.tensor([len(tensors[0])], device=tensors[0].device)
    sizes = torch.cat(_gather(size)).tolist()
    if len(set(sizes)) > 1:
        raise ValueError(
            f"all processes need batches of one size, got {', '.join(map(str, sizes))}: leave out the last, smaller "
            "batch of an epoch, or give every process the same number of samples"
        )
    return tuple(torch.cat(_gather(tensor.contiguous())) for tensor in tensors)


def total(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient; itself where there is one. All call it together, and none
    waits for its device."""
    if num_processes() == 1:
        return tensor
    tensor = tensor.detach().clone()
    torch.distributed.all_reduce(tensor)
    return tensor


def rank() -> int:
    """Number of this process among them."""
    return 0 if num_processes() == 1 else torch.distributed.get_rank()


def num_processes() -> int:
    """Processes that train together."""
    is_alone = not torch.distributed.is_available() or not torch.distributed.is_initialized()
    return 1 if is_alone else torch.distributed.get_world_size()


def _gather(tensor: Tensor) -> list[Tensor]:
    if tensor.is_floating_point():
        return list(differentiable.all_gather(tensor))
    parts = [torch.empty_like(tensor) for _ in range(num_processes())]
    torch.distributed.all_gather(parts, tensor)
    return parts
