"""Write one HTML page that shows a Paired-Image-Texture set: its people with every label, its statistics, its licences;
and the people and frames of a set of scenes.

    python scripts/demo_report.py out/demo/pit --scenes out/demo/market --out out/demo/report.html

The page stands alone: pictures inside, no scripts, nothing loaded from elsewhere.
"""

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import simplejpeg
import tyro
from jinja2 import Environment, StrictUndefined

from reid.report.pictures import Picture
from shards.codec import encode_png
from shards.console import main, write_text
from shards.info import set_info
from shards.meta import Meta
from shards.schema import MEMBERS
from shards.semantics import KEYPOINTS, PARTS_7, SURFACE_TO_7, merge, person_mask
from shards.sheet import PART_COLOURS, colour_iuv, draw_skeleton
from shards.table import Table
from shards.verify import verify_set
from shards.writer import atomic_file

TEMPLATE = Path(__file__).with_suffix(".html.jinja")
MAX_PEOPLE = 6
"""People shown with every label, each in an outfit of their own."""
MAX_CROPS = 120
"""Pictures in the grid of all."""
MAX_IDENTITIES, MAX_VIEWS, MAX_FRAMES = 6, 10, 6
"""Of the scenes: people, pictures of each, and whole frames."""
HEADINGS = ("towards the camera", "to the right", "away from the camera", "to the left")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One line of a chart; the shares, 0..1, lie side by side."""

    label: str
    value: str
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """Write one HTML page that shows a Paired-Image-Texture set. Nothing is written for a set that is not whole."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of a set made by `python -m synth pit`."""
    scenes: Path | None = None
    """Folder of a set made by `python -m synth scene --keep-frames`, to be shown too."""
    out: Path = Path("report.html")
    """Page to write."""
    commands: Path | None = None
    """Text file with the commands that made it, one a line."""

    def run(self) -> int:
        """Returns the exit code. Raises ValueError for a set that is damaged or not rendered, OSError."""
        commands = [] if self.commands is None else self.commands.read_text(encoding="utf-8").splitlines()
        for folder in (self.folder, self.scenes):
            if folder is not None and (faults := verify_set(folder).faults):
                raise ValueError(f"{len(faults):,} faults in {folder}, first {faults[0]}")
        network = None if self.scenes is None else show_scenes(self.scenes)
        page = render_page(Table(self.folder), set_info(self.folder), commands, network)
        with atomic_file(self.out) as file:
            file.write(page.encode())
        write_text(f"{self.folder} in {self.out}: {len(page) / 1e6:.1f} MB")
        return 0


def render_page(
    table: Table, info: Mapping[str, Any], commands: Sequence[str], network: Mapping[str, Any] | None = None
) -> str:
    """The page as HTML; `info` is the table's `set_info`, `network` what `show_scenes` gives. Raises ValueError where a
    sample is not rendered."""
    read = [table.read(i, ("meta", "iuv")) for i in range(len(table))]
    metas, iuvs = [r["meta"] for r in read], [r["iuv"] for r in read]
    if wrong := [r["key"] for r in read if r["meta"].rendered is None or r["iuv"] is None]:
        raise ValueError(
            f"the page shows sets made by `python -m synth pit`, got sample {wrong[0]} without render or iuv"
        )
    looks = group_looks(metas)
    people = [samples[k % len(samples)] for k, samples in enumerate(list(looks.values())[:MAX_PEOPLE])]
    one_look = max(looks.values(), key=len)[:10]
    crops = np.linspace(0, len(table) - 1, min(MAX_CROPS, len(table))).astype(int).tolist()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        info=info,
        network=network,
        config=flatten(info["config"]),
        entries=table.manifest.shards,
        members=MEMBERS,
        commands=commands,
        num_looks=len(looks),
        people=[{"key": str(table.keys[i]), "says": describe(metas[i]), "pictures": labels(table, i)} for i in people],
        texture=stored(table, one_look[0], "texture.png", "texture", f"UV texture of sample {table.keys[one_look[0]]}"),
        one_look=[crop(table, i, metas[i]) for i in one_look],
        crops=[crop(table, i, metas[i]) for i in crops],
        legend=[(name, hexadecimal(PART_COLOURS[part])) for part, name in enumerate(PARTS_7) if part],
        activities=count_bars(Counter(m.rendered["activity"] for m in metas)),
        headings=count_bars(Counter(heading(m) for m in metas), HEADINGS),
        parts=part_bars(iuvs),
        visibility=visibility_bars(metas),
        facts=facts(metas, iuvs),
    )


def show_scenes(folder: Path) -> dict[str, Any]:
    """Some people of a set of scenes as all cameras saw them, some of its frames, and its counts."""
    table = Table(folder)
    people = sorted({name for name, split in zip(table.identities, table.splits, strict=True) if split == "query"})
    rows = []
    for identity in people[:MAX_IDENTITIES]:
        views = np.nonzero(table.identities == identity)[0]
        views = views[np.argsort(table.camera_ids[views], kind="stable")]
        views = views[np.linspace(0, len(views) - 1, min(MAX_VIEWS, len(views))).astype(int)]
        pictures = [
            stored(
                table, i, "image.jpg", f"camera {table.camera_ids[i]}", f"{identity} in camera {table.camera_ids[i]}"
            )
            for i in views.tolist()
        ]
        rows.append({"identity": identity, "pictures": pictures})
    kept = sorted((folder / "frames" / "images").glob("*.jpg"))
    frames = []
    for path in [kept[i] for i in np.linspace(0, len(kept) - 1, min(MAX_FRAMES, len(kept))).astype(int).tolist()]:
        height, width = simplejpeg.decode_jpeg_header(path.read_bytes())[:2]
        uri = data_uri(".jpg", path.read_bytes())
        frames.append(Picture(uri=uri, alt=f"Frame {path.stem}", label=path.stem, width=width, height=height))
    splits = Counter(table.splits.tolist())
    return {
        "num": len(table),
        "splits": splits,
        "cameras": len(set(table.camera_ids.tolist())),
        "rows": rows,
        "frames": frames,
    }


def group_looks(metas: Sequence[Meta]) -> dict[Any, list[int]]:
    """Texture number -> the samples that wear it."""
    looks: dict[Any, list[int]] = {}
    for i, meta in enumerate(metas):
        looks.setdefault(meta.rendered["outfit"]["texture"], []).append(i)
    return looks


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested config as one level: `camera.height_m` -> value."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def data_uri(extension: str, data: bytes) -> str:
    """Bytes of a .jpg or .png as a `data:` address."""
    kind = "jpeg" if extension.endswith("jpg") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def stored(table: Table, i: int, extension: str, label: str, alt: str) -> Picture:
    """A member of sample `i`, byte for byte as it lies in the shard."""
    height, width = table.read(i, (extension.split(".")[0],))[extension.split(".")[0]].shape[:2]
    uri = data_uri(extension, table.read_members(i, (extension,))[extension])
    return Picture(uri=uri, alt=alt, label=label, width=width, height=height)


def drawn(array: np.ndarray, label: str, alt: str) -> Picture:
    """array (H, W, 3) uint8, RGB."""
    uri = data_uri("png", encode_png(array, level=9))
    return Picture(uri=uri, alt=alt, label=label, width=array.shape[1], height=array.shape[0])


def crop(table: Table, i: int, meta: Meta) -> Picture:
    """The image of sample `i`."""
    key = str(table.keys[i])
    return stored(table, i, "image.jpg", key, f"Sample {key}: {describe(meta)}")


def labels(table: Table, i: int) -> list[Picture]:
    """Sample `i` with everything that is known of it."""
    sample = table[i]
    key, parts = sample.key, merge(sample.iuv[..., 0], SURFACE_TO_7)
    skeleton = draw_skeleton(sample.image, sample.meta.keypoints)
    return [
        replace(crop(table, i, sample.meta), label="image"),
        stored(table, i, "texture.png", "texture", f"UV texture of sample {key}"),
        drawn(colour_iuv(sample.iuv), "IUV", f"Body surface coordinates of sample {key}"),
        drawn(PART_COLOURS[parts], "parts", f"Seven body parts of sample {key}"),
        drawn(skeleton, "skeleton", f"Sample {key} with its 17 keypoints"),
        stored(table, i, "aligned.jpg", "aligned", f"The person of sample {key} in the fixed frontal pose"),
    ]


def describe(meta: Meta) -> str:
    """What a sample shows: `walk, towards the camera, camera 3.1 m high, 7.2 m away`."""
    height_m, distance_m = camera_place(meta)
    return f"{meta.rendered['activity']}, {heading(meta)}, camera {height_m:.1f} m high, {distance_m:.1f} m away"


def heading(meta: Meta) -> str:
    """Where a person is headed, seen from the camera: one of `HEADINGS`."""
    return HEADINGS[round(meta.rendered["yaw_rad"] / (math.pi / 2)) % 4]


def camera_place(meta: Meta) -> tuple[float, float]:
    """Height of the camera above the ground, and its distance along the ground from the person, metres."""
    world_to_camera = np.array(meta.rendered["world_to_camera"])
    x, y, z = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    return float(y), math.hypot(x, z)


def hexadecimal(colour: np.ndarray) -> str:
    """colour (3,) uint8 as CSS writes it."""
    return "#" + bytes(colour.tolist()).hex()


def count_bars(counts: Mapping[str, int], order: Sequence[str] | None = None) -> list[Bar]:
    """A bar for each name, the longest full; by default the most frequent first."""
    names = sorted(counts, key=lambda name: (-counts[name], name)) if order is None else order
    longest = max(counts.values())
    return [Bar(label=n, value=f"{counts.get(n, 0):,}", shares=(counts.get(n, 0) / longest,)) for n in names]


def part_bars(iuvs: Sequence[np.ndarray]) -> list[Bar]:
    """Share of each of the seven parts in all pixels that show a body."""
    counts = sum(np.bincount(merge(iuv[..., 0], SURFACE_TO_7).ravel(), minlength=len(PARTS_7)) for iuv in iuvs)
    shares = counts[1:] / max(1, counts[1:].sum())
    return [
        Bar(label=name, value=f"{share:.0%}", shares=(share / max(shares.max(), 1e-9),))
        for name, share in zip(PARTS_7[1:], shares.tolist(), strict=True)
    ]


def visibility_bars(metas: Sequence[Meta]) -> list[Bar]:
    """For each keypoint the shares seen, hidden and outside the picture."""
    visibility = np.array([[point[2] for point in meta.keypoints] for meta in metas])
    bars = []
    for name, column in zip(KEYPOINTS, visibility.T, strict=True):
        seen, hidden, outside = (float((column == v).mean()) for v in (2, 1, 0))
        bars.append(Bar(label=name, value=f"{seen:.0%} seen, {hidden:.0%} hidden", shares=(seen, hidden, outside)))
    return bars


def facts(metas: Sequence[Meta], iuvs: Sequence[np.ndarray]) -> dict[str, str]:
    """What the labels say about the set as a whole, in words."""
    heights_m, distances_m = np.array([camera_place(meta) for meta in metas]).T
    masks = [person_mask(iuv) for iuv in iuvs]
    filled = np.array([mask.any(1).mean() for mask in masks])
    carrying = sum(bool((mask & (iuv[..., 0] == 0)).any()) for mask, iuv in zip(masks, iuvs, strict=True))
    return {
        "Camera height": f"{heights_m.min():.1f} to {heights_m.max():.1f} m, median {np.median(heights_m):.1f} m",
        "Distance": f"{distances_m.min():.1f} to {distances_m.max():.1f} m, median {np.median(distances_m):.1f} m",
        "Person in the picture": f"{np.median(filled):.0%} of its height, {np.mean(masks):.0%} of its pixels",
        "With a bag, backpack or cap in sight": f"{carrying:,} of {len(metas):,}",
    }


if __name__ == "__main__":
    main(lambda: tyro.cli(DemoReport, prog="python scripts/demo_report.py").run())
