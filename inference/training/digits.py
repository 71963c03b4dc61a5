"""The demo's image classifier: handwritten digits of 8 x 8 pixels, learnt by a small network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from inference.engines.batch.convnet import ConvNetConfig, MercatoConvNet
from inference.training import metrics, version_files
from inference.training.data import Split, shift_images, shuffle_batches, split_by_class
from inference.training.loop import History, Settings, seeded, train
from inference.training.progress import Cancelled, Report

SEED = 7
CLASSES = 10
BATCH = 64
SETTINGS = Settings(
    steps=1200, learning_rate=3e-3, weight_decay=0.02, validate_every=60, report_every=20, patience=8
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Normalised pixels [count, 1, 8, 8], their digits [count], the split, and how they were normalised."""

    pixels: torch.Tensor
    targets: torch.Tensor
    split: Split
    mean: float
    std: float


def build(
    directory: Path,
    *,
    progress: Report,
    cancelled: Cancelled,
    seconds: float | None = None,
    settings: Settings = SETTINGS,
) -> Path:
    """Train, measure on the held-out test digits, and write a complete version into `directory`.

    `seconds` caps the training. Raises `TrainingCancelled`, having written nothing.
    """
    data = prepare()
    with seeded(SEED):
        model = MercatoConvNet(ConvNetConfig())
        history = fit(
            model, data, settings=replace(settings, seconds=seconds), progress=progress, cancelled=cancelled
        )
    confusions = confuse(model, data, data.split.test)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, model, data, history, confusions)
    return directory


def prepare() -> Digits:
    """scikit-learn's 1,797 digits: 70 % to learn from, 15 % to validate, 15 % to test, alike by class."""
    bunch = load_digits()
    targets = torch.from_numpy(bunch.target).long()
    # The set counts ink from 0 to 16; callers send images of 0 to 255.
    pixels = (torch.from_numpy(bunch.images).float() * 255 / 16).round().div(255).unsqueeze(1)
    split = split_by_class(targets, validation=0.15, test=0.15, seed=SEED)
    mean, std = float(pixels[split.train].mean()), float(pixels[split.train].std())
    return Digits(pixels=(pixels - mean) / std, targets=targets, split=split, mean=mean, std=std)


def fit(
    model: MercatoConvNet, data: Digits, *, settings: Settings, progress: Report, cancelled: Cancelled
) -> History:
    """Cross-entropy on shifted images, stopped early by the validation loss."""
    generator = torch.Generator().manual_seed(SEED)

    def loss_of(module: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        images, targets = batch
        logits = module(shift_images(images, most=1, generator=generator)).logits
        return nn.functional.cross_entropy(logits, targets, label_smoothing=0.05)

    chosen = data.split.train
    return train(
        model,
        shuffle_batches([data.pixels[chosen], data.targets[chosen]], size=BATCH, seed=SEED),
        loss_of,
        settings=settings,
        validate=lambda: _validate(model, data),
        progress=progress,
        cancelled=cancelled,
    )


def _validate(model: MercatoConvNet, data: Digits) -> Mapping[str, float]:
    chosen = data.split.validation
    loss = nn.functional.cross_entropy(model(data.pixels[chosen]).logits, data.targets[chosen])
    return {"loss": float(loss), "accuracy": metrics.accuracy(confuse(model, data, chosen))}


@torch.inference_mode()
def confuse(model: MercatoConvNet, data: Digits, chosen: torch.Tensor) -> torch.Tensor:
    """The confusion matrix [10, 10] of the digits in `chosen`."""
    predictions = model(data.pixels[chosen]).logits.argmax(dim=-1)
    return metrics.count_confusions(data.targets[chosen], predictions, classes=CLASSES)


def _write(
    directory: Path, model: MercatoConvNet, data: Digits, history: History, confusions: torch.Tensor
) -> None:
    save_file(model.state_dict(), directory / "model.safetensors", metadata={"format": "pt"})
    version_files.write_json(directory / "config.json", ConvNetConfig().to_json())
    version_files.write_json(directory / "preprocessor_config.json", _describe_preprocessing(data))
    measured = {
        "accuracy": metrics.accuracy(confusions),
        "precision": metrics.macro_precision(confusions),
        "recall": metrics.macro_recall(confusions),
    }
    record = {**history.to_json(), "seed": SEED, "metrics": measured, "confusions": confusions.tolist()}
    version_files.write_json(directory / "training.json", record)
    _write_card(directory, measured, history=history, tested=len(data.split.test))


def _describe_preprocessing(data: Digits) -> dict[str, object]:
    size = data.pixels.shape[-1]
    return {
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [data.mean],
        "image_std": [data.std],
    }


def _write_card(directory: Path, measured: Mapping[str, float], *, history: History, tested: int) -> None:
    dataset = {"name": "scikit-learn digits", "type": "digits", "split": "test"}
    front_matter = {
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "digits", "convolutional-network"],
        "metrics": list(measured),
        "model-index": version_files.index_results(
            "digits-convnet", task="image-classification", dataset=dataset, metrics=measured
        ),
    }
    body = f"""
# Handwritten digits

A convolutional network (two convolutions with pooling, a dense layer of 128, a class per digit) that reads
one handwritten digit, light ink on a dark ground. Images are brought to 8 x 8 grey pixels.

| measured on {tested} digits it never saw | |
|---|---|
| accuracy | {measured["accuracy"]:.1%} |
| precision, mean over digits | {measured["precision"]:.1%} |
| recall, mean over digits | {measured["recall"]:.1%} |

Trained in {history.steps} steps ({history.seconds:.0f} s) with AdamW, weight decay, dropout, shifted
images and early stopping, on scikit-learn's copy of the UCI set of handwritten digits (CC BY 4.0).
`training.json` holds the loss curve and the confusion matrix.

It knows single digits only: letters and photographs get a digit too, often with confidence.
"""
    version_files.write_card(directory, front_matter=front_matter, body=body)
