"""Tiny data sets in the layouts of the real ones, and what each of their pictures is."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from pycocotools import mask as run_length
from scipy.io import savemat

from shards.codec import encode_jpeg, encode_png

HEIGHT, WIDTH = 32, 16

Told = tuple[str, str | None, int | None, int | None, int | None, str | None]
"""What is expected of one picture: end of its key, identity without data set, camera, sequence, frame, split."""


def pixels(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width, 3) uint8, smooth, another for every seed."""
    coarse = np.random.default_rng((3, seed)).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def jpeg(seed: int) -> bytes:
    return encode_jpeg(pixels(seed), quality=90, chroma="420")


def write(root: Path, *names: str) -> None:
    """A picture under each name, in the format that its ending says, no two alike."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = i + 100 * len(name)
        path.write_bytes(encode_png(pixels(seed)) if path.suffix == ".png" else jpeg(seed))


def market1501(root: Path) -> list[Told]:
    write(
        root,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c3s2_000776_01.jpg",
        "bounding_box_train/0007_c2s1_000101_01.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c6s4_000151_02.jpg",
        "bounding_box_test/0001_c2s1_000301_01.jpg",
        "gt_bbox/0001_c1s1_001051_00.jpg",
    )
    (root / "bounding_box_train/Thumbs.db").write_bytes(b"\xd0\xcf")
    (root / "readme.txt").write_text("Market-1501")
    return [
        ("0002_c1s1_000451_03", "0002", 1, 1, 451, "train"),
        ("0002_c3s2_000776_01", "0002", 3, 2, 776, "train"),
        ("0007_c2s1_000101_01", "0007", 2, 1, 101, "train"),
        ("0001_c1s1_001051_00", "0001", 1, 1, 1051, "query"),
        ("-1_c1s1_000401_03", "-1", 1, 1, 401, "gallery"),
        ("0000_c6s4_000151_02", "0", 6, 4, 151, "gallery"),
        ("0001_c2s1_000301_01", "0001", 2, 1, 301, "gallery"),
    ]


def dukemtmcreid(root: Path) -> list[Told]:
    write(
        root,
        "bounding_box_train/0001_c2_f0046182.jpg",
        "query/0005_c1_f0059091.jpg",
        "bounding_box_test/0005_c8_f0059092.jpg",
        "bounding_box_test/7140_c5_f0000001.jpg",
    )
    return [
        ("0001_c2_f0046182", "0001", 2, None, 46182, "train"),
        ("0005_c1_f0059091", "0005", 1, None, 59091, "query"),
        ("0005_c8_f0059092", "0005", 8, None, 59092, "gallery"),
        ("7140_c5_f0000001", "7140", 5, None, 1, "gallery"),
    ]


def cuhk01(root: Path) -> list[Told]:
    write(root, *(f"campus/{person:04d}{number:03d}.png" for person in (1, 2, 3) for number in (1, 2, 3, 4)))
    told = [(f"0001{n:03d}", "0001", (n + 1) // 2, None, n, "train") for n in (1, 2, 3, 4)]
    for person in ("0002", "0003"):
        told += [
            (f"{person}{n:03d}", person, (n + 1) // 2, None, n, "query" if n < 3 else "gallery") for n in (1, 2, 3, 4)
        ]
    return told


CUHK03_NAMES = ("1_001_1_01.png", "1_001_2_06.png", "1_002_1_02.png", "2_001_1_01.png", "2_001_2_10.png")
CUHK03_LABELS = (1, 1, 2, 844, 844)


def cuhk03_pixels(name: str) -> np.ndarray:
    """(H, W, 3) uint8: a picture of the tiny `cuhk-03.mat`, of a size that tells rows from columns."""
    return pixels(int(name[:-4].replace("_", "")), height=30, width=12)


def cuhk03(root: Path, boxes: str) -> list[Told]:
    """`cuhk-03.mat` as MATLAB writes it: cells are arrays of references, and all axes come in reverse."""
    with h5py.File(root / "cuhk-03.mat", "w") as file:
        for kind in ("labeled", "detected"):
            pairs = file.create_dataset(kind, (1, 5), dtype=h5py.ref_dtype)
            for pair in range(5):
                people = file.create_dataset(f"#refs#/{kind}{pair}", (10, 2), dtype=h5py.ref_dtype)
                for name in CUHK03_NAMES if kind == boxes else ():
                    in_pair, person, _, number = map(int, name.removesuffix(".png").split("_"))
                    if in_pair == pair + 1:
                        array = file.create_dataset(f"#refs#/{kind}{name}", data=cuhk03_pixels(name).T)
                        people[number - 1, person - 1] = array.ref
                pairs[0, pair] = people.ref
    filelist = np.empty((len(CUHK03_NAMES), 1), object)
    filelist[:, 0] = CUHK03_NAMES
    protocol = {
        "filelist": filelist,
        "labels": np.array(CUHK03_LABELS, np.float64)[:, None],
        "camId": np.array([int(name.split("_")[2]) for name in CUHK03_NAMES], np.float64)[:, None],
        "train_idx": np.array([[1], [2]], np.uint16),
        "query_idx": np.array([[4]], np.uint16),
        "gallery_idx": np.array([[5], [3]], np.uint16),
    }
    savemat(root / f"cuhk03_new_protocol_config_{boxes}.mat", protocol)
    return [
        ("1_001_1_01", "0001", 1, None, None, "train"),
        ("1_001_2_06", "0001", 2, None, None, "train"),
        ("2_001_1_01", "0844", 1, None, None, "query"),
        ("2_001_2_10", "0844", 2, None, None, "gallery"),
        ("1_002_1_02", "0002", 1, None, None, "gallery"),
    ]


def cuhk03_np(root: Path) -> list[Told]:
    write(
        root,
        "labeled/bounding_box_train/0003_c1_1.png",
        "labeled/bounding_box_train/0003_c2_6.png",
        "labeled/query/0001_c1_1.png",
        "labeled/bounding_box_test/0001_c2_7.png",
        "detected/bounding_box_train/0009_c1_1.png",
    )
    return [
        ("0003_c1_1", "0003", 1, None, None, "train"),
        ("0003_c2_6", "0003", 2, None, None, "train"),
        ("0001_c1_1", "0001", 1, None, None, "query"),
        ("0001_c2_7", "0001", 2, None, None, "gallery"),
    ]


def msmt17(root: Path, train: str = "train", test: str = "test") -> list[Told]:
    lists = {
        "train": (train, ["0000/0000_000_01_0303morning_0015_0.jpg", "0000/0000_001_15_0303noon_0008_1.jpg"]),
        "val": (train, ["0001/0001_002_04_0303afternoon_0100_0.jpg"]),
        "query": (test, ["0000/0000_000_05_0302morning_0491_1.jpg"]),
        "gallery": (test, ["0000/0000_001_14_0302morning_0491_0.jpg", "0002/0002_000_05_0302morning_0491_2.jpg"]),
    }
    for name, (folder, files) in lists.items():
        write(root, *(f"{folder}/{file}" for file in files))
        (root / f"list_{name}.txt").write_text("".join(f"{file} {int(file[:4])}\n" for file in files))
    return [
        ("0000_000_01_0303morning_0015_0", "train-0000", 1, None, None, "train"),
        ("0000_001_15_0303noon_0008_1", "train-0000", 15, None, None, "train"),
        ("0001_002_04_0303afternoon_0100_0", "train-0001", 4, None, None, "train"),
        ("0000_000_05_0302morning_0491_1", "test-0000", 5, None, None, "query"),
        ("0000_001_14_0302morning_0491_0", "test-0000", 14, None, None, "gallery"),
        ("0002_000_05_0302morning_0491_2", "test-0002", 5, None, None, "gallery"),
    ]


MARS_TEST = (
    "00-1C1T0001F001.jpg",
    "0000C2T0001F001.jpg",
    "0002C1T0001F001.jpg",
    "0002C1T0001F002.jpg",
    "0002C1T0002F001.jpg",
    "0002C3T0001F001.jpg",
)
MARS_TRACKS = ((1, 1, -1, 1), (2, 2, 0, 2), (3, 4, 2, 1), (5, 5, 2, 1), (6, 6, 2, 3))


def mars(root: Path) -> list[Told]:
    write(root, "bbox_train/0001/0001C1T0001F001.jpg", "bbox_train/0001/0001C1T0001F002.jpg")
    write(root, *(f"bbox_test/{name[:4]}/{name}" for name in MARS_TEST))
    (root / "info").mkdir()
    (root / "info/test_name.txt").write_text("\n".join(MARS_TEST) + "\n")
    savemat(root / "info/tracks_test_info.mat", {"track_test_info": np.array(MARS_TRACKS, np.int32)})
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[3]], np.uint16)})
    return [
        ("0001C1T0001F001", "0001", 1, 1, 1, "train"),
        ("0001C1T0001F002", "0001", 1, 1, 2, "train"),
        ("00-1C1T0001F001", "-1", 1, 1, 1, "gallery"),
        ("0000C2T0001F001", "0", 2, 1, 1, "gallery"),
        ("0002C1T0001F001", "0002", 1, 1, 1, "query"),
        ("0002C1T0001F002", "0002", 1, 1, 2, "query"),
        ("0002C1T0002F001", "0002", 1, 2, 1, "gallery"),
        ("0002C3T0001F001", "0002", 3, 1, 1, "gallery"),
    ]


def partial_reid(root: Path) -> list[Told]:
    write(
        root,
        "partial_body_images/001_001.jpg",
        "partial_body_images/060_002.jpg",
        "whole_body_images/001_001.jpg",
        "occluded_body_images/001_001.jpg",
    )
    return [
        ("001_001", "0001", 1, None, None, "query"),
        ("060_002", "0060", 1, None, None, "query"),
        ("001_001", "0001", 2, None, None, "gallery"),
    ]


def partial_ilids(root: Path) -> list[Told]:
    write(root, "Probe/001.jpg", "Probe/0.jpg", "Gallery/1_c1_2.jpg", "Gallery/0.jpg")
    return [
        ("0", "0000", 1, None, None, "query"),
        ("001", "0001", 1, None, None, "query"),
        ("0", "0000", 2, None, None, "gallery"),
        ("1_c1_2", "0001", 2, None, None, "gallery"),
    ]


def randperson(root: Path) -> list[Told]:
    write(
        root,
        "images/scene00/camera0_1/000000_s00_c00_f000264.jpg",
        "images/scene00/camera0_1/000007_s00_c01_f001632.jpg",
        "images/scene00/delete_camera0_1/000000_s00_c00_f000265.jpg",
        "images/scene10/camera1_1/000007_s10_c01_f000011.jpg",
        "subset/000008_c02_s03_f000012.jpg",
    )
    (root / "images/scene00/camera0_1_point.txt").write_text("000000_s00_c00_f000264.jpg 0 0")
    return [
        ("000000_s00_c00_f000264", "000000", 0, 0, 264, "train"),
        ("000007_s00_c01_f001632", "000007", 1, 0, 1632, "train"),
        ("000007_s10_c01_f000011", "000007", 10001, 10, 11, "train"),
        ("000008_c02_s03_f000012", "000008", 3002, 3, 12, "train"),
    ]


def unrealperson(root: Path) -> list[Told]:
    write(
        root,
        "unreal_v1.1/images/333_c001_78.jpg",
        "unreal_v3.1/images/333_c001_79.jpg",
        "unreal_v3.2/images/333_c024_80.jpg",
    )
    return [
        ("333_c001_78", "1-333", 1001, 1, 78, "train"),
        ("333_c001_79", "1-333", 3001, 3, 79, "train"),
        ("333_c024_80", "2-333", 3024, 3, 80, "train"),
    ]


def clonedperson(root: Path) -> list[Told]:
    write(
        root,
        "train/700000_s02_c00_f023389.jpg",
        "test/query/705227_s02_c02_f001117.jpg",
        "test/gallery/705227_s12_c02_f002965.jpg",
    )
    return [
        ("700000_s02_c00_f023389", "700000", 2000, 2, 23389, "train"),
        ("705227_s02_c02_f001117", "705227", 2002, 2, 1117, "query"),
        ("705227_s12_c02_f002965", "705227", 12002, 12, 2965, "gallery"),
    ]


def folder(root: Path) -> list[Told]:
    write(root, "0/a.jpg", "Zoë/holiday 1.JPEG", "Zoë/holiday#2.png", "-1/nobody.jpg")
    return [
        ("nobody", "-1", None, None, None, "train"),
        ("a", "0000", None, None, None, "train"),
        ("holiday-1", "Zoë", None, None, None, "train"),
        ("2", "Zoë", None, None, None, "train"),
    ]


DENSEPOSE_BOX = (10.4, 5.0, 20.0, 30.5)


def densepose_masks() -> list[np.ndarray | None]:
    """14 masks (256, 256) bool: torso in the middle, head above it and over its edge, right hand right, left foot below."""
    masks: list[np.ndarray | None] = [None] * 14
    for part, rows, columns in (
        (0, (64, 160), (64, 192)),
        (1, (100, 140), (192, 250)),
        (3, (230, 256), (0, 90)),
        (13, (0, 80), (96, 160)),
    ):
        masks[part] = np.zeros((256, 256), bool)
        masks[part][slice(*rows), slice(*columns)] = True
    return masks


def coco_densepose(root: Path) -> list[Told]:
    encoded = []
    for mask in densepose_masks():
        if mask is None:
            encoded.append([])
        else:
            rle = run_length.encode(np.asfortranarray(mask.astype(np.uint8)))
            encoded.append({"size": rle["size"], "counts": rle["counts"].decode()})
    for year, split, numbers in (("train2014", "train", (9, 4)), ("val2014", "valminusminival", (7,))):
        images, annotations = [], []
        for number in numbers:
            name = f"COCO_{year}_{number:012d}.jpg"
            (root / year).mkdir(parents=True, exist_ok=True)
            (root / year / name).write_bytes(encode_jpeg(pixels(number, 48, 40), quality=95))
            images.append({"id": number, "file_name": name, "height": 48, "width": 40})
            person = {"image_id": number, "category_id": 1, "bbox": list(DENSEPOSE_BOX)}
            annotations += [
                {**person, "id": 100 * number, "dp_masks": encoded},
                {**person, "id": 100 * number + 1},  # most people of COCO have no parts
            ]
        (root / "annotations").mkdir(exist_ok=True)
        values = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
        (root / f"annotations/densepose_coco_2014_{split}.json").write_text(json.dumps(values))
    return [
        ("400", None, None, None, None, "train"),
        ("900", None, None, None, None, "train"),
        ("700", None, None, None, None, None),
    ]


FOLDERS: dict[str, tuple[str, str, Callable[[Path], list[Told]]]] = {
    "market1501": ("market1501", "market1501", market1501),
    "dukemtmcreid": ("dukemtmcreid", "dukemtmcreid", dukemtmcreid),
    "cuhk01": ("cuhk01", "cuhk01", cuhk01),
    "cuhk03 detected": ("cuhk03-detected", "cuhk03", lambda root: cuhk03(root, "detected")),
    "cuhk03 labeled": ("cuhk03-labeled", "cuhk03", lambda root: cuhk03(root, "labeled")),
    "CUHK03-NP": ("cuhk03-labeled", "cuhk03", cuhk03_np),
    "msmt17 v1": ("msmt17", "msmt17", msmt17),
    "msmt17 v2": ("msmt17", "msmt17", lambda root: msmt17(root, "mask_train_v2", "mask_test_v2")),
    "mars": ("mars", "mars", mars),
    "partial-reid": ("partial-reid", "partial-reid", partial_reid),
    "partial-ilids": ("partial-ilids", "partial-ilids", partial_ilids),
    "randperson": ("randperson", "randperson", randperson),
    "unrealperson": ("unrealperson", "unrealperson", unrealperson),
    "clonedperson": ("clonedperson", "clonedperson", clonedperson),
    "folder": ("folder", "friends", folder),
    "coco-densepose": ("coco-densepose", "coco-densepose", coco_densepose),
}
"""Case -> (layout, data set, what makes the folder and says what is in it)."""
