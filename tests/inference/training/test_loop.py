"""The loop: it learns, stops when told, early or in time, and repeats itself by seed."""

import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from inference.training.data import shuffle_batches, split_by_class
from inference.training.loop import Settings, seeded, train
from inference.training.optimisers import build_optimisers, warm_then_cosine
from inference.training.progress import TrainingCancelled
from tests.inference.training.conftest import never


def data(count: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 6, generator=generator)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))


def batch_loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    inputs, targets = batch
    return nn.functional.cross_entropy(model(inputs), targets)


def run(
    settings: Settings,
    *,
    validate=None,
    progress=lambda _: None,
    cancelled=never,
    batches: Iterator | None = None,
):
    inputs, targets = data()
    with seeded(4):
        model = network()
        history = train(
            model,
            batches or shuffle_batches([inputs, targets], size=32, seed=1),
            batch_loss,
            settings=settings,
            validate=validate or (lambda: {"loss": float(batch_loss(model, (inputs, targets)))}),
            progress=progress,
            cancelled=cancelled,
        )
    return model, history


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_loss_falls_far_below_a_guess(kind):
    _, history = run(Settings(steps=300, learning_rate=0.02, optimiser=kind))
    assert history.validations[-1]["loss"] < 0.3
    assert [point["step"] for point in history.curve] == list(range(10, 301, 10))


def test_the_same_seed_gives_the_same_weights_and_leaves_randomness_alone():
    before = torch.get_rng_state()
    first, _ = run(Settings(steps=40, learning_rate=0.01))
    second, _ = run(Settings(steps=40, learning_rate=0.01))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_progress_names_every_report_and_its_metrics(reports):
    run(Settings(steps=40, learning_rate=0.01, report_every=10, validate_every=20), progress=reports.append)
    assert [(each.step, bool(each.metrics)) for each in reports] == [
        (10, False), (20, False), (20, True), (30, False), (40, False), (40, True),
    ]  # fmt: skip
    assert {each.total for each in reports} == {40}
    assert all(each.loss is not None for each in reports if not each.metrics)


def test_cancel_stops_within_a_step():
    steps: list[int] = []
    with pytest.raises(TrainingCancelled):
        run(
            Settings(steps=1000, learning_rate=0.01, report_every=1),
            progress=lambda each: steps.append(each.step),
            cancelled=lambda: len(steps) >= 7,
        )
    assert steps[-1] == 7


def test_a_time_cap_ends_the_run_with_a_low_learning_rate():
    settings = Settings(steps=10**9, learning_rate=0.01, seconds=0.5, report_every=1)
    started = time.monotonic()
    _, history = run(settings)
    assert 0.4 < time.monotonic() - started < 3
    assert history.curve[-1]["learning_rate"] < 0.001


def test_early_stopping_keeps_the_best_weights_not_the_last():
    losses = iter([0.5, 0.3, 0.4, 0.6, 0.7, 0.1])
    kept: list[torch.Tensor] = []
    inputs, targets = data()
    with seeded(4):
        model = network()

        def validate() -> dict[str, float]:
            kept.append(model[0].weight.detach().clone())
            return {"loss": next(losses)}

        history = train(
            model,
            shuffle_batches([inputs, targets], size=32, seed=1),
            batch_loss,
            settings=Settings(steps=1000, learning_rate=0.01, validate_every=5, patience=2),
            validate=validate,
            progress=lambda _: None,
            cancelled=never,
        )
    assert history.steps == 25
    assert torch.equal(model[0].weight, kept[1])
    assert not torch.equal(model[0].weight, kept[-1])


def test_gradients_are_clipped():
    inputs, targets = data()
    exploding = iter([(inputs * 1e6, targets)] * 20)
    model, _ = run(Settings(steps=3, learning_rate=0.01, clip_norm=1.0), batches=exploding)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert all(parameter.abs().max() < 10 for parameter in model.parameters())


def test_decay_spares_vectors_and_muon_takes_only_hidden_matrices():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    adam, muon = build_optimisers(model, kind="muon", learning_rate=1.0, weight_decay=0.1)
    decays = {id(each): group["weight_decay"] for group in adam.param_groups for each in group["params"]}
    assert decays[id(model[0].weight)] == 0.1
    assert decays[id(model[1].bias)] == decays[id(model[2].weight)] == 0.0
    assert [id(each) for group in muon.param_groups for each in group["params"]] == [id(model[1].weight)]


def test_the_learning_rate_warms_up_and_falls_to_its_floor():
    rates = [warm_then_cosine(fraction / 100, warmup=0.1) for fraction in range(101)]
    assert rates[5] == pytest.approx(0.5)
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.02)


def test_a_split_is_disjoint_whole_and_alike_by_class():
    targets = torch.tensor([0] * 100 + [1] * 50 + [2] * 20)
    split = split_by_class(targets, validation=0.2, test=0.1, seed=3)
    parts = [split.train, split.validation, split.test]
    assert torch.cat(parts).sort().values.tolist() == list(range(170))
    assert [targets[part].bincount().tolist() for part in parts] == [[70, 35, 14], [20, 10, 4], [10, 5, 2]]
    assert torch.equal(split.test, split_by_class(targets, validation=0.2, test=0.1, seed=3).test)
