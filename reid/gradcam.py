"""Where a network looks: Grad-CAM of what makes an embedding like another."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid.models.model import Model


@torch.enable_grad()
def grad_cam(model: Model, images: Tensor, targets: Tensor | None = None) -> Tensor:
    """What speaks, in each place of a model's feature map, for the likeness of an image and its target.

    images (B, 3, H, W) normalised; targets (B, D) embeddings, such as those of the images' right matches. Returns
    (B, h, w) float32, scaled to 0..1 for each image; all 0 where nothing speaks for it.

    The map is relu(sum over channels of alpha A), alpha the mean over places of the gradient of a scalar y by the feature
    map A (Selvaraju et al. 2017, eq. 1-2). Theirs is the logit of a class; the classifiers of people seen in training say
    nothing of others, so y is what a search goes by: the cosine similarity of embedding and target, which is held fixed.
    Without targets y is the embedding's norm, all that it is made of: its similarity to itself has no gradient.

    The feature map is caught by a forward hook on the module of `model` whose output `feature_map` returns, while `embed`
    runs: of a model with several branches it shows the branch that `feature_map` names, and what it adds to the whole
    embedding. Computed in float32; gradients of parameters are left alone. Raises ValueError for a model in training mode
    (images would change each other's embeddings), targets of another shape, and a model whose `embed` does not pass
    through such a module once.
    """
    if model.training:
        raise ValueError("Grad-CAM looks at images one by one: put the model in evaluation mode, model.eval()")
    layer = feature_layer(model, images[:1])
    # Needs no gradient itself, but then the map has one even where all parameters are frozen.
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False), _outputs(layer) as maps:
        embeddings = model.embed(images)
    if len(maps) != 1:
        raise ValueError(
            f"`embed` of {type(model).__name__} must pass once through its feature map, got {len(maps)} times"
        )
    if targets is None:
        likeness = embeddings.norm(dim=1)
    elif targets.shape == embeddings.shape:
        likeness = functional.cosine_similarity(embeddings, targets.detach(), dim=1)
    else:
        raise ValueError(f"targets must be {tuple(embeddings.shape)} like the embeddings, got {tuple(targets.shape)}")
    # Images do not see each other, so the gradient of the sum is each one's own.
    (gradient,) = torch.autograd.grad(likeness.sum(), maps)
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    found = (alpha * maps[0].detach()).sum(dim=1).relu()
    return found / found.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)


@torch.no_grad()
def feature_layer(model: Model, images: Tensor) -> nn.Module:
    """The module of `model` whose output `feature_map` returns, the outermost of several. Raises ValueError for a model
    that returns something else."""
    outputs: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, arguments: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((module, output))

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        found = model.feature_map(images)
    finally:
        for handle in handles:
            handle.remove()
    for module, output in reversed(outputs):
        if output is found:
            return module
    raise ValueError(f"`feature_map` of {type(model).__name__} must return what one of its modules gives, as it is")


@contextmanager
def _outputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a module gives while the block runs."""
    found: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, arguments, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()
