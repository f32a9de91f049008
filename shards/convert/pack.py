"""Real pictures into a set of shards: whatever the layout, one step.

A sample's key is its place in the listing and the picture's name, `00000007_0002_c1s1_000451_03`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shards.build import build_set
from shards.codec import EncodedSample, encode_meta
from shards.convert.layouts import LAYOUTS, LayoutName, Listing
from shards.convert.listing import Picture, ReadMembers
from shards.convert.pictures import QUALITY
from shards.manifest import Manifest
from shards.meta import Meta

_NO_KEY = re.compile("[^A-Za-z0-9_-]")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackShards:
    """`make_shard` of a packed set: pictures [index * samples_per_shard, ...) as they lie in shard `index`."""

    src: Path
    dataset: str
    pictures: tuple[Picture, ...]
    samples_per_shard: int
    read: ReadMembers

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        first = index * self.samples_per_shard
        for i, picture in enumerate(self.pictures[first : first + self.samples_per_shard], start=first):
            meta = Meta(
                origin="real",
                dataset=self.dataset,
                identity=None if picture.identity is None else f"{self.dataset}/{picture.identity}",
                camera_id=picture.camera_id,
                sequence=picture.sequence,
                frame=picture.frame,
                split=picture.split,
                box=picture.box,
            )
            members = {**self.read(self.src, picture), "meta.json": encode_meta(meta)}
            yield EncodedSample(key=sample_key(i, picture.file), members=members, meta=meta)


def sample_key(index: int, file: str) -> str:
    """Key of picture `index` of a listing: unique by the number, and it shows the file's name."""
    name = file.replace("#", "/").rpartition("/")[2].partition(".")[0]
    return f"{index:08d}_{_NO_KEY.sub('-', name)[:70]}"


def pack(
    layout: LayoutName,
    src: Path,
    out: Path,
    listing: Listing,
    *,
    samples_per_shard: int = 1000,
    num_workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Make the set of a listed folder (see `list_pictures`); running again goes on where an earlier run stopped.

    Raises as `build_set` does, and ShardError naming a file that is no whole JPEG or PNG.
    """
    if samples_per_shard < 1:
        raise ValueError(f"samples per shard must be at least 1, got {samples_per_shard}")
    make_shard = PackShards(
        src=src,
        dataset=listing.dataset,
        pictures=listing.pictures,
        samples_per_shard=samples_per_shard,
        read=LAYOUTS[layout].read,
    )
    config = {
        "command": "pack",
        "layout": layout,
        "dataset": listing.dataset,
        "samples_per_shard": samples_per_shard,
        "num_pictures": len(listing.pictures),
        "num_malformed": len(listing.malformed),
        "listing_sha256": listing.digest(),
        "png_quality": QUALITY,
    }
    wanted = Manifest(
        name=listing.dataset,
        num_shards=-(-len(listing.pictures) // samples_per_shard),
        config=config,
        licences=(listing.licence,),
    )
    return build_set(out, wanted, make_shard, num_workers=num_workers, overwrite=overwrite, progress=progress)
