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
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return tensors
    num_processes = torch.distributed.get_world_size()
    if num_processes == 1:
        return tensors
    size = torch.tensor([len(tensors[0])], device=tensors[0].device)
    sizes = torch.cat(_gather(size, num_processes)).tolist()
    if len(set(sizes)) > 1:
        raise ValueError(
            f"all processes need batches of one size, got {', '.join(map(str, sizes))}: leave out the last, smaller "
            "batch of an epoch, or give every process the same number of samples"
        )
    return tuple(torch.cat(_gather(tensor.contiguous(), num_processes)) for tensor in tensors)


def _gather(tensor: Tensor, num_processes: int) -> list[Tensor]:
    if tensor.is_floating_point():
        return list(differentiable.all_gather(tensor))
    parts = [torch.empty_like(tensor) for _ in range(num_processes)]
    torch.distributed.all_gather(parts, tensor)
    return parts
