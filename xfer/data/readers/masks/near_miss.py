"""Say why a folder that looks like a set of pictures and masks is none."""

from __future__ import annotations

from pathlib import Path

from xfer.data.images.walk import find_pictures, has_picture, listing, subfolders
from xfer.data.readers.masks.folder_words import SURE, is_images, mask_rank, words
from xfer.data.readers.masks.pairing import stem
from xfer.data.readers.masks.stems import match


def near_miss(top: Path) -> str | None:
    """What is wrong in a folder that looks like a set of pictures and masks but has no pair of
    them; None if it looks like something else."""
    for place in (top, *subfolders(top)):
        folders = subfolders(place)
        masks = [f for f in folders if mask_rank(f.name) is not None]
        images = [f for f in folders if f not in masks and is_images(f.name) and has_picture(f)]
        if not masks or not images:
            continue
        full = next((f for f in masks if has_picture(f)), None)
        if full is None:
            masks = [f for f in masks if SURE & {*words(f.name), "".join(words(f.name))}]
            if not masks:
                continue
            others = sorted({Path(e.name).suffix for f in masks for e in listing(f)} - {""})
            content = f", but {', '.join(others[:3])} files" if others else ""
            return f"{masks[0].name}/ next to {images[0].name}/ holds no pictures{content}"
        own = {stem(p.name): p for p in find_pictures(images[0])}
        theirs = {stem(p.name): p for p in find_pictures(full)}
        forms = match([*own], [*theirs])
        if forms:
            mask, picture = next(iter(forms[0].pairs.items()))
            pair = [p.relative_to(top).as_posix() for p in (own[picture], theirs[mask])]
            return f"masks are in folders of other names than their pictures ({', '.join(pair)})"
        first = [next(iter(files.values())) for files in (own, theirs)]
        pair = [path.relative_to(place).as_posix() for path in first]
        return f"no mask has the name of a picture ({', '.join(pair)})"
    return None
