"""What players of such games bring down, in float32."""

import torch
from torch import Tensor
from torch.nn import functional


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """-E[log D(y)] - E[log(1 - D(G(x)))], over patches (Goodfellow et al. 2014, eq. 1 with the opposite sign).

    real and generated: logits of D, of any shape. Returns a scalar.
    """
    return functional.softplus(-real.float()).mean() + functional.softplus(generated.float()).mean()


def generator_loss(generated: Tensor) -> Tensor:
    """-E[log D(G(x))], over patches: the form that does not fade where the discriminator wins, in place of E[log(1 - D)], which
    falls and rises with it (Goodfellow et al. 2014, sec. 3).

    generated: logits of D, of any shape. Returns a scalar.
    """
    return functional.softplus(-generated.float()).mean()


def least_squares_discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """(E[(D(y) - 1)^2] + E[D(G(x))^2]) / 2, over patches (Mao et al. 2017, eq. 9).

    real and generated: scores of D, of any shape. Returns a scalar.
    """
    return 0.5 * ((real.float() - 1).square().mean() + generated.float().square().mean())


def least_squares_generator_loss(generated: Tensor) -> Tensor:
    """E[(D(G(x)) - 1)^2], over patches (Zhu et al. 2017, sec. 4). generated: scores of D, of any shape. Returns a scalar."""
    return (generated.float() - 1).square().mean()


def l1_loss(generated: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference over pixels and colours. Both (B, 3, H, W). Returns a scalar."""
    return (generated.float() - target.float()).abs().mean()


def r1_penalty(real_logits: Tensor, target: Tensor) -> Tensor:
    """E[|dD/dy|^2] / 2 at real pictures (Mescheder et al. 2018, eq. 9), D the mean of its patches' logits.

    real_logits: (B, ...) of targets (B, 3, H, W) that have gradients. Returns a scalar that can be differentiated again.
    """
    scores = real_logits.float().flatten(1).mean(dim=1).sum()
    (gradient,) = torch.autograd.grad(scores, target, create_graph=True)
    return 0.5 * gradient.float().square().flatten(1).sum(dim=1).mean()
