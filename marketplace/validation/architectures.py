"""The model architectures that Mercato runs: what their configs are called and where their layers lie."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

TEXT_GENERATION = "text-generation"
FEATURE_EXTRACTION = "feature-extraction"
TEXT_CLASSIFICATION = "text-classification"
IMAGE_CLASSIFICATION = "image-classification"
TEXT_TASKS = frozenset({TEXT_GENERATION, FEATURE_EXTRACTION, TEXT_CLASSIFICATION})

# Our names for sizes, and what configs call them.
_USUAL: Mapping[str, tuple[str, ...]] = {
    "vocab": ("vocab_size",),
    "hidden": ("hidden_size",),
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "positions": ("max_position_embeddings",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """`classes` maps the names in `architectures` to tasks; `keys` maps our size names to config keys.

    `embedding` and `layer` find, in tensor names, the token embedding and the number of a layer.
    `padded_positions`: positions start behind the padding token's index, which shortens what fits.
    """

    classes: Mapping[str, str]
    layer: re.Pattern[str]
    embedding: re.Pattern[str] | None = None
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _USUAL)
    padded_positions: bool = False


def _decoder(name: str) -> Architecture:
    return Architecture(
        classes={f"{name}ForCausalLM": TEXT_GENERATION},
        embedding=re.compile(r"(model\.)?embed_tokens\.weight"),
        layer=re.compile(r"(?:model\.)?layers\.(\d+)\."),
    )


def _encoder(name: str, prefix: str, *, classifies: bool = True, padded: bool = False) -> Architecture:
    classes = {f"{name}Model": FEATURE_EXTRACTION, f"{name}ForMaskedLM": FEATURE_EXTRACTION}
    if classifies:
        classes[f"{name}ForSequenceClassification"] = TEXT_CLASSIFICATION
    return Architecture(
        classes=classes,
        embedding=re.compile(rf"({prefix}\.)?embeddings\.word_embeddings\.weight"),
        layer=re.compile(rf"(?:{prefix}\.)?encoder\.layer\.(\d+)\."),
        padded_positions=padded,
    )


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral"),
    "qwen2": _decoder("Qwen2"),
    "qwen3": _decoder("Qwen3"),
    "phi3": _decoder("Phi3"),
    "gemma": _decoder("Gemma"),
    "gpt2": Architecture(
        classes={"GPT2LMHeadModel": TEXT_GENERATION},
        embedding=re.compile(r"(transformer\.)?wte\.weight"),
        layer=re.compile(r"(?:transformer\.)?h\.(\d+)\."),
        keys={
            "vocab": ("vocab_size",),
            "hidden": ("n_embd", "hidden_size"),
            "layers": ("n_layer", "num_hidden_layers"),
            "heads": ("n_head", "num_attention_heads"),
            "positions": ("n_positions", "max_position_embeddings"),
        },
    ),
    "gpt_neox": Architecture(
        classes={"GPTNeoXForCausalLM": TEXT_GENERATION},
        embedding=re.compile(r"(gpt_neox\.)?embed_in\.weight"),
        layer=re.compile(r"(?:gpt_neox\.)?layers\.(\d+)\."),
    ),
    "bert": _encoder("Bert", "bert"),
    "roberta": _encoder("Roberta", "roberta", padded=True),
    "xlm-roberta": _encoder("XLMRoberta", "roberta", padded=True),
    "mpnet": _encoder("MPNet", "mpnet", classifies=False, padded=True),
    "distilbert": Architecture(
        classes={
            "DistilBertModel": FEATURE_EXTRACTION,
            "DistilBertForMaskedLM": FEATURE_EXTRACTION,
            "DistilBertForSequenceClassification": TEXT_CLASSIFICATION,
        },
        embedding=re.compile(r"(distilbert\.)?embeddings\.word_embeddings\.weight"),
        layer=re.compile(r"(?:distilbert\.)?transformer\.layer\.(\d+)\."),
        keys={
            "vocab": ("vocab_size",),
            "hidden": ("dim", "hidden_size"),
            "layers": ("n_layers", "num_hidden_layers"),
            "heads": ("n_heads", "num_attention_heads"),
            "positions": ("max_position_embeddings",),
        },
    ),
    "vit": Architecture(
        classes={"ViTForImageClassification": IMAGE_CLASSIFICATION},
        layer=re.compile(r"(?:vit\.)?encoder\.layer\.(\d+)\."),
        keys={
            "hidden": ("hidden_size",),
            "layers": ("num_hidden_layers",),
            "heads": ("num_attention_heads",),
        },
    ),
    "mercato_convnet": Architecture(
        classes={"MercatoConvNet": IMAGE_CLASSIFICATION},
        layer=re.compile(r"features\.(\d+)\."),
        keys={"hidden": ("hidden_size",)},
    ),
}
