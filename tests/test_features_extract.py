"""Extraction: right numbers, in order, known ones not computed again, memory flat, clear errors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import scene, write_folder, write_picture
from two_ranks import two_ranks

import xfer
from xfer.data.images.decode import decode
from xfer.data.sources.base import ArraySource
from xfer.data.transforms.crops import EvalTransform
from xfer.errors import DataError, XferError
from xfer.extraction import read_features
from xfer.extraction.extract import Extraction, extract
from xfer.extraction.form import Form
from xfer.extraction.items import Items
from xfer.extraction.net import Choice, load_net
from xfer.types import DataInfo

TINY = Choice("tiny_nets:tiny", "none", ("conv1", "conv2"), pool="avg", precision="fp32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """13 pictures, no two alike: equal ones are computed once."""
    for i in range(13):
        write_picture(tmp_path / "in" / ("ant" if i < 7 else "bee") / f"{i % 7}.png", seed=i)
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))


def run(data: Any, out: Path | None = None, choice: Choice = TINY, **settings: Any) -> Extraction:
    return extract(data, out, choice=choice, **{"batch": 4, "workers": 1, **settings})


def change(**what: Any) -> Choice:
    from dataclasses import replace

    return replace(TINY, **what)


def test_rows_are_what_the_net_gives_picture_by_picture(photos: Path, tmp_path: Path) -> None:
    done = run(photos, tmp_path / "f.npz")
    assert (done.computed, done.cached) == (13, 0)
    found = read_features(tmp_path / "f.npz")
    assert found.ids.tolist() == [f"ant/{i}.png" for i in range(7)] + [
        f"bee/{i}.png" for i in range(6)
    ]
    assert found.y.tolist() == [0] * 7 + [1] * 6
    assert found.classes.tolist() == ["ant", "bee"]
    assert set(found.splits.tolist()) == {"train"}
    net = load_net(TINY).net
    cut = EvalTransform(32, 32)
    for row, name in ((0, "ant/0.png"), (12, "bee/5.png")):
        image = torch.from_numpy(cut(decode(photos / name)).copy()).permute(2, 0, 1)[None]
        with torch.inference_mode():
            maps = net(net.normalise(image), ("conv1", "conv2"))
        for layer in ("conv1", "conv2"):
            expected = maps[layer].mean((2, 3))[0].numpy()
            np.testing.assert_allclose(found.layers[layer][row], expected, atol=1e-6)


def test_a_second_time_nothing_is_computed_and_a_changed_picture_is_one(
    photos: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / f"{i}.npz" for i in range(3)]
    run(photos, outs[0])
    again = run(photos, outs[1])
    assert (again.computed, again.cached) == (0, 13)
    write_picture(photos / "bee" / "2.png", seed=99)
    third = run(photos, outs[2])
    assert (third.computed, third.cached) == (1, 12)
    first, second, changed = (read_features(out) for out in outs)
    for layer in ("conv1", "conv2"):
        assert np.array_equal(first.layers[layer], second.layers[layer])
        differs = (first.layers[layer] != changed.layers[layer]).any(1)
        assert differs.nonzero()[0].tolist() == [9]


@pytest.mark.parametrize(
    "what",
    [
        {"crops": "flip"}, {"crops": "10crop", "size": 16}, {"pool": "max"}, {"size": 48},
        {"precision": "bf16"}, {"options": (("batch_norm", False),)},
    ],
)  # fmt: skip
def test_another_choice_is_not_taken_from_the_cache(photos: Path, what: dict[str, Any]) -> None:
    run(photos)
    assert run(photos, choice=change(**what)).computed == 13
    assert run(photos, choice=change(**what)).computed == 0


def test_one_of_several_layers_is_known_afterwards(photos: Path) -> None:
    run(photos)
    assert run(photos, choice=change(layers=("conv2",))).cached == 13


def test_without_the_cache_all_is_computed(photos: Path, tmp_path: Path) -> None:
    run(photos)
    assert run(photos, cache=False).computed == 13


def test_a_stopped_extraction_goes_on(photos: Path, tmp_path: Path) -> None:
    """It stops at a broken file; what came before is known when the file is mended."""
    broken = photos / "bee" / "5.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(DataError, match=r"5\.png"):
        run(photos, tmp_path / "f.npz", workers=0)
    assert not [p for p in tmp_path.iterdir() if "f.npz" in p.name]
    write_picture(broken, seed=12)
    done = run(photos, tmp_path / "f.npz")
    assert done.cached == 12
    assert done.computed == 1


def test_bad_pictures_are_left_out_on_request(photos: Path) -> None:
    (photos / "ant" / "3.png").write_bytes(b"no picture")
    found = run(photos, skip_bad=True).features
    assert found is not None
    assert len(found) == 12
    assert "ant/3.png" not in found.ids


def test_pools_and_views_have_the_stated_shapes_and_values(photos: Path) -> None:
    def layer(**what: Any) -> np.ndarray:
        found = run(photos, choice=change(layers=("conv2",), **what)).features
        assert found is not None
        return found.layers["conv2"]

    whole = layer(pool="flatten").reshape(13, 16, 8, 8)
    np.testing.assert_allclose(layer(pool="avg"), whole.mean((2, 3)), atol=1e-5)
    np.testing.assert_array_equal(layer(pool="max"), whole.max((2, 3)))
    quarters = whole.reshape(13, 16, 2, 4, 2, 4).mean((3, 5)).reshape(13, 64)
    np.testing.assert_allclose(layer(pool="grid2"), quarters, atol=1e-5)
    both = layer(pool="avg", crops="flip", views="concat")
    assert both.shape == (13, 32)
    np.testing.assert_allclose(both[:, :16], layer(pool="avg"), atol=1e-5)
    np.testing.assert_allclose(
        layer(pool="avg", crops="flip"), (both[:, :16] + both[:, 16:]) / 2, atol=1e-5
    )
    ten = layer(pool="avg", crops="10crop", views="concat", size=16)
    assert ten.shape == (13, 160)
    mean = ten.reshape(13, 10, 16).mean(1)
    np.testing.assert_allclose(layer(pool="avg", crops="10crop", size=16), mean, atol=1e-5)


def test_normalisation_and_dtype() -> None:
    rows = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(Form(normalise="l2")(rows), [[0.6, -0.8], [0, 0]], atol=1e-6)
    root = [[3**0.5, -2], [0, 0]]
    np.testing.assert_allclose(Form(normalise="power")(rows), root, atol=1e-6)
    lengths = np.linalg.norm(Form(normalise="power-l2")(rows), axis=1)
    np.testing.assert_allclose(lengths, [1, 0], atol=1e-6)
    assert Form("float16", "l2")(rows).dtype == np.float16
    with pytest.raises(XferError, match="too large for float16"):
        Form("float16")(rows * 1e5)


def test_splits_keep_their_order_and_none_is_cut(tmp_path: Path) -> None:
    counts = {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 2, "test/a": 1, "test/b": 1}
    found = run(write_folder(tmp_path / "s", counts)).features
    assert found is not None
    assert found.splits.tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 2


def test_pictures_without_labels_and_sources_without_files(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / "plain" / f"{i}.jpg", seed=i)
    found = run(tmp_path / "plain").features
    assert found is not None
    assert found.y.tolist() == [-1, -1, -1]
    assert found.classes.tolist() == []
    images = [scene(40, 40, seed=i) for i in range(4)]
    info = DataInfo("arrays", "multilabel", ("a", "b"))
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, -1]], np.int8)
    source = ArraySource(info, images, labels, list("wxyz"))
    assert run(source).computed == 4
    again = run(source)
    assert again.cached == 4
    assert again.features is not None
    assert np.array_equal(again.features.y, labels)


def test_the_public_call_gives_x_and_y(photos: Path) -> None:
    words: dict[str, Any] = {"backbone": "tiny_nets:tiny", "weights": "none", "workers": 1}
    X, y = xfer.features(photos, layer="conv2", pool="avg", **words)
    assert X.shape == (13, 16)
    assert X.dtype == np.float32
    assert y.shape == (13,)
    several, _ = xfer.features(photos, layer="conv1,conv2", pool="avg", **words)
    assert {k: v.shape for k, v in several.items()} == {"conv1": (13, 8), "conv2": (13, 16)}
    with pytest.raises(XferError, match="no split 'val'"):
        xfer.features(photos, layer="conv2", split="val", **words)


def test_the_name_stays_callable_when_the_module_is_imported() -> None:
    code = (
        "import xfer, inspect; import xfer.extraction.store, xfer.inference.evaluate\n"
        "assert 'backbone' in inspect.signature(xfer.features).parameters\n"
        "assert 'split' in inspect.signature(xfer.evaluate).parameters\n"
        "assert dir(xfer) == sorted([*xfer.__all__, 'ask'])\n"
        "assert xfer.extraction.store.read_features\n"
        "from xfer.errors import XferError\n"
        "try: xfer.features('digits', pool='no')\n"
        "except XferError: pass\n"
        "else: raise SystemExit('not called')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"layers": ("conv9",)}, "no layer 'conv9'.*\n.*conv"),
        ({"layers": ()}, "no layer given"),
        ({"pool": "mean"}, "unknown pool"),
        ({"crops": "center"}, "unknown crops 'center'.*\n.*centre"),
    ],
)
def test_wrong_words_are_named(photos: Path, what: dict[str, Any], said: str) -> None:
    with pytest.raises(XferError, match=said):
        run(photos, choice=change(**what))


def test_a_wrong_ending_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(XferError, match=r"unknown file extension"):
        run(tmp_path / "nothing", tmp_path / "f.csv")


def test_layers_that_the_weights_lack_are_refused(tmp_path: Path, photos: Path) -> None:
    net = xfer.create_backbone("alexnet")
    part = {k: v.numpy() for k, v in net.state_dict().items() if not k.startswith("tail.")}
    np.savez(tmp_path / "w.npz", **part)
    choice = Choice("alexnet", str(tmp_path / "w.npz"), ("fc6",))
    with pytest.raises(DataError, match=r"has no fc6.*random"):
        run(photos, choice=choice)


def test_the_header_says_how_they_were_made(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "f.npz")
    meta = read_features(tmp_path / "f.npz").meta
    assert meta["backbone"] == "tiny_nets:tiny"
    assert meta["layers"] == {"conv1": 8, "conv2": 16}
    assert meta["data"]["kind"] == "classify"
    assert len(meta["weights"]["digest"]) == 64
    assert {"xfer", "torch", "numpy"} <= set(meta["versions"])


def test_a_full_cache_costs_a_warning_and_nothing_else(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    said: list[str] = []
    done = run(photos, tmp_path / "f.npz", say=said.append)
    assert done.computed == 13
    assert len([line for line in said if line.startswith("warning: ")]) == 1
    assert len(read_features(tmp_path / "f.npz")) == 13


def test_processes_share_the_pictures(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "one.npz", cache=False)
    code = (
        "import sys, json; from pathlib import Path\n"
        "from xfer.extraction.extract import extract\nfrom xfer.extraction.net import Choice\n"
        "choice = Choice('tiny_nets:tiny', 'none', ('conv1', 'conv2'), pool='avg',"
        " precision='fp32', device='cpu')\n"
        "from xfer import plugs\n"
        "with plugs.naming(trust='tiny_nets'):\n"
        "    done = extract(sys.argv[1], sys.argv[2], choice=choice, batch=2, workers=1)\n"
        "Path(sys.argv[2] + '.' + __import__('os').environ['RANK']).write_text("
        "json.dumps(done.counts()))\n"
    )
    out = tmp_path / "two.npz"
    for ended in two_ranks(tmp_path, code, str(photos), str(out)):
        assert ended.code == 0, ended.said
    counts = [json.loads(Path(f"{out}.{rank}").read_text()) for rank in (0, 1)]
    assert [c["computed"] for c in counts] == [13, 13]
    one, two = read_features(tmp_path / "one.npz"), read_features(out)
    assert np.array_equal(one.ids, two.ids)
    for layer in ("conv1", "conv2"):
        np.testing.assert_allclose(one.layers[layer], two.layers[layer], atol=1e-6)
    assert not list(tmp_path.glob(".*"))


def test_parquet_has_a_column_a_layer(photos: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    run(photos, tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["id", "split", "label", "class", "conv1", "conv2"]
    kept = run(photos).features
    assert kept is not None
    assert np.array_equal(np.stack(table["conv2"].to_numpy()), kept.layers["conv2"])
    assert table["class"].to_pylist() == ["ant"] * 7 + ["bee"] * 6
    assert json.loads(table.schema.metadata[b"xfer"])["classes"] == ["ant", "bee"]


def test_parquet_without_pyarrow_is_said_at_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(XferError, match=r"xfer\[parquet\]"):
        run(photos, tmp_path / "f.parquet")


def test_pictures_of_one_class_have_features_too(tmp_path: Path) -> None:
    found = run(write_folder(tmp_path / "in", {"train/only": 3})).features
    assert found is not None
    assert found.y.tolist() == [0, 0, 0]


def test_pictures_in_a_tar_have_the_features_of_their_files(photos: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    files = sorted(photos.rglob("*.png"))
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        for k, file in enumerate(files):
            for end, content in (("png", file.read_bytes()), ("cls", str(k // 7).encode())):
                member = tarfile.TarInfo(f"{k:03d}.{end}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    packed = f"webdataset:{tmp_path / 'shard-0.tar'}"
    done = run(packed)
    assert done.features is not None and done.computed == 13
    whole = run(Items(files), cache=False).features
    assert whole is not None
    # in the order of the data, whatever it is
    order = [int(name.partition(".")[0].rpartition("/")[2]) for name in done.features.ids]
    for layer in TINY.layers:
        assert np.array_equal(done.features.layers[layer], whole.layers[layer][order])
    assert run(packed).computed == 0


@pytest.mark.parametrize("size", [-1, 4097, 2**64])
def test_a_size_that_no_net_is_shown(size: int) -> None:
    with pytest.raises(XferError, match=f"size {size} is (below 0|above 4096) pixels"):
        replace(TINY, size=size).check()
