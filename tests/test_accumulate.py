"""optim.accumulate takes the step of the whole batch, whatever its loss is a mean over."""

from __future__ import annotations

import pytest
import torch
from accumulated import RECIPES, gradients
from test_loop import CPU


@pytest.mark.parametrize("name", RECIPES)
def test_parts_of_a_batch_give_the_gradients_of_the_whole(name: str) -> None:
    whole, losses = gradients(name, 1, CPU)
    assert whole and all(value != 0 for value in losses.values())
    for parts in (2, 3, 7):  # of 7 pictures: uneven, too
        found, parts_losses = gradients(name, parts, CPU)
        assert parts_losses == pytest.approx(losses, rel=1e-5)
        assert found.keys() == whole.keys()
        for key, gradient in whole.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5 * scale)
