"""`python -m reid embed RUN DATA`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from reid.checkpoint import Which
from reid.config import Precision
from reid.embeddings import Embeddings, write_embeddings
from reid.evaluate import embed
from reid.pictures import open_pictures
from reid.setup import check_alone, open_run
from shards.console import write_json, write_text


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
        run, accelerator = open_run(self.folder, self.checkpoint, self.precision)
        check_alone(accelerator)
        pictures = open_pictures(self.data, run.config.input, accelerator.device, num_workers=self.workers)
        num = len(pictures.keys)
        vectors = embed(run.model, pictures.loader, num, run.config, accelerator).cpu().numpy()
        _, codes = np.unique(pictures.identities, return_inverse=True)
        embeddings = Embeddings(vectors=vectors, identities=codes, camera_ids=pictures.camera_ids, keys=pictures.keys)
        write_embeddings(self.out, embeddings, pictures.identities.tolist(), splits=pictures.splits.tolist())
        if self.json:
            write_json({"out": str(self.out), "num": num, "dimensions": vectors.shape[1]})
        else:
            write_text(f"{num:,} embeddings of {vectors.shape[1]:,} dimensions in {self.out}")
        return 0
