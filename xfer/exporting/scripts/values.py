"""The numbers that an ONNX file computes for pictures."""

import sys

from xfer.exporting.scripts.pictures import crop, each_picture, net_input


def predict(session, about, image, path):
    shown = crop(image, about["preprocessing"])
    outputs = session.run(None, {"images": net_input(shown, about["preprocessing"])})
    named = zip(about["outputs"], outputs, strict=True)
    return ", ".join(
        f"{name} {' '.join(f'{v:.6g}' for v in value.ravel()[:100])}" for name, value in named
    )


if __name__ == "__main__":
    sys.exit(each_picture(predict))
