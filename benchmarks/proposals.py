"""Recall and cost of proposals: selective search and a grid on voc-mini and BCCD.

For each set and method: recall at IoU 0.5 and 0.7 and mean average best overlap (MABO) with the
first 500, 1,000 and 2,000 boxes of each picture, over all pictures of the set, each once; CPU
seconds of the search per picture, with one process per core. Difficult boxes are left out. The
cache is not used: every picture is searched.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

SETS = ("voc-mini", "bccd")
METHODS = ("selective_search", "grid")
COUNTS = (500, 1000, 2000)


def data_folder() -> Path:
    """$XFER_TEST_DATA, else ../shared/data beside the repository."""
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("XFER_TEST_DATA") or root.parent / "shared" / "data")


def measured(name: str, method: str, limit: int) -> dict[str, Any]:
    """One set and method, with the seconds it took in total."""
    from xfer.proposals.measure import measure

    start = time.perf_counter()
    document = measure(f"voc:{data_folder() / name}", method, limit=limit).document()
    rows = {row["boxes"]: row for row in document["curve"]}
    per_class = {name: round(row["recall_50"], 3) for name, row in document["per_class"].items()}
    return {
        "set": name,
        "method": method,
        "images": document["images"],
        "true_boxes": document["boxes"],
        **{
            f"{key}_at_{count}": round(rows[count][key], 4)
            for count in COUNTS
            for key in ("recall_50", "recall_70", "mabo")
        },
        "boxes_per_image": document["boxes_per_image"],
        "seconds_per_image_core": round(document["seconds_per_image_core"], 3),
        "seconds": round(time.perf_counter() - start, 1),
        "recall_50_per_class": per_class,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results to this file")
    parser.add_argument("--quick", action="store_true", help="ten pictures of each split")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XFER_CACHE"] = cache
        for name in SETS:
            for method in METHODS:
                found = measured(name, method, 10 if options.quick else 0)
                results.append(found)
                print("; ".join(f"{key} {value}" for key, value in found.items()), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
