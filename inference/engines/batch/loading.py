"""From a version's directory to a runner: safetensors and plain config only, shapes checked before memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
)

from inference.engines import keys
from inference.engines.base import Manifest, Note, UnloadableVersion
from inference.engines.batch.classification import ImageClassifier, Labels, TextClassifier, choose_activation
from inference.engines.batch.convnet import MODEL_TYPE, ConvNetConfig, MercatoConvNet, read_labels
from inference.engines.batch.embedding import Embedder
from inference.engines.batch.preprocessing import read_preprocessing
from inference.engines.batch.runner import Runner, TextLimits
from inference.engines.batch.sentences import read_sentences
from inference.engines.checkpoint import (
    check_shapes,
    find_weights,
    load_state,
    note_left_out,
    read_headers,
    read_json,
)
from inference.engines.configuration import honoured_keys, rebuild_config

TEXT_MODEL_TYPES = frozenset({"bert", "distilbert", "mpnet", "roberta", "xlm-roberta"})
IMAGE_MODEL_TYPES = frozenset({"vit"})
# Their positions start behind the padding token's index, which shortens what fits.
OFFSET_POSITIONS = frozenset({"mpnet", "roberta", "xlm-roberta"})
MAX_DIMENSIONS = 64
Loaded = tuple[Runner, tuple[Note, ...]]


def load_runner(directory: Path, *, manifest: Manifest, device: str) -> Loaded:
    """The runner for `manifest.task`, and what of the files has no effect.

    Raises `UnloadableVersion` with a sentence for the provider.
    """
    raw = read_json(directory / "config.json")
    if manifest.task == "feature-extraction":
        return _load_embedder(directory, raw, manifest=manifest, device=device)
    if manifest.task == "text-classification":
        return _load_text_classifier(directory, raw, manifest=manifest, device=device)
    if manifest.task == "image-classification":
        return _load_image_classifier(directory, raw, device=device)
    raise UnloadableVersion(f"The batch engine has no task {manifest.task!r}.")


def _load_embedder(directory: Path, raw: dict[str, Any], *, manifest: Manifest, device: str) -> Loaded:
    config = rebuild_config(raw, model_types=TEXT_MODEL_TYPES)
    sentences = read_sentences(directory, width=config.hidden_size, device=device)
    # The pooler head plays no part in embeddings and is missing from some checkpoints.
    options = {} if config.model_type == "distilbert" else {"add_pooling_layer": False}
    model, notes = _load_transformer(MODEL_MAPPING, config, directory, device=device, options=options)
    embedder = Embedder(
        model,
        limits=_limit_texts(config, manifest),
        sentences=sentences,
        dimensions=_read_dimensions(raw),
    )
    return embedder, _judge(raw) + notes


def _load_text_classifier(directory: Path, raw: dict[str, Any], *, manifest: Manifest, device: str) -> Loaded:
    config = rebuild_config(raw, model_types=TEXT_MODEL_TYPES)
    labels = _label(raw, config)
    model, notes = _load_transformer(
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, config, directory, device=device
    )
    return TextClassifier(model, labels=labels, limits=_limit_texts(config, manifest)), _judge(raw) + notes


def _load_image_classifier(directory: Path, raw: dict[str, Any], *, device: str) -> Loaded:
    steps = read_json(directory / "preprocessor_config.json")
    if raw.get("model_type") == MODEL_TYPE:
        return _load_convnet(directory, raw, steps, device=device), ()
    config = rebuild_config(raw, model_types=IMAGE_MODEL_TYPES)
    labels = _label(raw, config)
    side = config.image_size if isinstance(config.image_size, list | tuple) else [config.image_size] * 2
    preprocessing = read_preprocessing(steps, channels=config.num_channels, image_size=(side[0], side[1]))
    model, notes = _load_transformer(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, config, directory, device=device)
    return ImageClassifier(model, labels=labels, preprocessing=preprocessing), _judge(raw) + notes


def _load_convnet(directory: Path, raw: dict[str, Any], steps: Mapping[str, Any], *, device: str) -> Runner:
    sizes = ConvNetConfig.from_json(raw)
    with torch.device("meta"):
        network = MercatoConvNet(sizes)
    preprocessing = read_preprocessing(
        steps, channels=sizes.num_channels, image_size=(sizes.image_size, sizes.image_size)
    )
    loaded = load_state(network, find_weights(directory), device)
    labels = Labels(names=sizes.labels, activation="softmax")
    return ImageClassifier(loaded, labels=labels, preprocessing=preprocessing)


def _load_transformer(
    classes: Any,
    config: PreTrainedConfig,
    directory: Path,
    *,
    device: str,
    options: dict[str, Any] | None = None,
) -> tuple[nn.Module, tuple[Note, ...]]:
    try:
        with torch.device("meta"):
            model = classes[type(config)](config, **(options or {}))
    except Exception as error:  # whatever a constructor makes of a stranger's sizes
        raise UnloadableVersion(f"config.json does not build a {config.model_type} model: {error}") from error
    files = find_weights(directory)
    headers = read_headers(files)
    notes = note_left_out(headers.keys() - set(check_shapes(model, headers).values()))
    loaded: nn.Module = load_state(model, files, device, options=options)
    return loaded, notes


def _judge(raw: Mapping[str, Any]) -> tuple[Note, ...]:
    config_class = CONFIG_MAPPING[str(raw["model_type"])]
    return keys.judge(raw, config_class=config_class, honoured=honoured_keys(config_class))


def _limit_texts(config: PreTrainedConfig, manifest: Manifest) -> TextLimits:
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    positions = config.max_position_embeddings
    if config.model_type in OFFSET_POSITIONS:
        positions -= pad + 1
    if positions < 1 or not 0 <= pad < config.vocab_size:
        raise UnloadableVersion(
            "config.json: pad_token_id and max_position_embeddings leave no room for text."
        )
    return TextLimits(length=min(positions, manifest.context_length), vocabulary=config.vocab_size, pad=pad)


def _label(raw: dict[str, Any], config: PreTrainedConfig) -> Labels:
    names = read_labels(raw) if "id2label" in raw else read_labels({"id2label": config.id2label})
    return Labels(names=names, activation=choose_activation(config.problem_type, len(names)))


def _read_dimensions(raw: dict[str, Any]) -> list[int]:
    """The lengths that a Matryoshka model's vectors may be cut to, as its config.json lists them."""
    listed = raw.get("matryoshka_dimensions") or []
    if (
        not isinstance(listed, list)
        or len(listed) > MAX_DIMENSIONS
        or any(type(n) is not int for n in listed)
    ):
        raise UnloadableVersion("config.json: matryoshka_dimensions must be a list of whole numbers.")
    return listed
