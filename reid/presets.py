"""Whole configurations: the published settings of the papers, and one for a laptop.

What a paper leaves open is filled in with the usual choice, and its line says so.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from reid.augment import AugmentConfig
from reid.config import EvaluateConfig, TrainConfig
from reid.fit import InputConfig
from reid.losses import LossConfig, PerOrigin, everywhere
from reid.models.backbone import BackboneConfig, BackboneName
from reid.models.dsa import DsaConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.models.part_head import PartHeadConfig
from reid.models.pcb import PcbConfig
from reid.models.san import SanConfig
from reid.optimise import OptimiseConfig
from reid.pose_presets import DISTRUST, FLIP_ONLY, pose_densenet_ce, pose_densenet_triplet, pose_resnet_ce
from reid.sampler import SamplerConfig

SMOOTHING = PerOrigin(real=0.1, rendered=0.1, generated=0.4)
"""Of labels, where settings have 0.1; of generated pictures as DISTRUST has it."""


def baseline() -> TrainConfig:
    """SAN's and DSA-reID's baseline: ResNet-50, identity and triplet loss (DSA sec. 4.2, table 3 "RE+LS"; SAN sec. 3.2).

    P x K = 16 x 4, margin 0.3, smoothing 0.1, Adam with warm-up to 8e-4, halved every 40 of 320 epochs, counted from the
    start. Weights 0.5 and 1.5 are those of both papers' whole networks; one classifier layer (DSA-reID's own heads have two:
    `model.classifier-layers`) and 10 pixels of padding are not given for the baseline. Neither paper has generated pictures:
    their smoothing, 0.4, is that of Pose-transferrable reID.
    """
    return TrainConfig(
        model=GlobalPoolConfig(pooling="average", embedding_dim=None),
        losses=LossConfig(identity_weight=0.5, triplet_weight=1.5, smoothing=SMOOTHING, margin=everywhere(0.3)),
        sampler=SamplerConfig(batch_size=64, images_per_identity=4),
        augment=AugmentConfig(pad=10, flip=0.5, erase=0.5),
        optimise=OptimiseConfig(
            optimiser="adam",
            epochs=320,
            learning_rate=8e-4,
            weight_decay=5e-4,
            warmup_epochs=20,
            warmup_factor=0.01,
            milestones=tuple(range(40, 320, 40)),
            gamma=0.5,
        ),
    )


def dsa() -> TrainConfig:
    """DSA-reID (Zhang et al. 2019, sec. 4.2): its baseline's settings, two branches, guided by a stream of dense semantics.

    Weights: 0.5 for the identity loss of the picture's own features, 1.5 for the triplet and 1.0 for the identity loss of the
    fused ones. Wants sets with iuv.
    """
    return replace(baseline(), model=DsaConfig())


def dsa_two_branches() -> TrainConfig:
    """DSA-reID's "Baseline (Two branches)" (table 3): the same network and losses without the guiding stream."""
    return replace(dsa(), model=DsaConfig(guide="none"))


def san_pg() -> TrainConfig:
    """SAN-PG (SAN sec. 3.1 and appendix, sec. 5): encoder and decoder learn the textures of rendered pairs, nobody's identity.

    256 x 128, Adam at 1e-4, batch 16, 80 epochs, by which it has converged; random crop, rotation, flip and colour. How much
    of each, the rate's decay (none here), weight decay (0) and Adam's betas (torch's) are not given there.
    """
    return TrainConfig(
        model=SanConfig(constraint_weight=0.0, decoder_rate_factor=1.0),
        losses=LossConfig(identity_weight=0.0, triplet_weight=0.0),
        sampler=SamplerConfig(batch_size=16, images_per_identity=None),
        augment=AugmentConfig(
            pad=10, rotate=10.0, flip=0.5, erase=0.0, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05
        ),
        optimise=OptimiseConfig(optimiser="adam", epochs=80, learning_rate=1e-4, weight_decay=0.0, warmup_epochs=0),
        evaluate=EvaluateConfig(every=0),
    )


def san_basic() -> TrainConfig:
    """SAN-basic (SAN, table 1): `baseline` and a decoder that draws everybody's texture, the L1 loss with weight 1.

    The decoder's rate is 1e-5, with the warm-up and the decay of the encoder's; it wants the weights of `san-pg`.
    """
    return replace(baseline(), model=SanConfig(constraint_weight=0.0))


def san() -> TrainConfig:
    """SAN (sec. 3.2): `san-basic` with triplet reID constraints on f_d1 to f_d3, weight 1, margin 0.3.

    That is "SAN w/ L_TR" of table 1; with `data.pairs`, of which each other batch then is (`data.pairs-ratio` 1 1), the
    whole of it.
    """
    return replace(baseline(), model=SanConfig())


def global_pool(backbone: BackboneName = "resnet50") -> TrainConfig:
    """GlobalPool (Part awareness, sec. IV-C1): max pooling, 512-d embedding, cross-entropy, SGD, 60 epochs, batch 32."""
    return TrainConfig(
        model=GlobalPoolConfig(backbone=BackboneConfig(name=backbone), pooling="max", embedding_dim=512),
        losses=LossConfig(triplet_weight=0.0, smoothing=DISTRUST),
        sampler=SamplerConfig(batch_size=32, images_per_identity=None),
        augment=FLIP_ONLY,
        optimise=_part_awareness_sgd(),
    )


def global_pool_osnet() -> TrainConfig:
    """GlobalPool on OSNet (Part awareness, sec. IV-C1): average pooling, AMSGrad, cosine, 250 epochs, batch 64.

    New layers alone for 10 epochs (in the paper the classifier), so it wants `model.backbone.weights FILE`. Smoothing 0.1,
    which the paper does not number, is that of OSNet's own; weight decay 5e-4 that of the other backbones.
    """
    return TrainConfig(
        model=GlobalPoolConfig(backbone=BackboneConfig(name="osnet"), pooling="average", embedding_dim=512),
        losses=LossConfig(triplet_weight=0.0, smoothing=SMOOTHING),
        sampler=SamplerConfig(batch_size=64, images_per_identity=None),
        augment=AugmentConfig(pad=0, flip=0.5, erase=0.5),
        optimise=OptimiseConfig(
            optimiser="amsgrad",
            epochs=250,
            learning_rate=1.5e-3,
            weight_decay=5e-4,
            warmup_epochs=0,
            decay="cosine",
            head_only_epochs=10,
        ),
    )


def pcb() -> TrainConfig:
    """PCB (Part awareness, sec. IV-C2): six stripes of 256 dimensions, 384 x 128, the rest as GlobalPool."""
    return TrainConfig(
        model=PcbConfig(),
        losses=LossConfig(triplet_weight=0.0, smoothing=DISTRUST),
        input=InputConfig(height=384, width=128),
        sampler=SamplerConfig(batch_size=32, images_per_identity=None),
        augment=FLIP_ONLY,
        optimise=_part_awareness_sgd(),
    )


def mgn() -> TrainConfig:
    """MGN (Part awareness, sec. III-C and IV-C3): 384 x 128, P x K = 16 x 8, margin 0.1, 200 epochs.

    Identity and triplet loss take turns at rates 0.1 and 0.01; warm-up over 20 epochs, from a hundredth (not given there).
    """
    return TrainConfig(
        model=MgnConfig(),
        losses=LossConfig(smoothing=DISTRUST, margin=everywhere(0.1)),
        input=InputConfig(height=384, width=128),
        sampler=SamplerConfig(batch_size=128, images_per_identity=8),
        augment=AugmentConfig(pad=0, flip=0.5, erase=0.5),
        optimise=OptimiseConfig(
            optimiser="sgd",
            epochs=200,
            learning_rate=0.1,
            triplet_learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            warmup_epochs=20,
            warmup_factor=0.01,
            milestones=(140, 180),
            gamma=0.1,
        ),
        evaluate=EvaluateConfig(flip=True),
    )


def part_aware(baseline: Callable[[], TrainConfig]) -> TrainConfig:
    """GlobalPool (gp-r50, gp-mobilenetv2, ...), PCB or MGN with a part head (Part awareness, sec. III): structure c, seven
    parts, weight 1, all else as in the baseline's preset.

    The shards must hold parts or iuv. MGN's head is taught in the turns of both losses, of which the paper does not speak.
    """
    config = baseline()
    return replace(config, model=replace(config.model, part_head=PartHeadConfig()))


def laptop() -> TrainConfig:
    """Of no paper: ResNet-18 at 128 x 64 with a BoT neck, to train on a laptop's CPU from a few hundred pictures on."""
    return TrainConfig(
        model=GlobalPoolConfig(
            backbone=BackboneConfig(name="resnet18"), pooling="average", embedding_dim=None, neck=True
        ),
        losses=LossConfig(smoothing=SMOOTHING, margin=everywhere(0.3)),
        input=InputConfig(height=128, width=64),
        sampler=SamplerConfig(batch_size=32, images_per_identity=4),
        augment=AugmentConfig(pad=5, flip=0.5, erase=0.3),
        optimise=OptimiseConfig(
            optimiser="adam",
            epochs=30,
            learning_rate=7e-4,
            warmup_epochs=2,
            warmup_factor=0.1,
            decay="cosine",
        ),
        evaluate=EvaluateConfig(metric="cosine", every=10),
    )


def _part_awareness_sgd() -> OptimiseConfig:
    """Part awareness, sec. IV-C1: new layers 0.02, the backbone 0.01, both x 0.1 at 25 and 50 of 60 epochs."""
    return OptimiseConfig(
        optimiser="sgd",
        epochs=60,
        learning_rate=0.02,
        backbone_factor=0.5,
        momentum=0.9,
        weight_decay=5e-4,
        warmup_epochs=0,
        milestones=(25, 50),
        gamma=0.1,
    )


PRESETS: Mapping[str, Callable[[], TrainConfig]] = {
    "baseline": baseline,
    "san-pg": san_pg,
    "san-basic": san_basic,
    "san": san,
    "dsa-two-branches": dsa_two_branches,
    "dsa": dsa,
    "gp-r50": global_pool,
    "gp-mobilenetv2": partial(global_pool, "mobilenetv2"),
    "gp-densenet121": partial(global_pool, "densenet121"),
    "gp-osnet": global_pool_osnet,
    "pcb": pcb,
    "mgn": mgn,
    "gp-ps": partial(part_aware, global_pool),
    "gp-ps-mobilenetv2": partial(part_aware, partial(global_pool, "mobilenetv2")),
    "gp-ps-densenet121": partial(part_aware, partial(global_pool, "densenet121")),
    "gp-ps-osnet": partial(part_aware, global_pool_osnet),
    "pcb-ps": partial(part_aware, pcb),
    "mgn-ps": partial(part_aware, mgn),
    "pose-r-ce": pose_resnet_ce,
    "pose-d-ce": pose_densenet_ce,
    "pose-d-tri": pose_densenet_triplet,
    "laptop": laptop,
}
"""Name on the command line -> the configuration."""


def describe(preset: str) -> str:
    """What a preset stands for, and where its settings are from."""
    function = PRESETS[preset]
    return inspect.getdoc(function.func if isinstance(function, partial) else function) or ""
