"""`python -m reid embed RUN DATA`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from reid.checkpoint import Which, load_run
from reid.config import Precision
from reid.dataset import choose_samples
from reid.embeddings import UNKNOWN_CAMERA, Embeddings, write_embeddings
from reid.evaluate import embed
from reid.loader import WorkerLoader
from reid.pictures import PictureLoader, pictures_in
from reid.setup import start_accelerator
from shards.console import write_json, write_text
from shards.manifest import MANIFEST
from shards.remote import is_url
from shards.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Embed:
    """Write the embeddings of all pictures in a folder, or of all samples of a shard set."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m reid train`."""
    data: Annotated[str, tyro.conf.Positional]
    """Folder of pictures of people, each cropped already; or folder or URL of shards."""
    out: Path
    """File to write, .npz or .parquet: embeddings (N, D) and keys; identities, cameras and splits where they are known."""
    workers: int = 2
    """Processes, or threads, that decode."""
    checkpoint: Which | None = None
    """By default the best, where there is one."""
    precision: Precision | None = None
    """By default as the run was trained: auto, no, fp16 or bf16."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        run = load_run(self.folder, self.checkpoint)
        accelerator = start_accelerator(self.precision or run.config.precision)
        model = run.model.to(accelerator.device)
        input, device = run.config.input, accelerator.device
        if is_url(self.data) or (Path(self.data) / MANIFEST).is_file():
            table = Table(self.data)
            samples = choose_samples(table, np.arange(len(table)), input)
            loader = WorkerLoader(samples, device, self.workers)
            keys, names, camera_ids, splits = table.keys, table.identities, table.camera_ids, table.splits
        else:
            paths = pictures_in(Path(self.data))
            loader = PictureLoader(paths, input, device, self.workers)
            keys = np.array([str(path.relative_to(self.data)) for path in paths])
            names = splits = np.full(len(keys), "")
            camera_ids = np.full(len(keys), UNKNOWN_CAMERA)
        vectors = embed(model, loader, len(keys), run.config, accelerator).cpu().numpy()
        _, codes = np.unique(names, return_inverse=True)
        embeddings = Embeddings(vectors=vectors, identities=codes, camera_ids=camera_ids, keys=keys)
        write_embeddings(self.out, embeddings, names.tolist(), splits=splits.tolist())
        if self.json:
            write_json({"out": str(self.out), "num": len(keys), "dimensions": vectors.shape[1]})
        else:
            write_text(f"{len(keys):,} embeddings of {vectors.shape[1]:,} dimensions in {self.out}")
        return 0
