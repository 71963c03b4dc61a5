"""Small real models, made on the spot: random weights, real tokenizers, real files.

The same seed makes the same files, so a version published twice has one digest.
"""

import json
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Nothing in it ends a turn, so that answers run to their limit.
ENDLESS_TEMPLATE = CHAT_TEMPLATE.replace("<|end|>", "")
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<pad>"]


def write_tokenizer(directory: Path, *, size: int = 400, chats: bool = True, ends: bool = True) -> int:
    """A byte-level BPE tokenizer; returns its vocabulary's size. Every text has tokens.

    One that never `ends` names no end, and its chat template ends no turn.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(
        ["the quick brown fox jumps over the lazy dog and returns a list of strings"], trainer
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "model_max_length": 1024,
    }  # fmt: skip
    if ends:
        settings["eos_token"] = "<|end|>"
    if chats:
        settings["chat_template"] = CHAT_TEMPLATE if ends else ENDLESS_TEMPLATE
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def write_llama(
    directory: Path, *, seed: int = 0, layers: int = 2, width: int = 64, endless: bool = True
) -> Path:
    """A text-generation version. `endless` ones know no end token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(directory, ends=not endless)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        eos_token_id=None if endless else 0, bos_token_id=None, pad_token_id=4, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(directory, safe_serialization=True)
    (directory / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage: en\npipeline_tag: text-generation\ntags: [test]\n---\n\n"
        "# Tiny\n\nRandom weights; says nothing sensible.\n"
    )
    return directory


def write_base_llama(directory: Path) -> Path:
    """A text-generation version without a chat template, as base models are."""
    write_llama(directory, seed=1)
    path = directory / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["chat_template"]
    path.write_text(json.dumps(settings))
    return directory


def write_bert(directory: Path, *, seed: int = 0) -> Path:
    """A sentence-embedding version: mean pooling and normalisation, 32 dimensions."""
    import torch
    from transformers import BertConfig, BertModel

    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(directory, chats=False)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=128, pad_token_id=4,
    )  # fmt: skip
    BertModel(config).eval().save_pretrained(directory, safe_serialization=True)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    (directory / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": index,
                    "name": str(index),
                    "path": path,
                    "type": f"sentence_transformers.models.{kind}",
                }
                for index, (path, kind) in enumerate(modules)
            ]
        )
    )
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    )
    (directory / "README.md").write_text(
        "---\nlicense: apache-2.0\npipeline_tag: feature-extraction\n---\n\n# Tiny embeddings\n"
    )
    return directory


def write_vit(directory: Path, *, labels: list[str], seed: int = 0) -> Path:
    """An image-classification version for RGB images of 32 by 32."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32, patch_size=8,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )  # fmt: skip
    ViTForImageClassification(config).eval().save_pretrained(directory, safe_serialization=True)
    settings = {
        "do_resize": True, "size": {"height": 32, "width": 32}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "ViTImageProcessor",
    }  # fmt: skip
    (directory / "preprocessor_config.json").write_text(json.dumps(settings))
    (directory / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# Tiny eye\n")
    return directory
