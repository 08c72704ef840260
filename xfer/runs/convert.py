"""Converts weight files of other tools to safetensors."""

from __future__ import annotations

from pathlib import Path

from xfer.errors import XferError


def convert(file: Path | str, out: Path, net: str = "") -> str:
    """Writes the tensors of a weight file as .safetensors.

    Args:
        file: .pth, .pt, .npz, .safetensors or .caffemodel; no code in it is run. Or run:DIR: only
            the run's backbone, under the net's tensor names, with a card next to it, <out>.md.
        out: the file to write, ending in .safetensors.
        net: a backbone whose tensor names are used; tensors that don't fit it are left out. Empty:
            every tensor, under its name in the file.

    Returns: a line that says what was written.
    Raises: XferError for another extension, an existing file or an unknown net; DataError for a
        broken file, or one in which nothing fits the net.
    """
    from xfer.backbones.build import create_backbone
    from xfer.backbones.files import digest, read_weights
    from xfer.backbones.weights import fill
    from xfer.runs.checkpoint import save_weights

    if out.suffix != ".safetensors":
        raise XferError(f"{out}: the output file must end in .safetensors")
    if out.exists():
        raise XferError(f"{out} exists", "choose another name, or remove it first")
    if str(file).startswith("run:"):
        if net:
            raise XferError(f"--net {net}: a run already names its net", "leave out --net")
        from xfer.runs.card import export_run

        return export_run(Path(str(file)[4:]).expanduser(), out)
    file = Path(file)
    tensors = read_weights(file)
    about = {"format": "pt", "source": file.name, "source_sha256": digest(file)}
    line = f"{len(tensors)} tensors"
    if net:
        backbone = create_backbone(net, weights="none", classifier=True)
        report = fill(backbone, tensors, file.name, about["source_sha256"])
        missing = set(report.missing)
        tensors = {k: v for k, v in backbone.state_dict().items() if k not in missing}
        about["backbone"] = net
        line = report.line()
    # cloned: safetensors refuses tensors that share memory, as those of tied layers do
    save_weights(out, {k: v.clone() for k, v in tensors.items()}, about)
    return f"{line}; written to {out}"
