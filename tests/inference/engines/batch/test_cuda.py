"""On a (simulated) CUDA device the batch engine answers as on the CPU, and reads once per forward pass."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from inference.engines.batch.convnet import ConvNetConfig, MercatoConvNet
from inference.engines.batch.engine import GPU_LIMITS
from inference.engines.batch.pooling import MODES
from tests.inference.engines.batch.models import write_model, write_sentence_files
from tests.inference.engines.batch.test_images import encode, picture

TEXTS = [[5, 6, 7], [9] * 30, [8], [11, 12, 13]]


@pytest.fixture
def compare(load, cuda):
    """compare(directory, task, items): the outputs on the CPU and on CUDA, and what CUDA waited for."""

    def ask(directory, task, items):
        expected = load(directory, task, on="cpu").ask("r", items)
        bench = load(directory, task, on="cuda:0")
        assert bench.engine._limits is GPU_LIMITS
        cuda.clear()
        found = bench.ask("r", items)
        assert found.finish_reason == expected.finish_reason == "stop", found.error
        assert bench.engine.stats().steps == 1
        return expected.output, found.output, dict(cuda)

    return ask


def vectors(output) -> np.ndarray:
    return np.stack([np.frombuffer(each, dtype="<f4") for each in output["embeddings"]])


def scores(output) -> list[dict[str, float]]:
    return [{each["label"]: each["score"] for each in item} for item in output["labels"]]


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "mpnet", "roberta", "xlm-roberta"])
def test_embeddings_and_every_pooling(compare, tmp_path, model_type):
    write_model(tmp_path, model_type, "Model")
    write_sentence_files(tmp_path, modes=sorted(MODES), normalize=True)
    expected, found, waits = compare(tmp_path, "feature-extraction", TEXTS)
    np.testing.assert_allclose(vectors(found), vectors(expected), atol=1e-5)
    # transformers looks whether there is any padding, before it has asked anything of the device.
    assert waits.pop("read by is_nonzero", 1) == 1
    assert waits == {"upload": 2, "read": 1}


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "mpnet", "roberta", "xlm-roberta"])
def test_text_classification(compare, tmp_path, model_type):
    write_model(tmp_path, model_type, "ForSequenceClassification", id2label={0: "calm", 1: "glad"})
    expected, found, waits = compare(tmp_path, "text-classification", TEXTS)
    for one, other in zip(scores(found), scores(expected), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert waits["read"] == 1


def write_vit(directory) -> None:
    write_model(directory, "vit", "ForImageClassification", id2label={0: "cat", 1: "dog"})
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)


def write_convnet(directory) -> None:
    torch.manual_seed(2)
    save_file(MercatoConvNet(ConvNetConfig()).state_dict(), directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(ConvNetConfig().to_json()))
    steps = {"size": {"height": 8, "width": 8}, "image_mean": [0.3], "image_std": [0.4]}
    (directory / "preprocessor_config.json").write_text(json.dumps(steps))


@pytest.mark.parametrize("write", [write_vit, write_convnet])
def test_image_classification(compare, tmp_path, write):
    write(tmp_path)
    images = [encode(picture(20 + index, 30)) for index in range(3)]
    expected, found, waits = compare(tmp_path, "image-classification", images)
    for one, other in zip(scores(found), scores(expected), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert waits == {"upload": 1, "read": 1}
