"""The settings of Pose-transferrable reID (Liu et al. 2018), as whole configurations."""

from reid.augment import AugmentConfig
from reid.config import TrainConfig
from reid.fit import InputConfig
from reid.losses import LossConfig, PerOrigin
from reid.models.backbone import BackboneConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.optimise import OptimiseConfig
from reid.sampler import SamplerConfig

DISTRUST = PerOrigin(real=0.0, rendered=0.0, generated=0.4)
"""Smoothing of Pose-transferrable reID, sec. 4.2."""
FLIP_ONLY = AugmentConfig(pad=0, flip=0.5, erase=0.0)


def pose_resnet_ce() -> TrainConfig:
    """R-CE of Pose-transferrable reID (sec. 4.2): ResNet-50, cross-entropy, rate 0.001, a tenth after 30 epochs.

    Length (40), batch (32) and weight decay (5e-4) are not given there.
    """
    return _pose_transfer(
        GlobalPoolConfig(pooling="average", embedding_dim=None),
        losses=LossConfig(triplet_weight=0.0, smoothing=DISTRUST),
        sampler=SamplerConfig(batch_size=32, images_per_identity=None),
        optimise=_pose_transfer_sgd(learning_rate=1e-3, epochs=40, milestones=(30,)),
    )


def pose_densenet_ce() -> TrainConfig:
    """D-CE of Pose-transferrable reID (sec. 4.2): DenseNet-169, cross-entropy, rate 0.01, a tenth after 25 epochs.

    Length (35), batch (32) and weight decay (5e-4) are not given there.
    """
    return _pose_transfer(
        GlobalPoolConfig(backbone=BackboneConfig(name="densenet169"), pooling="average", embedding_dim=None),
        losses=LossConfig(triplet_weight=0.0, smoothing=DISTRUST),
        sampler=SamplerConfig(batch_size=32, images_per_identity=None),
        optimise=_pose_transfer_sgd(learning_rate=1e-2, epochs=35, milestones=(25,)),
    )


def pose_densenet_triplet() -> TrainConfig:
    """D-Tri of Pose-transferrable reID (sec. 3.3 and 4.2): DenseNet-169, triplets of margin 1, 0.5 with generated images.

    Batch 128, of 32 x 4 (not given there); rate 0.001; length (300 epochs) and weight decay (5e-4) are not given there.
    """
    return _pose_transfer(
        GlobalPoolConfig(backbone=BackboneConfig(name="densenet169"), pooling="average", embedding_dim=None),
        losses=LossConfig(identity_weight=0.0, margin=PerOrigin(real=1.0, rendered=1.0, generated=0.5)),
        sampler=SamplerConfig(batch_size=128, images_per_identity=4),
        optimise=_pose_transfer_sgd(learning_rate=1e-3, epochs=300, milestones=()),
    )


def _pose_transfer_sgd(*, learning_rate: float, epochs: int, milestones: tuple[float, ...]) -> OptimiseConfig:
    return OptimiseConfig(
        optimiser="sgd",
        epochs=epochs,
        learning_rate=learning_rate,
        momentum=0.9,
        weight_decay=5e-4,
        warmup_epochs=0,
        milestones=milestones,
        gamma=0.1,
    )


def _pose_transfer(
    model: GlobalPoolConfig, *, losses: LossConfig, sampler: SamplerConfig, optimise: OptimiseConfig
) -> TrainConfig:
    """Pose-transferrable reID, sec. 4.2: 256 x 256, cropped to 224 x 224 at random or, in testing, in the middle.

    The average over a map of stride 16 is not given there, nor is dropout built for R-CE, which may have had it.
    """
    return TrainConfig(
        model=model,
        losses=losses,
        input=InputConfig(height=224, width=224, resize=(256, 256)),
        sampler=sampler,
        augment=FLIP_ONLY,
        optimise=optimise,
    )
