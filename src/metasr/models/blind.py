"""A blind SR network: an encoder that describes the degradation, and a body that is steered by the description."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from metasr.errors import require_one_of
from metasr.models.conditioned import KernelMaker
from metasr.models.upsampling import check_trained_scale

Init = Literal["torch", "he"]


class BlindSR(nn.Module):
    """What is shipped of MRDA and of KDSR: from the LR image alone, in one forward pass.

    With ``models.den.DegradationEncoder`` and ``models.rdan.RDAN`` it is MRDA's student
    (5,838,713 parameters and 24 constants at x4); with ``models.kdsr.KDSREncoder`` and ``KDSRBody`` KDSR's.
    LR images may have any size from 1×1 up, and none is padded for it. Images of a batch do not see each other.

    The encoder pools over the whole image: to cut an image in tiles, take ``vector`` of all of it once and give
    that to ``body`` with every tile.

    Attributes:
        scale: by which the body enlarges.

    Args:
        encoder: ``(B, 3, h, w)`` to ``(B, V)``.
        body: of (LR, vector), with a ``scale``.
        init: initial weights of the encoder, and of what makes kernels of its vector: ``torch``, the framework's own as
            published, or ``he`` (He et al., 2015). The former makes activations smaller from layer to layer, so that
            at first all images have very nearly the same vector, and after a short schedule they still have.

    Raises:
        InputError: for another way to begin.
    """

    def __init__(self, encoder: nn.Module, body: nn.Module, *, init: Init = "torch") -> None:
        super().__init__()
        require_one_of(init, Init, name="init")
        if init == "he":
            _begin_as_he(encoder)
            for name, part in body.named_modules():
                if isinstance(part, KernelMaker):
                    _begin_as_he(part.kernel)
                elif name == "compress":
                    _begin_as_he(part)
        self.encoder = encoder
        self.body = body
        self.scale = check_trained_scale(body.scale)  # type: ignore[arg-type]

    def vector(self, lr: Tensor) -> Tensor:
        """The degradation vector of each image.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1].

        Returns:
            ``(B, V)``.
        """
        return self.encoder(lr)

    def forward(self, lr: Tensor) -> Tensor:
        """Enlarge.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1], any size.

        Returns:
            ``(B, 3, scale * h, scale * w)``, not clipped.
        """
        return self.body(lr, self.vector(lr))


def _begin_as_he(module: nn.Module) -> None:
    """Draw all weights of a module anew, as suits LeakyReLU of slope 0.1; biases become 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, a=0.1)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
