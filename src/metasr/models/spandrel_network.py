"""Networks of other programs' files, told from the tensors by spandrel: ESRGAN, RCAN, SwinIR and some forty more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metasr.errors import WeightsError


class SpandrelNetwork(nn.Module):
    """A network that enlarges by itself, as spandrel made it of a file's tensors.

    Images whose sides do not suit it (a least size, a multiple) are padded by spandrel, and the padding is cut away.

    Attributes:
        scale: by which it enlarges.
        architecture: its name: ``RCAN``, ``ESRGAN``.
        looks_at_all: whether it is better not cut into tiles, as spandrel tells.

    Args:
        descriptor: what spandrel loaded: a network of images of one or three colours.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network = descriptor.model
        self.scale = int(descriptor.scale)
        self.architecture = str(descriptor.architecture.name)
        self.looks_at_all = descriptor.tiling.name != "SUPPORTED"
        self._colours = int(descriptor.input_channels)
        self._call = (descriptor,)  # in a tuple: it is no module, and holds the one above

    def forward(self, lr: Tensor) -> Tensor:
        """Enlarge.

        Args:
            lr: ``(1, 3, h, w)`` in [0, 1], any size.

        Returns:
            ``(1, 3, scale * h, scale * w)`` in [0, 1]; without gradients.
        """
        (descriptor,) = self._call
        images = [lr] if self._colours == 3 else lr.split(1, dim=1)
        return torch.cat([descriptor(image.clone()) for image in images], dim=1)  # some change what they are given


def spandrel_network(state: Mapping[str, Tensor], *, origin: str) -> SpandrelNetwork | None:
    """The network that some tensors are of; none where spandrel knows no such network.

    Args:
        state: the tensors, under the names of the program that trained them.
        origin: the file, for messages.

    Raises:
        WeightsError: if spandrel, or the torchvision that it needs, is not to be had; or for a network that is known
            and enlarges no colour image, or whose tensors do not fit together.
    """
    spandrel = _spandrel(origin)
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    try:
        descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(floats)
    except spandrel.UnsupportedModelError:
        return None
    except Exception as error:  # each of forty architectures has its own ways to fail on tensors that do not fit
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"{origin} looks like a network that spandrel knows, but cannot be made one: {reason}; fetch it again"
        ) from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise WeightsError(
            f"{origin} is of {name}, which fills in covered parts and does not enlarge; take another file"
        )
    if descriptor.scale < 2:
        raise WeightsError(f"{origin} is of {name}, which restores images and does not enlarge them; take another file")
    colours = (descriptor.input_channels, descriptor.output_channels)
    if colours not in ((3, 3), (1, 1)):
        raise WeightsError(f"{origin} is of {name} for images of {colours[0]} channels, expected 3 (RGB) or 1 (grey)")
    return SpandrelNetwork(descriptor).eval().requires_grad_(False)


def _spandrel(origin: str) -> Any:
    """The package.

    Raises:
        WeightsError: naming what is missing.
    """
    told = f"{origin} holds the weights of another network than this package has; such are told by spandrel"
    try:
        import spandrel
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch fails with the latter
        missing = getattr(error, "name", None) or ""
        if missing.split(".")[0] == "spandrel":
            raise WeightsError(f"{told}: pip install 'metasr[spandrel]'") from error
        if missing.split(".")[0] == "torchvision" or "torchvision" in str(error):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise WeightsError(
                f"{told}, which needs torchvision, and that cannot be imported here ({reason}); install the "
                f"torchvision that belongs to torch {torch.__version__}, from the index that torch came from"
            ) from error
        raise WeightsError(
            f"{told}, which cannot be imported here ({error}); pip install 'metasr[spandrel]'"
        ) from error
    return spandrel
