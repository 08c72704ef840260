"""Objects in pictures, by an ONNX file: class, score, and left, top, right, bottom in pixels."""

import sys
from pathlib import Path

import numpy as np

from xfer.exporting.scripts.pictures import each_picture, fit, net_input


def boxes_of(session, about, image, path):
    """Boxes (R, 4) in pixels of the picture, scores (R,) and classes (R,), best first."""
    h, w = image.shape[:2]
    shown, (height, width) = fit(image, about["preprocessing"])
    inputs = {"images": net_input(shown, about["preprocessing"]),
              "sizes": np.array([[height, width]], np.int64)}  # fmt: skip
    scale = np.array([width / w, height / h, width / w, height / h], np.float32)
    if "proposals" in about["inputs"]:  # this detector is shown where to look
        file = Path(path).with_suffix(".npy")
        if not file.exists():
            sys.exit(f"{file}: not there; it must hold proposals for {path}: float32 (P, 4), "
                     f"left, top, right, bottom in pixels ({about['proposals']})")  # fmt: skip
        inputs["proposals"] = (np.load(file).astype(np.float32) * scale)[None]
    boxes, scores, labels = session.run(None, inputs)
    there = scores[0] > 0
    boxes = np.clip(boxes[0][there] / scale, 0, [w, h, w, h])
    return boxes, scores[0][there], labels[0][there]


def predict(session, about, image, path):
    boxes, scores, labels = boxes_of(session, about, image, path)
    seen = [k for k in range(len(scores)) if scores[k] >= 0.5]
    lines = [f"{about['classes'][labels[k]]} {scores[k]:.4f} "
             f"[{', '.join(f'{v:.1f}' for v in boxes[k])}]" for k in seen]  # fmt: skip
    best = f"nothing of at least 0.5 ({len(scores)} weaker boxes)"
    return ", ".join(lines) or best


if __name__ == "__main__":
    sys.exit(each_picture(predict))
