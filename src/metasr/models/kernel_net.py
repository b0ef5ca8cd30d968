"""The kernel generator: a small fully connected network whose output is always a blur kernel."""

from __future__ import annotations

from torch import Tensor, nn

from metasr.errors import InputError


class KernelNet(nn.Module):
    """Kernel from noise: linear, ReLU6, linear, softmax over all taps (DDSR's G_k; Double-DIP before it).

    The softmax makes the taps positive and their sum 1; nothing else (centre, symmetry, shape) is asked of them.

    Args:
        size: odd side K of the kernel.
        code: length of the noise.
        hidden: width of the hidden layer.

    Raises:
        InputError: for an even size, or a number below 1.
    """

    def __init__(self, size: int, *, code: int = 200, hidden: int = 1000) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise InputError(f"kernel size must be odd and at least 1, got {size}")
        if min(code, hidden) < 1:
            raise InputError(f"code and hidden must be at least 1, got {code} and {hidden}")
        self.size = size
        self.inner = nn.Linear(code, hidden)
        self.outer = nn.Linear(hidden, size * size)

    def forward(self, code: Tensor) -> Tensor:
        """Make the kernel.

        Args:
            code: ``(code,)``.

        Returns:
            ``(size, size)``, positive, sum 1.
        """
        logits = self.outer(nn.functional.relu6(self.inner(code)))
        return logits.softmax(-1).view(self.size, self.size)
