"""Whole configurations of what `python -m generative train` trains: the published settings of the papers.

What a paper leaves open is filled in with the usual choice, and its line says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from generative.annotators.config import AnnotatorTrainConfig
from generative.annotators.iuv import IuvConfig
from generative.annotators.keypoints import KeypointsConfig
from generative.annotators.parts import PartsConfig
from generative.drawable import MIN_SIDE
from generative.style.config import StyleConfig
from generative.transfer.config import TransferConfig
from reid.augment import AugmentConfig
from reid.fit import InputConfig
from reid.optimise import OptimiseConfig
from reid.presets import san_pg
from reid.sampler import SamplerConfig

SURVEILLANCE = AugmentConfig(
    pad=10, flip=0.5, erase=0.0, rotate=10.0, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05
)
"""Cameras differ most in colour, and see people at an angle."""


def texture() -> AnnotatorTrainConfig:
    """SAN-PG (Jin et al. 2020, sec. 3.1): the texture of the whole body, from rendered pairs. SAN starts from it.

    Its settings are those of `python -m reid train san-pg`, which is the same training.
    """
    config = san_pg()
    kept = {one.name: getattr(config, one.name) for one in fields(config) if one.name in ("model", "losses", "sampler")}
    return AnnotatorTrainConfig(**kept, augment=config.augment, optimise=config.optimise)


def iuv() -> AnnotatorTrainConfig:
    """Surface of the body and place on it (DensePose): ResNet-50, two deconvolutions, 256 x 128. No paper here trains one.

    Adam at 1e-4, batch 32, 30 epochs, cosine.
    """
    return AnnotatorTrainConfig(
        model=IuvConfig(),
        sampler=SamplerConfig(batch_size=32, images_per_identity=None),
        augment=SURVEILLANCE,
        optimise=_adam(epochs=30),
    )


def parts() -> AnnotatorTrainConfig:
    """Seven parts of the body (Huang et al. 2020, sec. IV-B): DANet, SGD at 0.003, times 0.6 after each of 5 epochs, batch 16.

    Scaling by 0.75 to 1.25, rotation by 10 degrees and flip are the paper's, momentum 0.9 and weight decay 1e-4 DANet's.
    Otherwise than there, pictures are stretched to 384 x 192, in place of crops of 256 x 256 from pictures whose shorter side is
    192: cropped is what `pad`, scaling and rotation move out. Colours vary, as rendered people have few cameras.
    """
    return AnnotatorTrainConfig(
        model=PartsConfig(),
        input=InputConfig(height=384, width=192, min_side=MIN_SIDE),
        sampler=SamplerConfig(batch_size=16, images_per_identity=None),
        augment=replace(SURVEILLANCE, pad=24, scale=0.25),
        optimise=OptimiseConfig(
            optimiser="sgd",
            epochs=5,
            learning_rate=0.003,
            weight_decay=1e-4,
            warmup_epochs=0,
            milestones=(1, 2, 3, 4),
            gamma=0.6,
        ),
    )


def keypoints() -> AnnotatorTrainConfig:
    """The 17 keypoints of COCO (Xiao et al. 2018): ResNet-50, two deconvolutions, 256 x 128, Adam at 1e-3, batch 32, 30 epochs.

    The rate falls to a tenth after 20 and 27 epochs, the shares at which theirs does.
    """
    return AnnotatorTrainConfig(
        model=KeypointsConfig(),
        sampler=SamplerConfig(batch_size=32, images_per_identity=None),
        augment=replace(SURVEILLANCE, rotate=30.0),
        optimise=OptimiseConfig(
            optimiser="adam",
            epochs=30,
            learning_rate=1e-3,
            weight_decay=0.0,
            warmup_epochs=0,
            milestones=(20, 27),
        ),
    )


def pose_transfer() -> TransferConfig:
    """A person in another's pose (Liu et al. 2018): 256 x 256, Adam at 2e-4 with betas 0.5 and 0.999, lambda 10, beta 1.

    Pairs of the source of poses never reach the guider, as there; their L1 counts, for their true picture is known, which the
    paper does not say. It leaves open, too: the networks' layers, which are pix2pix's here; Adam's betas, also from there; how
    long and in batches of what size it is trained, 20 epochs of 16 pairs here, beside as many of the source of poses, with a
    rate that falls linearly in the second half; eq. 4's margin, 1 here, that of its guiders' training; flips, of half of the
    pairs here.
    The moving average of the generator's weights (0.999) is not in the paper; R1 and spectral norm are not either, and are off.
    """
    return TransferConfig()


def style() -> StyleConfig:
    """The look of another set (SPGAN, Deng et al. 2018): weights 10, 5 and 2, margin 2, Adam at 2e-4, 5 epochs.

    Published, there or as CycleGAN (Zhu et al. 2017) has it: these; Adam's beta 0.5; generators with 9 residual blocks, patches of
    70 x 70, least squares, a history of 50 pictures, flips; the embedding network's layers. Ours: pictures are 256 x 128, the shape
    of reID crops, in batches of 8, not single ones; generators draw what changes in a picture, not the picture; maps are normalised
    in groups, and grow without transposed convolutions; the rate falls linearly in the second half; the generator's weights are
    averaged (0.999). Spectral norm is ours too, and off.
    """
    return StyleConfig()


def _adam(*, epochs: int) -> OptimiseConfig:
    return OptimiseConfig(
        optimiser="adam", epochs=epochs, learning_rate=1e-4, weight_decay=0.0, warmup_epochs=0, decay="cosine"
    )


PRESETS: Mapping[str, Callable[[], AnnotatorTrainConfig | TransferConfig | StyleConfig]] = {
    "texture": texture,
    "iuv": iuv,
    "parts": parts,
    "keypoints": keypoints,
    "pose-transfer": pose_transfer,
    "style": style,
}
"""Name -> configuration."""
