"""torch.export's files (.pt2): written, and run by torch alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfer.exporting.recorded import quiet

METADATA = "xfer.json"  # the extra file in it


def write_torch(program: Any, about: Mapping[str, Any], file: Path) -> None:
    """Writes a recorded net as .pt2, with its metadata as the extra file xfer.json."""
    with quiet(), file.open("wb") as handle:
        text = json.dumps(about, ensure_ascii=False)
        torch.export.save(program, handle, extra_files={METADATA: text})


class TorchRunner:
    """A .pt2 file at work: tensors in, tensors out.

    Args: file: one that this process has written: torch's reader trusts what it reads.
    """

    def __init__(self, file: Path | str) -> None:
        with quiet(), Path(file).open("rb") as handle:
            self.net = torch.export.load(handle).module()

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.net(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)
