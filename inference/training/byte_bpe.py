"""A tokenizer of our own: byte-level BPE, so that any text round-trips, with the marks of a chat."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from inference.training.version_files import write_json

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, BEGIN, END, SYSTEM, USER, ASSISTANT)

CHAT_TEMPLATE = """{{- bos_token -}}
{%- for message in messages -%}
  {%- if message.role == "developer" -%}
    {{- "<|system|>" -}}
  {%- elif message.role in ["system", "user", "assistant"] -%}
    {{- "<|" + message.role + "|>" -}}
  {%- else -%}
    {{- raise_exception("This model knows no role " + message.role) -}}
  {%- endif -%}
  {{- message.content | trim -}}{{- eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|assistant|>" -}}{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Tokenizer:
    """Learn merges from `texts` until there are `vocabulary` tokens, special ones and all bytes included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, begin)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, context_length: int) -> None:
    """Write what transformers and the gateway read: tokenizer, its config, special tokens, chat template."""
    tokenizer.save(str(directory / "tokenizer.json"))
    named = {"bos_token": BEGIN, "eos_token": END, "pad_token": PAD}
    write_json(directory / "special_tokens_map.json", named)
    write_json(
        directory / "tokenizer_config.json",
        {
            **named,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": context_length,
            "clean_up_tokenization_spaces": False,
        },
    )
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
