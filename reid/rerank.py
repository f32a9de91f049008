"""Re-rank a gallery by k-reciprocal neighbours (Zhong et al., "Re-ranking person re-identification with k-reciprocal
encoding", CVPR 2017), with sparse rows in place of the paper's (N, N) matrices."""

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from reid.distances import Metric, check_dimensions, nearest_columns, squared_distances
from reid.embeddings import Embeddings, merge_queries
from reid.kernel import kernel, share_out
from reid.ranking import RankingConfig, Scores, rank_distances


def rerank(
    query: Embeddings,
    gallery: Embeddings,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    metric: Metric = "euclidean",
    max_memory_mib: int = 512,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Distances of queries to the gallery that know their neighbours: (Q, G) float32, 0..1.

    (1 - lambda_) Jaccard distance + lambda_ original distance (eq. 12). Original is the squared distance, squared once
    more and divided by the row's largest, as in the authors' code, which squares what it is given, and in the toolboxes
    that give it squared Euclidean distances. All N = Q + G images are each other's neighbours, identities and cameras are
    not looked at: take junk out first. The nearest of an image is always itself; equally near ones come in the order
    query, gallery.

    k1: neighbours that are looked at for being reciprocal; k2: those whose encodings are averaged, 1 for none, itself
    among them. Memory is max_memory_mib for distances, the result, and some hundred numbers for each image.
    Raises ValueError for k1 >= N, k2 > k1 + 1, k1 or k2 < 1, lambda_ outside 0..1, and as `squared_distances` does.
    """
    num = len(query) + len(gallery)
    if not (1 <= k1 < num and 1 <= k2 <= k1 + 1):
        raise ValueError(
            f"needs k1 in 1..{num - 1}, as there are {num} images, and k2 in 1..k1 + 1, got k1 {k1} and k2 {k2}"
        )
    if not 0 <= lambda_ <= 1:
        raise ValueError(f"lambda_ must lie in 0..1, got {lambda_}")
    check_dimensions(query, gallery)
    images = _joined(query, gallery)
    result = np.empty((len(query), len(gallery)), dtype=np.float32)
    neighbours, largest = np.empty((num, k1 + 1), dtype=np.int64), np.empty(num, dtype=np.float32)
    blocks = squared_distances(
        images, images, metric=metric, max_memory_mib=max_memory_mib, device=device, bytes_each=24
    )
    for start, block in blocks:
        rows = slice(start, start + len(block))
        largest[rows] = block.max(dim=1).values.cpu().numpy()
        result[rows] = block[: max(0, len(query) - start), len(query) :].cpu().numpy()
        neighbours[rows] = _neighbours(start, block, k1 + 1).cpu().numpy()
    largest = np.maximum(largest, np.finfo(np.float32).tiny)
    encoding = _encoding(_comparable(images.vectors, metric), neighbours, largest, k2)
    result /= largest[: len(query), None]
    _mix(result, encoding[: len(query)].tocsr(), encoding[len(query) :].T.tocsr(), lambda_)
    return result


def _joined(query: Embeddings, gallery: Embeddings) -> Embeddings:
    names = ("vectors", "identities", "camera_ids", "keys")
    return Embeddings(**{name: np.concatenate((getattr(query, name), getattr(gallery, name))) for name in names})


def _comparable(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """Vectors whose squared Euclidean distances are those of `squared_distances`."""
    return vectors if metric == "euclidean" else vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _neighbours(start: int, block: Tensor, num: int) -> Tensor:
    """block (B, N) squared distances of the images from `start` on, which is written to -> (B, num) int64, nearest first."""
    block.clamp_(min=0).add_(0.0)
    rows = torch.arange(len(block), device=block.device)
    block[rows, start + rows] = -1.0  # also where another image has the same embedding
    return nearest_columns(block, num)[1]


def _encoding(vectors: np.ndarray, neighbours: np.ndarray, largest: np.ndarray, k2: int) -> sparse.csr_array:
    """(N, N) float32, rows of sum 1: how much each image counts among the k-reciprocal neighbours of each (eq. 3-7, 11).

    neighbours (N, k1 + 1) int64, nearest first; largest (N,): the squared distance that rows are divided by.
    """
    k1 = neighbours.shape[1] - 1
    reciprocal, half = _reciprocal(neighbours, k1), _reciprocal(neighbours, round(k1 / 2))
    # A neighbour brings its own when more than two thirds of these are neighbours already (eq. 4).
    shared = reciprocal.multiply(reciprocal @ half.T).tocsr()
    shared.data = (3 * shared.data > 2 * half.sum(axis=1)[shared.indices]).astype(np.int32)
    members = (reciprocal + shared @ half).tocsr()
    members.eliminate_zeros()
    weights = np.empty(members.nnz, dtype=np.float32)
    share_out(
        lambda start, stop: _weigh(vectors, members.indptr, members.indices, largest, weights, start, stop),
        len(vectors),
    )
    encoding = sparse.csr_array((weights, members.indices, members.indptr), shape=members.shape)
    if k2 == 1:
        return encoding
    return (_rows_of(neighbours[:, :k2], np.float32(1 / k2)) @ encoding).tocsr()


def _reciprocal(neighbours: np.ndarray, k: int) -> sparse.csr_array:
    """(N, N) int32: 1 where two images are among each other's k nearest, and for each with itself (eq. 3)."""
    nearest = _rows_of(neighbours[:, : k + 1], np.int32(1))
    return nearest.multiply(nearest.T).tocsr()


def _rows_of(columns: np.ndarray, value: np.generic) -> sparse.csr_array:
    """(N, N) with `value` in the columns (N, k) of each row."""
    num, k = columns.shape
    values = np.full(columns.size, value)
    return sparse.csr_array((values, columns.reshape(-1), np.arange(num + 1) * k), shape=(num, num))


@kernel(fastmath={"reassoc", "contract"})
def _weigh(vectors, indptr, indices, largest, weights, start, stop):
    """exp(-original distance) of every member of rows start..stop, divided by their sum (eq. 7)."""
    num_dimensions = vectors.shape[1]
    for i in range(start, stop):
        total = np.float32(0)
        for at in range(indptr[i], indptr[i + 1]):
            j = indices[at]
            squared = np.float32(0)
            for k in range(num_dimensions):
                squared += (vectors[i, k] - vectors[j, k]) ** 2
            weights[at] = np.exp(-((squared / largest[i]) ** 2))
            total += weights[at]
        for at in range(indptr[i], indptr[i + 1]):
            weights[at] /= total


def _mix(distance: np.ndarray, query: sparse.csr_array, gallery: sparse.csr_array, lambda_: float) -> None:
    """Turn normalised squared distances (Q, G), in place, into final ones (eq. 10, 12).

    query (Q, N): encodings; gallery (N, G): encodings, transposed: of every image, the gallery images that know it.
    """
    lists = (query.indptr, query.indices, query.data, gallery.indptr, gallery.indices, gallery.data)
    share_out(lambda start, stop: _mix_rows(distance, *lists, np.float32(lambda_), start, stop), len(distance))


@kernel
def _mix_rows(
    distance, query_start, query_image, query_weight, image_start, gallery_row, gallery_weight, lambda_, start, stop
):
    num_gallery = distance.shape[1]
    shared = np.empty(num_gallery, dtype=np.float32)
    for i in range(start, stop):
        shared[:] = 0
        for at in range(query_start[i], query_start[i + 1]):
            image, weight = query_image[at], query_weight[at]
            for other in range(image_start[image], image_start[image + 1]):
                shared[gallery_row[other]] += min(weight, gallery_weight[other])
        for j in range(num_gallery):
            # Weights of a row sum to 1, so that the larger ones of two rows sum to 2 - the smaller ones.
            jaccard = np.float32(1) - shared[j] / (np.float32(2) - shared[j])
            distance[i, j] = lambda_ * distance[i, j] ** 2 + (np.float32(1) - lambda_) * jaccard


def rank_reranked(
    query: Embeddings, gallery: Embeddings, config: RankingConfig | None = None, *, device: torch.device | str = "cpu"
) -> Scores:
    """`ranking.rank` by the distances that `rerank` gives, without junk, which must not be anybody's neighbour."""
    config = config or RankingConfig()
    query = merge_queries(query) if config.multi_query else query
    query, gallery = query.without_junk(), gallery.without_junk()
    distance = rerank(query, gallery, metric=config.metric, max_memory_mib=config.max_memory_mib, device=device)
    return rank_distances(distance, query, gallery, replace(config, multi_query=False))
