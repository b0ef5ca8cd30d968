"""Weight-Net: says of every pixel how much its loss is to count, from what the pixel is part of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError

WeightInput = Literal["content", "sr", "error", "high_pass"]
Over = Literal["image", "batch"]

WEIGHT_NET_PREFIX = "weight_net."
"""What the names of a Weight-Net's tensors begin with in a weights file, where they lie beside the SR network's."""

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_TINY = 1e-12


def normalise_weights(raw: Tensor, *, over: Over = "image") -> Tensor:
    """Scale weights to mean 1: probabilities (sum 1) times the number of pixels, which keeps the loss's scale.

    Args:
        raw: ``(B, H, W)``, at least 0.
        over: ``image`` gives every image mean 1; ``batch`` the whole batch, so that images may weigh more or less than
            each other.

    Returns:
        ``(B, H, W)``. Where all raw weights are 0, all weights are 1.

    Raises:
        InputError: for another shape or ``over``.
    """
    if raw.ndim != 3 or raw.numel() == 0:
        raise InputError(f"weights must have shape (B, H, W) and not be empty, got {tuple(raw.shape)}")
    if over not in get_args(Over):
        raise InputError(f"weights are normalised over 'image' or 'batch', got {over!r}")
    mean = raw.mean((-2, -1) if over == "image" else (-3, -2, -1), keepdim=True)
    return torch.where(mean > _TINY, raw / mean.clamp_min(_TINY), torch.ones_like(raw))


def high_pass(image: Tensor) -> Tensor:
    """The image less its binomial blur (5×5, edge-repeating border): ``(B, C, H, W)`` of mean about 0."""
    row = image.new_tensor(_BINOMIAL)
    kernel = (row[:, None] * row).expand(image.shape[1], 1, 5, 5)
    return image - F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernel, groups=image.shape[1])


class WeightNet(nn.Module):
    """A small fully convolutional network whose output is a weight map of mean 1.

    With 5 layers of 32 channels on the content it has 28,928 parameters. Before it is normalised, a weight lies between
    ``floor`` and 1: w = floor + (1 - floor) σ((z - mean z) / temperature), so that no pixel is ever left out, and none
    can weigh more than 1/floor times another. The mean, over what the weights are normalised over, is taken away
    because normalising makes a common shift of z meaningless: it would drift until the sigmoid is flat for all pixels
    and nothing is learned any more. So the last layer has no bias either. It starts at ``last_gain`` of He's
    initialisation: training begins with nearly equal weights.

    Args:
        inputs: what it sees, in this order: ``content`` (the bicubically enlarged LR), ``sr`` (the network's present
            output), ``error`` (its distance from HR: known in training alone), ``high_pass`` (of the enlarged LR).
        channels: width of the hidden layers.
        layers: number of 3×3 convolutions, at least 2.
        temperature: above 1 softens, below 1 sharpens.
        floor: lowest weight before normalisation, in [0, 1).
        last_gain: what the last layer's initial weights are multiplied by.

    Raises:
        InputError: for inputs that are unknown, repeated or none, or a number out of its range.
    """

    def __init__(
        self,
        inputs: Sequence[WeightInput] = ("content",),
        channels: int = 32,
        *,
        layers: int = 5,
        temperature: float = 1.0,
        floor: float = 0.1,
        last_gain: float = 0.1,
    ) -> None:
        super().__init__()
        known = get_args(WeightInput)
        if not inputs or set(inputs) - set(known) or len(set(inputs)) != len(inputs):
            raise InputError(
                f"Weight-Net's inputs must be one or more of {', '.join(known)}, each once, got {list(inputs)}"
            )
        if layers < 2 or channels < 1:
            raise InputError(f"Weight-Net needs at least 2 layers and 1 channel, got {layers} and {channels}")
        if not temperature > 0 or not 0 <= floor < 1:
            raise InputError(
                f"Weight-Net's temperature must be above 0 and its floor in [0, 1), got {temperature} and {floor}"
            )
        self.inputs = tuple(inputs)
        self.temperature = temperature
        self.floor = floor
        widths = [3 * len(self.inputs), *[channels] * (layers - 1), 1]
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, padding_mode="replicate", bias=i < layers - 1)
            for i in range(layers)
        )
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        with torch.no_grad():
            self.convs[-1].weight.mul_(last_gain)  # type: ignore[operator]

    def forward(
        self, content: Tensor, sr: Tensor | None = None, error: Tensor | None = None, *, over: Over = "image"
    ) -> Tensor:
        """Weigh the pixels of a batch.

        Args:
            content: ``(B, 3, H, W)`` in [0, 1], the enlarged LR.
            sr: ``(B, 3, H, W)``, if it is among the inputs; no gradient goes through it.
            error: ``(B, 3, H, W)`` |SR - HR|, if it is among the inputs; no gradient goes through it.
            over: see ``normalise_weights``.

        Returns:
            ``(B, H, W)``, of mean 1.

        Raises:
            InputError: if one of the inputs did not come.
        """
        seen = []
        for name in self.inputs:
            if name == "high_pass":
                seen.append(high_pass(content))
                continue
            image = {"content": content, "sr": sr, "error": error}[name]
            if image is None:
                raise InputError(f"this Weight-Net also looks at {name!r}, which did not come; pass {name}=...")
            seen.append(image.detach() - (0.0 if name == "error" else 0.5))
        features = torch.cat(seen, 1)  # (B, 3 inputs, H, W)
        for i, conv in enumerate(self.convs):
            features = conv(F.relu(features) if i else features)
        logits = features[:, 0] / self.temperature  # (B, H, W)
        logits = logits - logits.mean((-2, -1) if over == "image" else (-3, -2, -1), keepdim=True)
        raw = self.floor + (1 - self.floor) * torch.sigmoid(logits)
        return normalise_weights(raw, over=over)
