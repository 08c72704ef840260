"""FeatureExtractor has scikit-learn's manners."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import scene, write_picture
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks as checks

import xfer
from xfer import FeatureExtractor
from xfer.errors import DataError, XferError
from xfer.extraction import net as nets


def tiny(**changes: Any) -> Any:
    words: dict[str, Any] = {
        "backbone": "tiny_nets:tiny", "weights": "none", "layer": "conv2", "pool": "avg",
        "workers": 1, "precision": "fp32",
    }  # fmt: skip
    return FeatureExtractor(**{**words, **changes})


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return [str(write_picture(tmp_path / f"{i}.png", seed=i)) for i in range(12)]


LABELS = np.array(["a", "b"] * 6)


def test_paths_arrays_and_pil_images_give_the_same_rows(paths: list[str]) -> None:
    expected = tiny().transform(paths)
    assert expected.shape == (12, 16)
    assert expected.dtype == np.float32
    arrays = [np.asarray(Image.open(p)) for p in paths]
    ways: list[Any] = [
        [Path(p) for p in paths], np.array(paths), np.array(paths, object),
        np.array(paths, object)[:, None], arrays, np.stack(arrays),
        [Image.fromarray(a) for a in arrays],
    ]  # fmt: skip
    for way in ways:
        np.testing.assert_array_equal(tiny(cache=False, batch=64).transform(way), expected)
    tensors = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    for way in (
        [Path(p).read_bytes() for p in paths], [a / 255 for a in arrays], tensors, list(tensors),
        tensors / 255, [np.dstack([a, np.full(a.shape[:2], 255, np.uint8)]) for a in arrays],
    ):  # fmt: skip
        np.testing.assert_array_equal(tiny(cache=False, batch=64).transform(way), expected)
    mixed: Any = [paths[0], arrays[1], Image.fromarray(arrays[2])]
    np.testing.assert_allclose(tiny().transform(mixed), expected[:3], atol=1e-6)


def test_it_gives_what_features_gives(paths: list[str]) -> None:
    X, _ = xfer.features(
        Path(paths[0]).parent, backbone="tiny_nets:tiny", weights="none", layer="conv2", pool="avg",
        precision="fp32",
    )  # fmt: skip
    order = sorted(paths)
    np.testing.assert_allclose(tiny(cache=False).transform(order), X, atol=1e-6)


def test_clone_pickle_and_parameters_carry_no_net(paths: list[str]) -> None:
    whole = tiny(layer=["conv1", "conv2"], batch=5)
    whole.transform(paths)
    assert len(pickle.dumps(whole)) < 2000
    copies: Any = (clone(whole), pickle.loads(pickle.dumps(whole)))
    for copy in copies:
        assert copy.get_params() == whole.get_params()
        np.testing.assert_array_equal(copy.transform(paths), whole.transform(paths))
    assert whole.set_params(layer="conv1").transform(paths).shape == (12, 8)


def test_the_net_is_loaded_once(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    real = nets.load_net

    def counted(choice: nets.Choice, *more: Any) -> nets.FeatureNet:
        loads.append(choice)
        return real(choice, *more)

    monkeypatch.setattr(nets, "load_net", counted)
    monkeypatch.setattr(nets, "_loaded", {})
    for _ in range(3):
        copy: Any = clone(tiny())
        copy.fit(paths).transform(paths)
    assert len(loads) == 1
    tiny(pool="max").transform(paths)
    assert len(loads) == 2


def test_names_and_pandas(paths: list[str]) -> None:
    both = tiny(layer="conv1,conv2")
    names = both.fit(paths).get_feature_names_out()
    assert names.tolist() == [f"conv1_{i}" for i in range(8)] + [f"conv2_{i}" for i in range(16)]
    assert len(tiny(pool="flatten").get_feature_names_out()) == 16 * 8 * 8
    assert len(tiny(crops="flip", views="concat").get_feature_names_out()) == 32
    pytest.importorskip("pandas")
    table: Any = both.set_output(transform="pandas").fit_transform(paths)
    assert table.columns.tolist() == names.tolist()
    np.testing.assert_array_equal(table.to_numpy(), tiny(layer="conv1,conv2").transform(paths))


def test_pipelines_grids_and_processes(paths: list[str]) -> None:
    pipe = make_pipeline(tiny(), LogisticRegression())
    assert pipe.fit(paths, LABELS).predict(paths).shape == (12,)
    grid = GridSearchCV(pipe, {"featureextractor__layer": ["conv1", "conv2"]}, cv=2)
    assert grid.fit(np.array(paths), LABELS).best_params_["featureextractor__layer"] in (
        "conv1", "conv2",
    )  # fmt: skip
    scores = cross_val_score(pipe, np.array(paths, object), LABELS, cv=2, n_jobs=1)
    assert scores.shape == (2,)


@pytest.mark.slow
def test_joblib_workers_load_their_own_net(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from joblib import Parallel, delayed

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    halves: Any = Parallel(n_jobs=2)(
        delayed(tiny(cache=False).transform)(part) for part in (paths[:6], paths[6:])
    )
    np.testing.assert_allclose(np.concatenate(halves), tiny().transform(paths), atol=1e-6)


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ("one.jpg", "a single picture is not a list"),
        (np.zeros((4, 3)), "is not a list of pictures"),
        ([np.full((8, 8, 3), 7.0)], "picture 0 holds floats from 7 to 7, not within 0..1"),
        ([scene(), np.zeros((8, 8, 2), np.uint8)], r"picture 1 is an array \(8, 8, 2\)"),
        ([b"\xff\xd8 no picture"], "picture 0|is no picture"),
        ([3], "picture 0 is a int"),
        (7, "not a list of pictures"),
        (["."], "is a folder"),
        ([], "no pictures"),
        (["missing.jpg"], "missing.jpg: No such file"),
    ],
)
def test_what_is_no_picture_is_named(pictures: Any, said: str) -> None:
    with pytest.raises(XferError, match=said):
        tiny().transform(pictures)


def test_wrong_parameters_are_said_by_fit() -> None:
    with pytest.raises(XferError, match="unknown pool"):
        tiny(pool="median").fit(["a.jpg"])


def test_a_broken_file_is_named(paths: list[str]) -> None:
    Path(paths[3]).write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(DataError, match=r"3\.png") as error:
        tiny().transform(paths)
    assert error.value.hint == "leave this picture out"


def test_options_may_hold_lists(paths: list[str]) -> None:
    assert nets.fixed_options({"b": [1, 2], "a": 3}) == (("a", 3), ("b", (1, 2)))
    with pytest.raises(XferError, match="no option 'sides'"):  # asked for, rather than not hashed
        tiny(options={"sides": [1, 2]}, backbone="alexnet").transform(paths)


# Those of scikit-learn's estimator checks that hand over no data. All others fit and transform
# matrices of floats, which hold no pictures: `check_estimator` skips estimators whose tags say so.
# What they look for (clones, idempotence, pandas, subsets) is tested on pictures.
CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_scikit_learn(name: str) -> None:
    check: Callable[[str, Any], None] = getattr(checks, name)
    check("FeatureExtractor", tiny())


def test_rows_depend_on_their_own_picture_alone(paths: list[str]) -> None:
    whole = tiny(cache=False).transform(paths)
    np.testing.assert_allclose(
        tiny(cache=False, batch=1).transform(paths[::-1])[::-1], whole, atol=1e-6
    )
    np.testing.assert_array_equal(tiny(cache=False).transform(paths), whole)
