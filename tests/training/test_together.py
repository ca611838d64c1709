"""Several processes that train one model make what one process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import together as script
import torch
import uproot

import hepgan
from hepgan.networks import drawing_from
from hepgan.networks.drawing import Dropout, drawing_rows
from hepgan.networks.parallel import Processes, by_rows, processes

if not torch.distributed.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
HERE = ("--local-addr", "127.0.0.1")
"""Or else processes look for each other by this machine's name, which need not be known to anything."""


def run(*command, folder, status=0):
    """What two processes say that run a command."""
    made = {**os.environ, "OMP_NUM_THREADS": "1"}
    made = {k: v for k, v in made.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    process = subprocess.Popen(
        [*TORCHRUN, *HERE, *command],
        cwd=folder,
        env=made,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=270)
    except BaseException:
        process.terminate()  # by which torchrun ends what it has started
        process.communicate(timeout=25)
        raise
    found = subprocess.CompletedProcess(command, process.returncode, out, err)
    assert (found.returncode == 0) == (status == 0), found.stdout + found.stderr
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder with what two processes have written."""
    folder = tmp_path_factory.mktemp("two")
    run(script.__file__, "made", *script.RECIPES, folder=folder)
    return folder


@pytest.mark.parametrize("name", script.RECIPES)
def test_losses_and_metrics_are_those_of_one_process(two, name):
    first, second = (json.loads((two / f"made.{name}.{rank}").read_text()) for rank in (0, 1))
    assert first == second, "weights are the same to the last bit"
    generator = script.train(name)
    losses = generator.history.losses
    assert set(losses.names) == set(first["losses"])
    for column in losses.names:
        # The bias of a Wasserstein critic's last layer has no gradient but rounding, by which Adam moves it.
        loose = column in ("generator/critic_adversarial", "generator/total")
        np.testing.assert_allclose(
            first["losses"][column], losses[column], rtol=2e-5, atol=2e-2 if loose else 2e-6, err_msg=column
        )
    assert [row.keys() for row in first["metrics"]] == [
        row.keys() for row in generator.history.metrics.rows()
    ]
    for one, other in zip(first["metrics"], generator.history.metrics.rows(), strict=True):
        assert one == pytest.approx(other, abs=0.01)


def test_a_training_that_a_signal_to_one_process_stopped_goes_on_in_one(two):
    goes_on = script.train("flow", checkpoint=two / "made.checkpoint", resume=True).history
    whole = script.train("flow").history
    assert goes_on.status == "finished"
    np.testing.assert_allclose(goes_on.losses["flow/total"], whole.losses["flow/total"], rtol=2e-5)


@pytest.fixture
def folder(tmp_path):
    """A folder with events and a recipe."""
    rng = np.random.default_rng(1)
    with uproot.recreate(tmp_path / "t.root") as file:
        file["t"] = {"x": rng.normal(size=600), "y": rng.normal(size=600)}
    recipe = {
        "name": "tiny",
        "model": {"kind": "flow", "blocks": 2, "network": script.MLP},
        "training": {"steps": 30, "batch_size": 256},
    }
    (tmp_path / "tiny.yaml").write_text(hepgan.EventGenerator(recipe).recipe.to_yaml())
    return tmp_path


def test_the_command_says_and_writes_once(folder):
    command = ("-m", "hepgan", "train", "tiny.yaml", "t.root:t", "-o", "m.safetensors", "--log-every", "10")
    found = run(*command, folder=folder)
    assert found.stdout.count("600 events; training tiny") == 1
    assert found.stdout.count("model in m.safetensors") == 1
    assert found.stderr.count("step 30: flow") == 1
    made = hepgan.EventGenerator.load(folder / "m.safetensors").generate(500, seed=1)
    recipe = hepgan.load_recipe(folder / "tiny.yaml")
    one = (
        hepgan.EventGenerator(recipe)
        .fit(hepgan.read_events(folder / "t.root:t"), seed=0)
        .generate(500, seed=1)
    )
    np.testing.assert_allclose(made.x.to_numpy(), one.x.to_numpy(), atol=1e-4)
    assert not list(Path(folder).glob("*.checkpoint*"))


def test_an_error_is_told_once(folder):
    command = ("-m", "hepgan", "train", "tiny.yaml", "nothing.root:t", "-o", "m.safetensors")
    found = run(*command, folder=folder, status=2)
    lines = [line for line in found.stderr.splitlines() if line.startswith("hepgan: ")]
    assert len(lines) == 1, found.stderr
    assert "nothing.root" in lines[0]


def test_one_process_calls_the_function_as_it_is():
    assert processes() == Processes(0, 1)
    seen = []

    def double(x, mask):
        seen.append((x, mask))
        return 2 * x

    x = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(by_rows(torch.nn.Identity(), double, x, None), 2 * x)
    assert seen[0][0] is x
    assert Processes().largest(1.0, 2) == [1.0, 2]
    assert Processes().shared({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("each", [1, 3])
def test_dropout_of_some_rows_is_that_of_all(each):
    layer = Dropout(0.5).train()
    x = torch.ones(10 * each, 4)

    def drawn(rows=None):
        with drawing_from(torch.Generator().manual_seed(1)):
            if rows is None:
                return layer(x)
            first, number = rows
            with drawing_rows(first, number, 10):
                return layer(x[: number * each])

    whole = drawn()
    assert torch.equal(drawn((0, 5)), whole[: 5 * each])
    assert torch.equal(drawn((5, 5)), whole[5 * each :])
    # A row beyond the last one stands for that.
    assert torch.equal(drawn((6, 6))[: 4 * each], whole[6 * each :])
