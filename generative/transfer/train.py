"""The loop of two players: pairs -> the discriminator's step -> the generator's step, on the same batch."""

import functools
from pathlib import Path

import torch
from torch import Tensor

from generative.adversarial.losses import discriminator_loss, generator_loss, l1_loss, r1_penalty
from generative.adversarial.player import held
from generative.adversarial.train import play
from generative.transfer.config import TransferConfig
from generative.transfer.losses import guider_cross_entropy, guider_triplet
from generative.transfer.pairs import TransferBatch
from generative.transfer.setup import Setup, set_up
from reid.checkpoint import State


def train(config: TransferConfig, out: Path, *, resume: bool = False) -> State:
    """Train a generator and leave checkpoints, metrics and TensorBoard logs in the folder `out`.

    Every process of a run calls it alike. resume: go on from the last checkpoint in `out`, exactly as if it had never
    stopped. Returns the state at the end. Raises ValueError and FileNotFoundError for a configuration, data, a guider or a
    checkpoint that do not go together, ShardError for a set without keypoints, and ValueError for a loss that is no number;
    KeyboardInterrupt, after writing a checkpoint, when interrupted.
    """
    run = set_up(config, out, resume=resume)
    batches = run.batches.since(run.state.epoch, run.state.step)
    return play(run, batches, functools.partial(update, run))


def update(run: Setup, batch: TransferBatch, step: int) -> dict[str, Tensor]:
    """Step 0, 1, ... of the run: both players' steps, and the generator's into its average. Returns the losses by name."""
    with run.accelerator.autocast():
        generated = run.generator.network(batch.appearance, batch.skeleton)
    losses = update_discriminator(run, batch, generated.detach(), step) | update_generator(run, batch, generated)
    run.players.follow(run.config.optimise.decay(step))
    return losses


def update_discriminator(run: Setup, batch: TransferBatch, generated: Tensor, step: int) -> dict[str, Tensor]:
    """Ascend eq. 1. generated (B, 3, S, S), without gradient."""
    weights = run.config.losses
    triplets = (batch.appearance, batch.appearance), (batch.skeleton, batch.skeleton), (batch.target, generated)
    with run.accelerator.autocast():
        logits = run.discriminator.network(*map(torch.cat, triplets))
    real, fake = logits.chunk(2)
    losses = {"discriminator": discriminator_loss(real, fake)}
    if weights.r1_weight and step % weights.r1_every == 0:  # in float32: it is the square of small numbers
        target = batch.target.clone().requires_grad_()
        penalty = r1_penalty(run.discriminator.network(batch.appearance, batch.skeleton, target), target)
        losses["r1"] = weights.r1_weight * weights.r1_every * penalty
    run.discriminator.step(sum(losses.values()))
    return losses


def update_generator(run: Setup, batch: TransferBatch, generated: Tensor) -> dict[str, Tensor]:
    """Descend eq. 5. generated (B, 3, S, S), with the generator's graph."""
    with run.accelerator.autocast(), held(run.players.discriminator) as discriminator:
        logits = discriminator(batch.appearance, batch.skeleton, generated)
    losses = {
        "adversarial": generator_loss(logits),
        "l1": run.config.losses.l1_weight * l1_loss(generated, batch.target),
    }
    if run.guider is not None:
        losses["guider"] = run.config.losses.guider_weight * guider_loss(run, batch, generated)
    run.generator.step(sum(losses.values()))
    return losses


def guider_loss(run: Setup, batch: TransferBatch, generated: Tensor) -> Tensor:
    """Eq. 3 or 4, of the known people alone: the guider does not see what comes from the source of poses."""
    guider, count = run.guider, len(batch.identities)
    generated, real = generated[:count], batch.target[:count]
    if run.config.guider == "ce":
        with run.accelerator.autocast():
            logits = guider.logits(generated)
        return guider_cross_entropy(logits, guider.classes[batch.identities])
    with run.accelerator.autocast():
        anchors = guider.points(generated)
        with torch.no_grad():
            positives = guider.points(real)
    return guider_triplet(anchors, positives, batch.identities, run.config.losses.margin)
