"""People of a set in poses of another: what a trained generator of pose transfer is for.

As many shards of generated pictures as shards show somebody known in the split "train" (Liu et al. 2018, sec. 4.3: two poses
for every picture of the target set).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from generative.device import autocast_of, own_device
from generative.drawable import MIN_JOINTS, MIN_SIDE
from generative.rewrite import check_other_folder
from generative.sets import contents_hash, shard_rows
from generative.transfer.artist import Filter
from generative.transfer.data import rows_to_take_poses_from
from generative.transfer.generate import GenerateShard
from generative.transfer.guider import load_guider
from generative.transfer.pose_bank import PoseBank
from generative.transfer.run import load_transfer
from reid.checkpoint import which_checkpoint
from reid.config import Precision
from reid.dataset import are_known, samples_to_train_on
from shards.build import build_set, file_sha256
from shards.codec import MIN_QUALITY
from shards.manifest import Manifest
from shards.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """What is generated."""

    per_image: int = 2
    """Poses for each picture (Liu et al. 2018, fig. 5)."""
    seed: int = 0
    """Of the poses that are drawn."""
    min_joints: int = MIN_JOINTS
    """Of the 17 joints, those that a pose must know to be drawn."""
    height: int | None = None
    """Of the generated pictures, pixels; None: as the picture of the person has it."""
    width: int | None = None
    """As `height`; both are given, or none."""
    batch_size: int = 32
    """Pictures that the generator draws at a time."""
    precision: Precision = "auto"
    """Mixed precision of the generator; auto: bf16 where the device computes in it."""
    quality: int = 95
    """Of JPEG."""
    min_confidence: float | None = None
    """With a run that filters: the probability that it must give the person, for a generated picture to be kept."""

    def __post_init__(self) -> None:
        if self.per_image < 1 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(
                "needs per_image and batch_size >= 1 and seed >= 0, got "
                f"{self.per_image}, {self.batch_size} and {self.seed}"
            )
        if not 1 <= self.min_joints <= 17:
            raise ValueError(f"min_joints must lie in 1..17, got {self.min_joints}")
        if (self.height is None) != (self.width is None) or min(
            self.height or MIN_SIDE, self.width or MIN_SIDE
        ) < MIN_SIDE:
            raise ValueError(
                f"height and width are given together, {MIN_SIDE} pixels at least, got {self.height} and {self.width}"
            )
        if not MIN_QUALITY <= self.quality <= 100:
            raise ValueError(f"quality must lie in {MIN_QUALITY}..100, got {self.quality}")
        if not 0 <= (self.min_confidence or 0) <= 1:
            raise ValueError(f"min_confidence must lie in 0..1, got {self.min_confidence}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmented:
    """What came of it."""

    manifest: Manifest
    num_images: int
    """Pictures of known people."""
    num_skipped: int
    """Pictures of the split that show nobody known: junk, distractors, people without identity."""
    num_dropped: int
    """Generated pictures that the filter did not keep."""


def augment(
    run: Path,
    data: Table,
    poses: Table,
    out: Path,
    config: GenerateConfig,
    *,
    filter_run: Path | None = None,
    num_workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Augmented:
    """Write the set of generated pictures; running again goes on where an earlier run stopped.

    run: a run of `generative train pose-transfer`; data: known people; poses: a set with keypoints, of whose samples to train on
    the poses are; filter_run: a run of `reid train` that knows these people. Raises as `build_set`, `load_transfer` and
    `load_guider` do; ValueError where nobody is known, and where a set would be written over; ShardError, naming the sample, for
    a picture that is too small.
    """
    for table in (data, poses):
        check_other_folder(str(table.folder), out)
    plan, num_skipped = _plan(run, data, poses, config, filter_run)
    wanted = Manifest(
        name=f"{data.manifest.name}_generated",
        num_shards=len(plan.rows),
        config={
            "command": "augment",
            "data": contents_hash(data.manifest),
            "poses": contents_hash(poses.manifest),
            "model": plan.run_hash,
            "filter": None if plan.filter is None else plan.filter.hash,
            **{name: getattr(config, name) for name in config.__dataclass_fields__},
            "precision": plan.precision,
            "device": own_device().type,
        },
        licences=tuple(dict.fromkeys((*data.manifest.licences, *poses.manifest.licences))),
    )
    manifest = build_set(out, wanted, plan, num_workers=num_workers, overwrite=overwrite, progress=progress)
    num_images = sum(map(len, plan.rows))
    return Augmented(
        manifest=manifest,
        num_images=num_images,
        num_skipped=num_skipped,
        num_dropped=num_images * config.per_image - manifest.num_samples,
    )


def _plan(
    run: Path, data: Table, poses: Table, config: GenerateConfig, filter_run: Path | None
) -> tuple[GenerateShard, int]:
    """What is to be made, and how many samples are passed over. Opens every network, so that what is wrong with one is told before
    any worker starts."""
    rows, num_skipped = known_people(data)
    if (filter_run is None) != (config.min_confidence is None):
        raise ValueError(
            "a filter is a run and the confidence that it must have: give --filter-run and --min-confidence both, or none"
        )
    return GenerateShard(
        run=run,
        run_hash=load_transfer(run).hash,
        data=data,
        rows=rows,
        bank=PoseBank(
            table=poses,
            rows=rows_to_take_poses_from(poses, str(poses.folder)),
            seed=config.seed,
            min_joints=config.min_joints,
        ),
        is_own=contents_hash(data.manifest) == contents_hash(poses.manifest),
        per_image=config.per_image,
        size=None if config.height is None else (config.height, config.width),
        batch_size=config.batch_size,
        precision=autocast_of(config.precision),
        quality=config.quality,
        filter=None if filter_run is None else _filter(filter_run, data.identities[np.concatenate(rows)], config),
    ), num_skipped


def _filter(run: Path, identities: np.ndarray, config: GenerateConfig) -> Filter:
    people = tuple(sorted(set(identities.tolist())))
    load_guider(run, people, remedy="give --filter-run a run that was trained on them, with identity loss")
    return Filter(folder=run, hash=file_sha256(which_checkpoint(run)), people=people, least=config.min_confidence)


def known_people(table: Table) -> tuple[tuple[np.ndarray, ...], int]:
    """Numbers of the samples to train on, in equal parts, as many as shards have any; and how many more of the split show nobody
    known.

    They are those that `reid` trains on: of the split "train", or of no split in sets that have none, and neither junk nor
    distractors. Raises ValueError where there are none.
    """
    known = are_known(table.identities)
    wanted = np.zeros(len(table), bool)
    wanted[samples_to_train_on(table, str(table.folder))] = True
    num_shards = sum(wanted[shard_rows(table.manifest, i)].any() for i in range(table.manifest.num_shards))
    split = table.splits[wanted][0]
    # Equal, for a shard of few pictures may lose all to the filter, and must not be empty.
    parts = np.array_split(np.flatnonzero(wanted), num_shards)
    return tuple(parts), int(((table.splits == split) & ~known).sum())
