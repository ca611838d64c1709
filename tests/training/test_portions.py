from __future__ import annotations

import os
import signal

import pytest
import torch

from hepgan.errors import ModelFileError, OutputError
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import new_learner
from hepgan.models import FlowConfig
from hepgan.networks import MLPConfig
from hepgan.training import Portions, Trainer, TrainingConfig, digest_of_events
from hepgan.training import portions as module
from hepgan.training.data import Batches


def numbered(first, count, mask=False):
    """Events whose first feature is their number."""
    x = torch.stack([torch.arange(first, first + count, dtype=torch.float64), torch.randn(count).double()], 1)
    none = torch.zeros(count, 0)
    there = torch.ones(count, 2, dtype=torch.bool) if mask else None
    return FeatureBatch(x, there, none.long(), none, none, torch.ones(count))


def divided(folder, counts, members=1, **options):
    torch.manual_seed(7)
    found, first = Portions(folder), 0
    for count in counts:
        rows = None if members == 1 else [torch.randint(count, (count - k,)) for k in range(members)]
        found.add(numbered(first, count, **options), rows)
        first += count
    return found


def learner(members=1):
    torch.manual_seed(1)
    config = FlowConfig(blocks=1, network=MLPConfig(widths=(8,), dropout=0.2))
    return new_learner(config, FeatureSpace(2, 0), lambda f: f, {}, members=members)


SETTINGS = TrainingConfig(steps=37, batch_size=40, diagnose_every=5, checkpoint_every=0.0)


@pytest.mark.parametrize("members", [1, 3])
def test_portions_in_files_give_the_losses_and_weights_of_those_in_memory(tmp_path, members):
    trained = []
    for folder in (None, tmp_path):
        model = learner(members)
        history = Trainer(model, divided(folder, (200, 190, 201), members, mask=True), SETTINGS).run()
        trained.append((history, [p.clone() for p in model.parameters()]))
    (one, weights), (other, others) = trained
    assert one.losses.rows() == other.losses.rows()
    assert all(map(torch.equal, weights, others))
    assert len(list(tmp_path.iterdir())) == 3


def test_each_pass_has_every_event_once_in_an_order_of_its_own(tmp_path):
    batches = Batches(divided(tmp_path, (120, 90, 60)), 30, torch.Generator().manual_seed(0))
    passes = [torch.cat([batches.next().x[:, 0] for _ in range(9)]) for _ in range(3)]
    for numbers in passes:
        assert torch.equal(numbers.sort().values, torch.arange(270.0))
    orders = {tuple(torch.unique_consecutive((p >= 120).int() + (p >= 210).int()).tolist()) for p in passes}
    assert all(len(order) == 3 for order in orders)  # a portion after the other
    assert not torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[1], passes[2])


def test_a_training_in_portions_goes_on_where_it_was_stopped(tmp_path):
    (tmp_path / "portions").mkdir()
    data, path = divided(tmp_path / "portions", (200, 190, 201)), tmp_path / "checkpoint"
    config = SETTINGS.model_copy(update={"evaluate_every": 18})

    def trained(interrupted=False, **options):
        def evaluate(model):
            if interrupted:
                os.kill(os.getpid(), signal.SIGINT)
            return {}

        model = learner()
        return model, Trainer(model, data, config, seed=5, evaluate=evaluate, **options).run()

    whole, expected = trained()
    first = trained(interrupted=True, checkpoint=path)[1]
    assert (first.status, len(first.losses)) == ("interrupted", 18)  # in the second portion
    resumed, history = trained(checkpoint=path, resume=True)
    assert history.losses.rows() == expected.losses.rows()
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
    with pytest.raises(ModelFileError, match="number of events differs"):
        Trainer(
            learner(), divided(None, (200, 190)), config, seed=5, evaluate=len, checkpoint=path, resume=True
        )


def test_an_order_of_other_portions_is_refused():
    batches = Batches(divided(None, (60, 60)), 30, torch.Generator().manual_seed(0))
    batches.next()
    state = batches.state_dict()
    other = Batches(divided(None, (60, 60, 60)), 30, torch.Generator())
    for wrong in ({"portions": [0, 2]}, {"portions": [0, 0, 1]}, {"place": 7}, {"place": "0"}):
        with pytest.raises(ValueError, match="an order of other portions"):
            other.load_state_dict({**state, **wrong})


def test_the_digest_tells_numbers_and_order_of_the_portions():
    one = divided(None, (50,))
    assert one.digest == digest_of_events(one[0].data)
    two = divided(None, (50, 60))
    assert two.digest == divided(None, (50, 60)).digest
    assert len({two.digest, one.digest, divided(None, (60, 50)).digest}) == 3
    assert (two.events, two.sum_of_weights, two.negative) == (110, 110.0, 0)


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(tensors, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(
        OutputError, match=r"portion-0\.safetensors: the encoded events cannot be written: .*space"
    ):
        divided(tmp_path, (50,))
