"""A set once more, in the look of another: what a trained generator of style is for. One shard in, one shard out."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import replace as change
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generative.device import Autocast, autocast, autocast_of, in_memory_of, own_device
from generative.rewrite import DecodedSample, check_other_folder, decode_picture, rewrite_shard
from generative.sets import contents_hash
from generative.style.run import StyleRun, load_style
from reid.config import Precision
from reid.fit import resize
from reid.models.texture_decoder import to_pixels
from shards.build import build_set
from shards.codec import MIN_QUALITY, EncodedSample, encode_jpeg, encode_meta
from shards.manifest import Manifest, ShardEntry
from shards.meta import Meta
from shards.remote import manifest_of


def restyle(
    run: StyleRun,
    place: str,
    out: Path,
    *,
    batch_size: int = 64,
    precision: Precision | None = None,
    quality: int = 95,
    num_workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write the set at `place`, folder or URL, to the folder `out`, its pictures in the look that `run` has learned; a run that
    was interrupted goes on.

    Shards, keys, their order, the size of pictures and every other member are those of the source, byte for byte; of `meta.json`
    `origin` becomes "generated", and `generated` and `rendered` change as `restyled_meta` says. precision: by default as the run
    was trained; quality: of JPEG. num_workers: processes, which take the GPUs in turn. The bytes depend on the device's kind, the
    precision and the batch size, not on the number of processes. Raises as `build_set` does, ValueError where the set would be
    written over, and ShardError naming shard and key of a picture that is damaged or smaller than 32 pixels; finished shards stay
    whole.
    """
    if batch_size < 1 or not MIN_QUALITY <= quality <= 100:
        raise ValueError(f"needs batch_size >= 1 and a quality of {MIN_QUALITY}..100, got {batch_size} and {quality}")
    check_other_folder(place, out)
    source = manifest_of(place)
    autocast = autocast_of(precision or run.config.precision)
    maker = RestyleShards(
        folder=run.folder,
        hash=run.hash,
        precision=autocast,
        place=place,
        shards=source.shards,
        batch_size=batch_size,
        quality=quality,
    )
    config = {
        "command": "restyle",
        "checkpoint_sha256": run.hash,
        "source_sha256": contents_hash(source),
        "batch_size": batch_size,
        "quality": quality,
        "precision": autocast,
        "device": own_device().type,
    }
    wanted = Manifest(name=source.name, num_shards=source.num_shards, config=config, licences=source.licences)
    manifest = build_set(out, wanted, maker, num_workers=num_workers, overwrite=overwrite, progress=progress)
    assert manifest is not None  # all shards were asked for
    return manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class RestyleShards:
    """`make_shard` of a restyled set."""

    folder: Path
    """Of the run."""
    hash: str
    """Of its checkpoint."""
    precision: Autocast
    place: str
    """Of the source."""
    shards: tuple[ShardEntry, ...]
    batch_size: int
    quality: int

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        stylist, entry = _stylist(self.folder, self.hash, self.precision), self.shards[index]
        shard = f"{self.place.rstrip('/')}/{entry.name}"
        return rewrite_shard(
            self.place,
            entry,
            decode=functools.partial(decode_picture, size=stylist.size, shard=shard),
            forward=functools.partial(_forward, stylist),
            encode=functools.partial(_encode, self.hash, self.quality),
            batch_size=self.batch_size,
            device=stylist.device,
        )


class Stylist:
    """A generator on its device."""

    def __init__(self, run: StyleRun, precision: Autocast, device: torch.device):
        self.size = run.config.networks.height, run.config.networks.width
        """Height and width of the pictures that it is given and draws."""
        self.device, self._precision = device, precision
        self._generator = run.generator.to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def draw(self, pictures: Tensor) -> Tensor:
        """pictures (B, H, W, 3) uint8, RGB, of its size, on any device -> the same in the other look, on this one's.

        Raises ValueError where the device has not enough memory.
        """
        with in_memory_of(len(pictures)), autocast(self.device, self._precision):
            images = pictures.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
            drawn = self._generator(images)
        return to_pixels(drawn)


@functools.lru_cache(maxsize=1)
def _stylist(folder: Path, hash: str, precision: Autocast) -> Stylist:
    """Loaded once in each process, onto the GPU whose turn it is."""
    run = load_style(folder)
    if run.hash != hash:
        raise ValueError(f"the checkpoint in {folder} changed meanwhile: end its training first, then give --overwrite")
    device = own_device()
    return Stylist(run, precision, device)


def _forward(stylist: Stylist, batch: list[DecodedSample]) -> list[tuple[DecodedSample, np.ndarray]]:
    """Samples, and their pictures of the network's size in the other look."""
    drawn = stylist.draw(torch.from_numpy(np.stack([sample.picture for sample in batch])))
    return list(zip(batch, drawn.cpu().numpy(), strict=True))


def _encode(hash: str, quality: int, drawn: tuple[DecodedSample, np.ndarray]) -> EncodedSample:
    sample, picture = drawn
    meta = restyled_meta(sample.key, sample.meta, hash)
    image = encode_jpeg(changed(sample.image, sample.picture, picture), quality=quality, chroma="420")
    members = {**sample.members, "image.jpg": image, "meta.json": encode_meta(meta)}
    return EncodedSample(key=sample.key, members=members, meta=meta)


def changed(image: np.ndarray, given: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """A picture with what a network has changed in it: image (h, w, 3) as it is stored, given and drawn (H, W, 3) what the network
    was given of it and what it made of that, all uint8, RGB -> (h, w, 3) uint8.

    Where the network sees less of a picture than is stored, the rest stays: its drawing alone would be a blurred one.
    """
    if image.shape == drawn.shape:
        return drawn
    change = resize(drawn.astype(np.float32) - given, image.shape[:2])
    return (image + change).round().clip(0, 255).astype(np.uint8)


def restyled_meta(key: str, meta: Meta, hash: str) -> Meta:
    """What is known of a sample whose picture a generator has drawn anew; hash: of that generator.

    Its origin, which says how far to trust a picture, is "generated", whatever it was: a network drew it, and may have drawn
    something else. Nothing that was known is lost: `generated` has beside the source's key and the hash a dict "source" with the
    origin that it had and what `Meta` requires of that, as "rendered".
    """
    had: dict[str, Any] = {"origin": meta.origin}
    if meta.origin != "real":
        had[meta.origin] = getattr(meta, meta.origin)
    generated = {"source_key": key, "pose_key": None, "model_hash": hash, "source": had}
    return change(meta, origin="generated", rendered=None, generated=generated)
