"""PSNR on Y alone."""

import torch

from metasr.metrics.protocol import LumaProtocol
from mrda.luma_psnr import luma_psnr


def test_is_the_protocols_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 3, 25, 31, generator=generator)
    sr = (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
    for protocol in (LumaProtocol(), LumaProtocol(shave=6, round_luma=False)):
        found = luma_psnr(sr, hr, scale=3, protocol=protocol)
        assert found.tolist() == [protocol(a[None], b[None], scale=3).psnr_y for a, b in zip(sr, hr, strict=True)]
    assert not torch.equal(luma_psnr(sr, hr, scale=3), luma_psnr(sr, hr, scale=4))
