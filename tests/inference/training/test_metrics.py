"""Metrics against scikit-learn and by hand."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from inference.training import metrics


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_equal_scikit_learn(seed):
    generator = torch.Generator().manual_seed(seed)
    targets, predictions = torch.randint(0, 5, (2, 200), generator=generator)
    found = metrics.count_confusions(targets, predictions, classes=5)
    assert found.tolist() == confusion_matrix(targets, predictions, labels=range(5)).tolist()
    assert metrics.accuracy(found) == pytest.approx(accuracy_score(targets, predictions))
    assert metrics.macro_precision(found) == pytest.approx(
        precision_score(targets, predictions, average="macro")
    )
    assert metrics.macro_recall(found) == pytest.approx(recall_score(targets, predictions, average="macro"))


def test_a_class_never_predicted_counts_as_no_precision():
    found = metrics.count_confusions(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 0]), classes=2)
    assert metrics.macro_precision(found) == 0.25
    assert metrics.macro_recall(found) == 0.5


def test_perplexity_of_a_fair_guess_is_the_number_of_choices():
    assert metrics.perplexity(math.log(50)) == pytest.approx(50)
    assert metrics.perplexity(1e9) == math.inf
