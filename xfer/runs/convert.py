"""Converts weight files of other tools to safetensors."""

from __future__ import annotations

from pathlib import Path

from xfer.errors import XferError, listed


def convert(file: Path | str, out: Path, net: str = "") -> str:
    """Writes the tensors of a weight file as .safetensors.

    Args:
        file: PyTorch's, .npz, .safetensors or .caffemodel, whatever it is called; no code in it is
            run. Or run:DIR: only the run's backbone, under the net's tensor names, with a card next
            to it, <out>.md.
        out: the file to write, ending in .safetensors.
        net: a backbone whose tensor names are used; tensors that don't fit it are left out. Empty:
            every tensor, under its name in the file; of a trainer's checkpoint those of the net.

    Returns: a line that says what was written.
    Raises: XferError for another extension, an existing file or an unknown net; DataError for a
        broken file, one that is another net's, and numbers that are NaN or infinite.
    """
    from xfer.backbones.build import create_backbone
    from xfer.backbones.files import digest, open_weights, read_all
    from xfer.backbones.parts import without_net
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
    opened = open_weights(file)
    about = {"format": "pt", "source": file.name, "source_sha256": digest(file)}
    notes: list[str] = []
    if net:
        backbone = create_backbone(net, weights="none", classifier=True)
        report = fill(backbone, opened, file.name, about["source_sha256"])
        missing = set(report.missing)
        tensors = {k: v for k, v in backbone.state_dict().items() if k not in missing}
        about["backbone"] = net
        line, *notes = report.line().splitlines()
    else:
        chosen, part, left = without_net(opened.parts)
        tensors = read_all(file, chosen)
        of = " of a TorchScript file" if opened.kind == "TorchScript" else ""
        of += f" of {part.removesuffix('.')}" if part else ""
        line = f"{len(tensors)} tensors{of}"
        odd = [name for name in chosen if name not in tensors]
        if odd:
            line += f"; {len(odd)} not numbers that can be read ({listed(odd, 3)})"
        left = [name.removesuffix(".") for name in left if name]
        if left:
            line += f"; left out: {listed(left, 3)}"
    save_weights(out, tensors, about)
    return "\n".join([f"{line}; written to {out}", *notes])
