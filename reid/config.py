"""What a training run is: the configurations of its stages, and how they are kept in a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, Literal, get_args, get_type_hints

import cattrs
from cattrs.strategies import configure_tagged_union
from cattrs.v import format_exception

from reid.augment import AugmentConfig
from reid.dataset import DataConfig
from reid.distances import Metric
from reid.fit import InputConfig
from reid.losses import LossConfig
from reid.models.build import ReidModelConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.optimise import OptimiseConfig
from reid.sampler import SamplerConfig

Precision = Literal["auto", "no", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """What is scored while training, and how pictures become embeddings whenever the run is used."""

    sets: tuple[str, ...] = ()
    """Folders or URLs to score; by default the training sets that have a query and a gallery."""
    every: int = 10
    """Epochs from one scoring to the next; the last epoch is always scored. 0: never."""
    flip: bool = False
    """Whether an embedding is the sum of the picture's and its mirror image's, each of length 1."""
    metric: Metric = "euclidean"
    """How embeddings are compared."""
    batch_size: int = 256
    """Pictures embedded at once on each device."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.batch_size < 1:
            raise ValueError(
                f"needs evaluate.every >= 0 and evaluate.batch_size >= 1, got {self.every} and {self.batch_size}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that fixes the outcome of a run, but for the folder that it is written to."""

    model: ReidModelConfig = field(default_factory=GlobalPoolConfig)
    """The network."""
    losses: LossConfig = field(default_factory=LossConfig)
    """What it is taught by."""
    data: DataConfig = field(default_factory=DataConfig)
    """The sets it is taught with."""
    input: InputConfig = field(default_factory=InputConfig)
    """The size of pictures."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Which pictures meet in a batch."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What is done to them."""
    optimise: OptimiseConfig = field(default_factory=OptimiseConfig)
    """Optimiser and learning rates."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Scoring on the way."""
    start: str | None = None
    """Folder of a run whose weights this one begins with, in place of pretrained ones: all that have the same names and
    shapes, classifiers where the people are the same, the best checkpoint where there is one."""
    seed: int = 0
    """Of all that is drawn: weights, order, augmentation."""
    precision: Precision = "auto"
    """Mixed precision. auto: fp16 or bf16 as `accelerate launch` was told, else bf16 where the device computes in it."""
    sync_batch_norm: bool = False
    """Batch norm over the batch of all GPUs, in place of each GPU's part of it."""
    compile: bool = False
    """torch.compile: a minute or more at the start, faster steps on GPUs."""
    checkpoint_every: int = 1000
    """Steps from one checkpoint to the next; one is written at the end, too, and when the run is interrupted."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.checkpoint_every < 1:
            raise ValueError(f"needs seed >= 0 and checkpoint_every >= 1, got {self.seed} and {self.checkpoint_every}")
        if not self.model.is_trained_on(self.input.height, self.input.width):
            raise ValueError(
                "model.encoder-skips need pictures of multiples of 16 pixels, got "
                f"{self.input.height} x {self.input.width}"
            )
        per = self.sampler.images_per_identity
        if self.model.needs_triplets(self.losses) and (per is None or per < 2 or self.sampler.batch_size < 2 * per):
            raise ValueError(
                "a triplet needs two pictures of one person and one of another: give sampler.images-per-identity >= 2 and "
                f"sampler.batch-size of at least twice as many, got {per} and {self.sampler.batch_size}; or "
                "losses.triplet-weight 0 (and of SAN model.constraint-weight 0)"
            )
        if self.optimise.triplet_learning_rate is not None and not (
            self.losses.triplet_weight and self.losses.identity_weight
        ):
            raise ValueError("optimise.triplet-learning-rate makes two losses take turns: give both a weight above 0")


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON values; `from_dict` reads it."""
    return _converter(type(config)).unstructure(config)


def from_dict(values: Mapping[str, Any], *, where: str, kind: type[TrainConfig] = TrainConfig) -> TrainConfig:
    """The inverse of `to_dict`, of a configuration of the given kind.

    Raises ValueError naming `where` for a network and for fields that runs of this kind have not.
    """
    refused = f"{where} holds a configuration that this version of lookalike does not read"
    known, name = [one.__name__ for one in get_args(_models(kind))], values.get("model", {}).get("type")
    if name is not None and name not in known:
        wanted = f"one of {', '.join(known)}" if known else f"what {kind.__name__} describes"
        raise ValueError(f"{refused} here: its network is a {name}, not {wanted}")
    if strangers := sorted(values.keys() - {one.name for one in fields(kind)}):
        raise ValueError(f"{refused}: it is of another kind or version, {kind.__name__} has no {', '.join(strangers)}")
    try:
        return _converter(kind).structure(values, kind)
    except (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError, KeyError, TypeError) as error:
        reasons = "; ".join(cattrs.transform_error(error, format_exception=_reason))
        raise ValueError(f"{refused}: {reasons}") from error


def _reason(error: BaseException, kind: type | None) -> str:
    match error:
        case KeyError():
            return f"{error.args[0]} is missing or not known"
        case ValueError():  # a configuration's own words
            return str(error)
    return format_exception(error, kind)


def differences(config: TrainConfig, other: TrainConfig) -> list[str]:
    """`field: value, not value` for every field in which `other` differs from `config`."""
    one, two = _flat(to_dict(config)), _flat(to_dict(other))
    return [
        f"{name}: {json.dumps(two.get(name))}, not {json.dumps(one.get(name))}"
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    ]


def flat(config: TrainConfig) -> dict[str, Any]:
    """Every field by its dotted name."""
    return _flat(to_dict(config))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _converter(kind: type[TrainConfig]) -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    if models := _models(kind):
        configure_tagged_union(models, converter, tag_name="type")
    return converter


def _models(kind: type[TrainConfig]) -> UnionType | None:
    """Configurations of the networks that runs of a kind may have, None where all have the same."""
    return get_type_hints(kind).get("model")
