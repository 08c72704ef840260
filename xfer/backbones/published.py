"""Finds and downloads the published ImageNet weights of each net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xfer.errors import DataError, XferError
from xfer.fetch import Progress, cache_folder, check_recorded, download

# BVLC/caffe, models/*/readme.md: url, without https, and sha1 of the whole file; both readmes say
# "unrestricted use"
CAFFE = {
    "caffenet": (
        "http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",
        "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
    ),
    "bvlc_alexnet": (
        "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
        "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377",
    ),
}

# sha256 of torchvision's files whose names end in its first digits only, where the whole is known
SHA256 = (
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",  # alexnet-owt
    "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",  # resnet18
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",  # resnet50
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",  # vgg16
)


def fetch(net: str, say: Callable[[str], None] | None = None) -> Path:
    """The file with a net's published ImageNet weights; fetched on first use.

    Looks under $XFER_CACHE/weights first, so that a file put there by hand is used.

    Args:
        net: a backbone's name: bare, torchvision:NAME or timm:NAME.
        say: called with lines about the download.

    Raises:
        XferError: there are no published weights for that net.
        DataError: the file can't be downloaded, or is not the published one.
    """
    folder = cache_folder() / "weights"
    kind, colon, rest = net.partition(":")
    if colon and kind == "timm":
        return _from_timm(rest, folder)
    if net in CAFFE:
        url, expected = CAFFE[net]
    else:
        bare = not colon or kind == "torchvision"
        url = _torchvision_url(rest or net, None if colon else "IMAGENET1K_V1") if bare else None
        if url is None:
            raise XferError(
                f"there are no published ImageNet weights for {net}",
                "weights: none, or a file of your own",
            )
        # torchvision's file names end in the first digits of their sha256
        digits = Path(url).stem.rpartition("-")[2]
        expected = "sha256:" + next((h for h in SHA256 if h.startswith(digits)), digits)
    name = url.rpartition("/")[2]
    hub = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not (folder / name).is_file() and hub.is_file():
        # torchvision's own cache: checked, never written
        return download(url, hub, expected, record=folder / f"{name}.sha256")
    return download(url, folder / name, expected, _teller(name, say))


def at_hand(net: str) -> bool:
    """Whether a net's published weights are on this machine; looks nothing up elsewhere."""
    folder = cache_folder() / "weights"
    kind, colon, rest = net.partition(":")
    if colon and kind == "timm":
        import timm

        config = timm.get_pretrained_cfg(rest)
        names = [f"{rest}.safetensors"]
        if config is not None:
            names += [f"{config.architecture}.{config.tag}.safetensors",
                      str(config.url or "").rpartition("/")[2]]  # fmt: skip
            if config.hf_hub_id:
                from huggingface_hub import try_to_load_from_cache

                if isinstance(try_to_load_from_cache(config.hf_hub_id, "model.safetensors"), str):
                    return True
        return any(name and (folder / name).is_file() for name in names)
    if net in CAFFE:
        url: str | None = CAFFE[net][0]
    else:
        url = _torchvision_url(rest or net, None if colon else "IMAGENET1K_V1")
    if url is None:
        return False
    name = url.rpartition("/")[2]
    hub = Path(torch.hub.get_dir()) / "checkpoints" / name
    return (folder / name).is_file() or hub.is_file()


def _torchvision_url(model: str, version: str | None) -> str | None:
    """torchvision's URL; None for nets that it lacks, or has no weights for."""
    from xfer.backbones.torchvision import published

    try:
        entry: Any = published(model, version)
    except ValueError:  # a net of ours or of the user's
        return None
    return None if entry is None else str(entry.url)


def _teller(name: str, say: Callable[[str], None] | None) -> Progress | None:
    """Reports every tenth of a download."""
    if say is None:
        return None
    reported = -1

    def tell(have: int, total: int) -> None:
        nonlocal reported
        tenth = 10 * have // total if total else have // (50 << 20)
        if tenth != reported:
            reported = tenth
            share = f" of {total / 1e6:.0f}" if total else ""
            say(f"fetching {name}: {have / 1e6:.0f}{share} MB")

    return tell


def _from_timm(model: str, folder: Path) -> Path:
    """timm's published file, from $XFER_CACHE, from the Hugging Face cache, or fetched."""
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    config = timm.get_pretrained_cfg(model)
    repo = config.hf_hub_id if config is not None else None
    if config is None or not repo:
        url = getattr(config, "url", None)
        if not url:
            raise XferError(f"timm has no published weights for {model}")
        name = url.rpartition("/")[2]
        by_hand = f"fetch {url} yourself and put it at {folder / name}"
        if (folder / name).is_file():
            return _recorded(folder / name, folder / name)
        raise DataError(f"{name} of timm:{model} is not in {folder}", by_hand)
    name = (
        f"{config.architecture}.{config.tag}.safetensors" if config.tag else f"{model}.safetensors"
    )
    if (folder / name).is_file():
        return _recorded(folder / name, folder / name)
    address = f"https://huggingface.co/{repo}/resolve/main/model.safetensors"
    try:
        try:
            found = Path(hf_hub_download(repo, "model.safetensors", local_files_only=True))
        except LocalEntryNotFoundError:
            from xfer.fetch import reachable

            reachable(address)
            found = Path(hf_hub_download(repo, "model.safetensors", etag_timeout=4))
    except (OSError, HfHubHTTPError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise DataError(
            f"can't fetch the weights of timm:{model}: {why}",
            f"fetch {address} yourself and put it at {folder / name}",
        ) from None
    return _recorded(found, folder / name)


def _recorded(found: Path, file: Path) -> Path:
    """A file whose checksum nobody publishes, after comparing it with that of its first use."""
    check_recorded(found, file.with_name(f"{file.name}.sha256"))
    return found
