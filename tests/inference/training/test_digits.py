"""The digits classifier: trained for real, measured for real, served for real."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from inference.engines.base import BatchRequest, Manifest
from inference.engines.batch.engine import BatchEngine
from inference.training import digits
from inference.training.data import shift_images
from inference.training.progress import TrainingCancelled
from tests.inference.engines.batch.conftest import Collector
from tests.inference.training.conftest import never


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("digits")
    return digits.build(directory, progress=lambda _: None, cancelled=never, seconds=40)


def test_it_reads_at_least_97_percent_of_digits_it_never_saw(version):
    record = json.loads((version / "training.json").read_text())
    assert record["metrics"]["accuracy"] >= 0.97
    assert min(record["metrics"].values()) >= 0.97
    confusions = np.array(record["confusions"])
    assert confusions.sum() == len(digits.prepare().split.test)
    assert confusions.trace() / confusions.sum() == pytest.approx(record["metrics"]["accuracy"])
    assert record["curve"][-1]["loss"] < record["curve"][0]["loss"] / 2
    assert record["seconds"] < 40


def test_the_card_states_what_was_measured(version):
    _, head, body = (version / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    measured = json.loads((version / "training.json").read_text())["metrics"]
    assert card["pipeline_tag"] == "image-classification"
    assert card["license"] == "apache-2.0"
    listed = card["model-index"][0]["results"][0]["metrics"]
    assert {each["type"]: each["value"] for each in listed} == {k: round(v, 4) for k, v in measured.items()}
    assert f"{measured['accuracy']:.1%}" in body


def test_the_engine_reads_test_digits_as_pictures(version):
    sink = Collector()
    manifest = Manifest(
        task="image-classification",
        architecture="MercatoConvNet",
        context_length=0,
        weight_bytes=0,
        memory_bytes=0,
    )
    engine = BatchEngine.load(version, manifest=manifest, device="cpu", sink=sink)
    bunch, chosen = load_digits(), digits.prepare().split.test[:60].tolist()
    images = [encode(bunch.images[index] * 255 / 16) for index in chosen]
    engine.submit(BatchRequest(id="r", items=images))
    answers = [item[0]["label"] for item in sink.last("r").output["labels"]]
    engine.close(drain=True, timeout=10)
    right = sum(answer == str(bunch.target[index]) for answer, index in zip(answers, chosen, strict=True))
    assert right >= 57


def encode(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_few_steps_repeat_exactly(tmp_path):
    settings = replace(digits.SETTINGS, steps=12)
    for name in ("first", "second"):
        digits.build(tmp_path / name, progress=lambda _: None, cancelled=never, settings=settings)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


def test_a_cancelled_build_writes_nothing(tmp_path):
    with pytest.raises(TrainingCancelled):
        digits.build(tmp_path / "never", progress=lambda _: None, cancelled=lambda: True)
    assert not (tmp_path / "never").exists()


def test_shifting_moves_pictures_by_a_pixel_at_most():
    image = torch.zeros(200, 1, 8, 8)
    image[:, :, 4, 4] = 1
    places = {tuple(place[2:].tolist()) for place in shift_images(
        image, most=1, generator=torch.Generator().manual_seed(0)
    ).nonzero()}  # fmt: skip
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
