"""JPEGs decoded on the device by torchvision: nvJPEG on a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xfer.errors import DataError


def decode_squares(
    files: Sequence[Any], ids: Sequence[str], places: Any, shape: tuple[int, int],
    device: torch.device,
) -> Tensor:  # fmt: skip
    """Decodes pictures to uint8 (N, 3, height, width), channels_last. Pictures of another size
    than `shape`, (height, width), are cut to a square of their short side, at `places`, and scaled.

    Args: files: arrays uint8 (bytes,), one JPEG each; ids: of the pictures, for errors; places:
        float (N, 2), 0..1, the position of the square.
    Raises: DataError for a file that is not a valid JPEG.
    """
    # copied: a pack's memory is read-only, which torch warns about
    encoded = [torch.tensor(file) for file in files]
    rows = [_square(image, place, shape) for image, place in
            zip(_decoded(encoded, ids, device), places, strict=True)]  # fmt: skip
    return torch.stack(rows).contiguous(memory_format=torch.channels_last)


def _decoded(files: list[Tensor], ids: Sequence[str], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29: will be moved
        try:
            return list(decode_jpeg(files, ImageReadMode.RGB, device))
        except RuntimeError:
            for name, file in zip(ids, files, strict=True):
                try:
                    decode_jpeg(file, ImageReadMode.RGB)
                except RuntimeError as error:
                    why = str(error).partition("\n")[0]
                    raise DataError(f"{name}: can't be decoded ({why})") from None
            raise


def _square(image: Tensor, place: Any, shape: tuple[int, int]) -> Tensor:
    height, width = image.shape[1:]
    if (height, width) == shape:
        return image
    side = min(height, width)
    y, x = int(place[1] * (height - side + 1)), int(place[0] * (width - side + 1))
    square = image[None, :, y : y + side, x : x + side].float()
    scaled = F.interpolate(square, shape, mode="bilinear", antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8)
