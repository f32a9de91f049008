"""The loop of style: two looks -> both generators draw -> the discriminators' step, the embedding's, the generators'."""

import functools
from pathlib import Path

from torch import Tensor, nn

from generative.adversarial.losses import l1_loss, least_squares_discriminator_loss, least_squares_generator_loss
from generative.adversarial.player import held
from generative.adversarial.train import play
from generative.style.batches import StyleBatch
from generative.style.config import StyleConfig
from generative.style.history import draw_exchange
from generative.style.losses import similarity_loss
from generative.style.networks import Drawn
from generative.style.setup import Setup, set_up
from reid.checkpoint import State


def train(config: StyleConfig, out: Path, *, resume: bool = False) -> State:
    """Learn the target's look and leave checkpoints, metrics and TensorBoard logs in the folder `out`.

    Every process of a run calls it alike. resume: go on from the last checkpoint in `out`, exactly as if it had never
    stopped. Returns the state at the end. Raises ValueError and FileNotFoundError for a configuration, data or a checkpoint
    that do not go together, and ValueError for a loss that is no number; KeyboardInterrupt, after writing a checkpoint, when
    interrupted.
    """
    run = set_up(config, out, resume=resume)
    batches = run.batches.since(run.state.epoch, run.state.step)
    return play(run, batches, functools.partial(update, run))


def update(run: Setup, batch: StyleBatch, step: int) -> dict[str, Tensor]:
    """Step 0, 1, ... of the run: all players' steps, and the generator's into its average. Returns the losses by name."""
    with run.accelerator.autocast():
        drawn = run.generators.network(batch.source, batch.target)
    detached = Drawn(*(pictures.detach() for pictures in drawn))
    losses = update_discriminators(run, batch, detached, step)
    if run.config.losses.contrastive_weight:
        losses |= update_embedding(run, batch, detached)
    losses |= update_generators(run, batch, drawn)
    run.players.follow(run.config.optimise.decay(step))
    return losses


def update_discriminators(run: Setup, batch: StyleBatch, drawn: Drawn, step: int) -> dict[str, Tensor]:
    """Tell pictures of each look from what is drawn, or was drawn earlier, in it. drawn: without gradient."""
    restyled, brought, size = drawn.restyled, drawn.brought, run.config.history
    if size:
        exchange = draw_exchange(size, run.config.optimise.batch_size, run.config.seed, step)
        restyled, brought = (
            history.exchange(new, exchange)
            for history, new in ((run.players.restyled, restyled), (run.players.brought, brought))
        )
    with run.accelerator.autocast():
        scores = run.discriminators.network(batch.target, restyled, batch.source, brought)
    losses = {
        "discriminator": least_squares_discriminator_loss(*scores[:2]),
        "source_discriminator": least_squares_discriminator_loss(*scores[2:]),
    }
    run.discriminators.step(sum(losses.values()))
    return losses


def update_embedding(run: Setup, batch: StyleBatch, drawn: Drawn) -> dict[str, Tensor]:
    """Learn who is still who. drawn: without gradient."""
    loss = _similarity(run, run.embedding.network, batch, drawn)
    run.embedding.step(loss)
    return {"embedding": loss}


def update_generators(run: Setup, batch: StyleBatch, drawn: Drawn) -> dict[str, Tensor]:
    """Descend L_sp of Deng et al. 2018, sec. 3.3. drawn: with the generators' graph."""
    weights = run.config.losses
    with run.accelerator.autocast(), held(run.players.discriminators) as discriminators:
        of_restyled, of_brought = discriminators.of_target(drawn.restyled), discriminators.of_source(drawn.brought)
    losses = {
        "adversarial": least_squares_generator_loss(of_restyled),
        "source_adversarial": least_squares_generator_loss(of_brought),
        "cycle": weights.cycle_weight
        * (l1_loss(drawn.source_again, batch.source) + l1_loss(drawn.target_again, batch.target)),
        "same": weights.identity_weight
        * (l1_loss(drawn.source_same, batch.source) + l1_loss(drawn.target_same, batch.target)),
    }
    if weights.contrastive_weight:
        with held(run.players.embedding) as embedding:
            losses["similarity"] = weights.contrastive_weight * _similarity(run, embedding, batch, drawn)
    run.generators.step(sum(losses.values()))
    return losses


def _similarity(run: Setup, embedding: nn.Module, batch: StyleBatch, drawn: Drawn) -> Tensor:
    """The similarity-preserving loss of a batch."""
    with run.accelerator.autocast():
        embedded = embedding(batch.source, batch.target, drawn.restyled, drawn.brought)
    return similarity_loss(*embedded, run.config.losses.margin)
