"""Two processes learn what one learns: the same losses and gradients, as DDP averages them."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from reid.batch import Batch
from reid.constraints import draw_triplets, triplet_constraint
from reid.gather import gather
from reid.losses import LossConfig, PerOrigin, reid_losses

ROOT = Path(__file__).parents[2]


KEYS = "abcdefghijklmnop"
IDENTITIES = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 1, 0, 5, 4, 3, 2, 1, 0])


class TwoFeatures(nn.Module):
    """No batch norm: it would see other batches in two processes than in one."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.hidden, self.other, self.classifier = nn.Linear(12, 9), nn.Linear(12, 4), nn.Linear(9, 6)
        self.maps = nn.Conv2d(3, 5, 1)
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        flat = batch.images.flatten(1)
        embedding = torch.tanh(self.hidden(flat))
        margin = PerOrigin(real=1.0, rendered=1.5, generated=0.5)
        config = LossConfig(triplet_weight=1.5, margin=margin)
        losses = reid_losses(
            batch, config, logits=[self.classifier(embedding)], embeddings=[embedding, self.other(flat)]
        )
        return losses | {"constraint": self.constraint(batch)}

    def constraint(self, batch: Batch) -> torch.Tensor:
        """With lots that are the same for an image, whichever process draws them."""
        maps = self.maps(batch.images)
        all_maps, everybody = gather(maps, batch.identities)
        first = KEYS.index(batch.keys[0])
        lots = torch.rand(16, 16, generator=torch.Generator().manual_seed(2))[first : first + len(maps)]
        with mock.patch.object(torch, "rand", lambda *shape, device: lots):
            triplets = draw_triplets(batch.identities, everybody)
        return triplet_constraint(maps, all_maps, triplets, 8.0)


def part_of_batch(first: int, last: int) -> Batch:
    """Of 16 samples whose positives and negatives lie in both halves."""
    generator = torch.Generator().manual_seed(1)
    chosen = slice(first, last)
    return Batch(
        images=torch.randn(16, 3, 2, 2, generator=generator)[chosen],
        identities=IDENTITIES[chosen],
        origins=torch.randint(3, (16,), generator=generator)[chosen],
        camera_ids=torch.zeros(16, dtype=torch.int64)[chosen],
        flipped=torch.zeros(16, dtype=torch.bool)[chosen],
        keys=tuple(KEYS[chosen]),
    )


def learn(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Losses by name, and gradients by the parameter's name."""
    losses = network(batch)
    sum(loss for loss in losses.values() if loss.requires_grad).backward()
    names = {name.removeprefix("module."): parameter.grad for name, parameter in network.named_parameters()}
    return {name: loss.detach() for name, loss in losses.items()} | names


def work(out: Path, sizes: tuple[int, int]) -> None:
    """What each of two processes does: its part of the batch, and `out`/RANK.pth of what came of it, or of the error."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    first = sum(sizes[:rank])
    network = nn.parallel.DistributedDataParallel(TwoFeatures())
    try:
        result = learn(network, part_of_batch(first, first + sizes[rank]))
    except ValueError as error:
        result = {"error": str(error)}
    torch.save(result, out / f"{rank}.pth")
    torch.distributed.destroy_process_group()


def in_two_processes(out: Path, sizes: tuple[int, int]) -> list[dict]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(out), *map(str, sizes)], env=environment, check=True, capture_output=True, timeout=300
    )
    return [torch.load(out / f"{rank}.pth", weights_only=True) for rank in range(2)]


def test_two_processes_with_half_the_batch_learn_what_one_learns(tmp_path: Path):
    whole = learn(TwoFeatures(), part_of_batch(0, 16))
    halves = in_two_processes(tmp_path, (8, 8))
    assert whole["triplet"] > 0.1 and whole["constraint"] > 0.1
    for name, expected in whole.items():
        if name in ("identity", "constraint"):  # means over samples: each process has that of its own
            torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, expected, rtol=1e-5, atol=1e-5)
        else:
            for half in halves:
                torch.testing.assert_close(
                    half[name], expected, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
                )


def test_batches_of_different_sizes_are_an_error_in_both(tmp_path: Path):
    for result in in_two_processes(tmp_path, (9, 7)):
        assert "all processes need batches of one size, got 9, 7" in result["error"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_one_process_has_it_all(dtype: torch.dtype):
    tensor = torch.arange(6).reshape(3, 2).to(dtype)
    assert gather(tensor)[0] is tensor


if __name__ == "__main__":
    work(Path(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3])))
