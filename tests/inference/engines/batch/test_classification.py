"""Text classification: labels and scores as transformers' own pipeline would give them."""

import pytest
import torch

from inference.engines.base import RequestRefused, UnloadableVersion
from tests.inference.engines.batch.models import edit_json, write_model

TASK = "text-classification"
LABELS = {0: "calm", 1: "glad", 2: "sad"}
ITEMS = [[5, 6, 7], [9] * 30]


def scores(chunk) -> list[dict[str, float]]:
    assert chunk.finish_reason == "stop", chunk.error
    return [{each["label"]: each["score"] for each in item} for item in chunk.output["labels"]]


@torch.inference_mode()
def logits(model) -> torch.Tensor:
    return torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in ITEMS])


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "mpnet", "roberta", "xlm-roberta"])
def test_one_label_of_many_is_a_softmax_over_the_models_own_names(load, tmp_path, model_type):
    model = write_model(tmp_path, model_type, "ForSequenceClassification", id2label=LABELS)
    chunk = load(tmp_path, TASK).ask("r", ITEMS)
    for found, row in zip(scores(chunk), logits(model).softmax(dim=-1), strict=True):
        assert found == pytest.approx(dict(zip(LABELS.values(), row.tolist(), strict=True)), abs=1e-5)
    ranked = [each["score"] for each in chunk.output["labels"][0]]
    assert ranked == sorted(ranked, reverse=True)
    assert chunk.usage["input_tokens"] == 33


@pytest.mark.parametrize(
    ("problem_type", "labels", "activation"),
    [
        ("multi_label_classification", 3, torch.sigmoid),
        (None, 1, torch.sigmoid),
        ("regression", 1, lambda row: row),
        ("single_label_classification", 2, lambda row: row.softmax(dim=-1)),
    ],
)
def test_the_problem_type_decides_the_scores(load, tmp_path, problem_type, labels, activation):
    names = {index: f"label-{index}" for index in range(labels)}
    model = write_model(
        tmp_path, "bert", "ForSequenceClassification", id2label=names, problem_type=problem_type
    )
    found = scores(load(tmp_path, TASK).ask("r", ITEMS))
    for item, row in zip(found, activation(logits(model)), strict=True):
        assert item == pytest.approx(dict(zip(names.values(), row.tolist(), strict=True)), abs=1e-5)


def test_top_k_keeps_the_best_labels(load, tmp_path):
    write_model(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    bench = load(tmp_path, TASK)
    whole = bench.ask("whole", ITEMS).output["labels"]
    assert bench.ask("best", ITEMS, top_k=1).output["labels"] == [item[:1] for item in whole]
    with pytest.raises(RequestRefused, match="top_k"):
        bench.submit("r", ITEMS, top_k=0)


@pytest.mark.parametrize("labels", [{"0": "a", "2": "b"}, {}, ["a"], {"0": "x" * 600}])
def test_labels_with_gaps_or_bloat_are_refused(load, tmp_path, labels):
    write_model(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    edit_json(tmp_path / "config.json", id2label=labels)
    with pytest.raises(UnloadableVersion):
        load(tmp_path, TASK)


def test_more_labels_than_the_weights_hold_are_refused(load, tmp_path):
    write_model(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    edit_json(tmp_path / "config.json", id2label={str(index): str(index) for index in range(4)})
    with pytest.raises(UnloadableVersion, match="shape"):
        load(tmp_path, TASK)
