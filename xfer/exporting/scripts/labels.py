"""The classes of pictures, by an ONNX file."""

import sys

import numpy as np

from xfer.exporting.scripts.pictures import crop, each_picture, net_input


def probabilities(session, about, image):
    """float32 (C,), in the order of about["classes"]."""
    shown = crop(image, about["preprocessing"])
    (scores,) = session.run(None, {"images": net_input(shown, about["preprocessing"])})
    if about["outputs"] == ["probabilities"]:
        return scores[0]
    if about["several"]:  # each class has a probability of its own
        return 1 / (1 + np.exp(-scores[0]))
    powers = np.exp(scores[0] - scores[0].max())
    return powers / powers.sum()


def predict(session, about, image, path):
    found = probabilities(session, about, image)
    order = np.argsort(-found, kind="stable")
    if about["several"]:
        best = [k for k in order if found[k] >= 0.5] or order[:1]
    else:
        best = order[:3]
    return ", ".join(f"{about['classes'][k]} {found[k]:.4f}" for k in best)


if __name__ == "__main__":
    sys.exit(each_picture(predict))
