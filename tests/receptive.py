"""What an output pixel sees, measured: which LR pixels change the middle HR pixel."""

import torch
from torch import Tensor, nn


def reach(network: nn.Module, *others: Tensor, scale: int, side: int) -> int:
    """The farthest LR pixel, in rows or columns, that has a gradient of any pixel of the middle one's HR square."""
    lr = torch.rand(1, 3, side, side + 2, dtype=torch.float64, requires_grad=True)
    middle = network(lr, *others)[..., side // 2 * scale : (side // 2 + 1) * scale, :]
    middle = middle[..., (side // 2 + 1) * scale : (side // 2 + 2) * scale]
    seen = torch.zeros(side, side + 2, dtype=torch.bool)
    for value in middle.flatten():
        (gradient,) = torch.autograd.grad(value, lr, retain_graph=True)
        seen |= gradient[0].abs().amax(0) > 0
    rows, columns = seen.nonzero().T
    return int(max((rows - side // 2).abs().max(), (columns - side // 2 - 1).abs().max()))
