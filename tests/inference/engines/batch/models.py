"""Tiny models with random weights, saved by transformers itself."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
    "pad_token_id": 1,
}
DISTILBERT_SIZES = {
    "vocab_size": 120,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 80,
    "pad_token_id": 1,
}
VIT_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
NAMES = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "mpnet": "MPNet",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "vit": "ViT",
}


def write_model(directory: Path, model_type: str, head: str, **settings: Any) -> transformers.PreTrainedModel:
    """Save a model of `model_type` with the class suffix `head` ("Model", "ForSequenceClassification")."""
    sizes = {"distilbert": DISTILBERT_SIZES, "vit": VIT_SIZES}.get(model_type, SIZES)
    name = NAMES[model_type]
    config = getattr(transformers, f"{name}Config")(**{**sizes, **settings})
    torch.manual_seed(5)
    model = getattr(transformers, name + head)(config).eval()
    # Random classifiers answer almost alike; wider weights make an answer mean something.
    for name, parameter in model.named_parameters():
        if name.startswith("classifier") or "out_proj" in name:
            parameter.data.mul_(20)
    model.save_pretrained(directory)
    return model


def write_sentence_files(directory: Path, *, modes: list[str], normalize: bool) -> None:
    """modules.json and 1_Pooling/config.json as sentence-transformers writes them."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] * normalize)]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": modes}))


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file in place."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
