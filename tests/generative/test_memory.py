"""What a network that is used says of the machine that it runs on."""

import pytest
import torch

from generative.device import in_memory_of


def test_too_little_memory_names_what_takes_less():
    with pytest.raises(ValueError, match="out of memory with 64 pictures at once: give a smaller --batch-size"):
        with in_memory_of(64):
            torch.empty(2**50, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="must match the size"), in_memory_of(64):
        torch.zeros(2) + torch.zeros(3)
