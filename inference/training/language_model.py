"""The demo's language model: a small Llama that writes in the manner of Python's documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from inference.training import documentation, metrics, version_files
from inference.training.byte_bpe import BEGIN, END, PAD, save_tokenizer, train_tokenizer
from inference.training.chat_data import IGNORED, encode, mix_windows, pack, write_documents
from inference.training.loop import History, Settings, seeded, train
from inference.training.progress import Cancelled, Progress, Report, check_cancelled

SEED = 11
VOCABULARY = 4096
CONTEXT = 512
BATCH_TOKENS = 2048
SECONDS = 120.0
HELD_OUT = 0.03
SETTINGS = Settings(
    steps=600,
    learning_rate=1e-2,
    optimiser="muon",
    weight_decay=0.05,
    warmup=0.05,
    validate_every=100,
    report_every=5,
)

Encoded = Sequence[tuple[list[int], list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Encoded documents to learn from and to measure with, their tokenizer, and characters per token."""

    tokenizer: Tokenizer
    train: Encoded
    held_out: Encoded
    characters_per_token: float


def build(
    directory: Path,
    *,
    progress: Report,
    cancelled: Cancelled,
    seconds: float | None = None,
    settings: Settings = SETTINGS,
) -> Path:
    """Train tokenizer and model, and write a complete version into `directory`.

    `seconds` caps the training (two minutes if None), not the reading of the corpus before it, which takes some
    five seconds. Raises `TrainingCancelled`, having written nothing.
    """
    check_cancelled(cancelled)
    progress(Progress(stage="reading documentation", step=0, total=settings.steps))
    corpus = prepare()
    check_cancelled(cancelled)
    settings = replace(
        settings, seconds=SECONDS if seconds is None else seconds, bfloat16=has_fast_bfloat16()
    )
    with seeded(SEED):
        model = LlamaForCausalLM(describe(corpus.tokenizer))
        history = fit(model, corpus, settings=settings, progress=progress, cancelled=cancelled)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, model, corpus, history)
    return directory


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; without, it is slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def prepare() -> Corpus:
    """Documents of the standard library, a tokenizer trained on them, and a share held out by name."""
    documents = write_documents(documentation.collect(), documentation.collect_articles(), seed=SEED)
    held = round(len(documents) * HELD_OUT)
    tokenizer = train_tokenizer((each.answer for each in documents[held:]), vocabulary=VOCABULARY)
    encoded = encode(documents, tokenizer)
    tokens = sum(len(ids) for ids, _ in encoded)
    return Corpus(
        tokenizer=tokenizer,
        train=encoded[held:],
        held_out=encoded[:held],
        characters_per_token=sum(len(each.prompt) + len(each.answer) for each in documents) / tokens,
    )


def describe(tokenizer: Tokenizer) -> LlamaConfig:
    """The model's sizes: 3 layers of 256, some 3.3 million parameters, embeddings shared with the output.

    In two minutes of two cores, more text teaches more than more layers do.
    """
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
    )


def fit(
    model: LlamaForCausalLM, corpus: Corpus, *, settings: Settings, progress: Report, cancelled: Cancelled
) -> History:
    """Next-token cross-entropy on the answers."""
    held_out = pack(corpus.held_out, window=CONTEXT)
    return train(
        model,
        mix_windows(corpus.train, longest=CONTEXT, tokens=BATCH_TOKENS, seed=SEED),
        loss_of_windows,
        settings=settings,
        validate=lambda: measure(model, held_out),
        progress=progress,
        cancelled=cancelled,
    )


def loss_of_windows(model: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Mean loss (nats per learnt token) of ids and labels, both [windows, length + 1]."""
    ids, labels = batch
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    targets = labels[:, 1:]
    # Prompts carry no loss, so their logits are not worth computing.
    learnt = targets != IGNORED
    logits: torch.Tensor = model.lm_head(hidden[learnt])
    return nn.functional.cross_entropy(logits.float(), targets[learnt])


def measure(model: Any, held_out: tuple[torch.Tensor, torch.Tensor]) -> Mapping[str, float]:
    """Loss and perplexity per token of documents that were not learnt."""
    total, count = 0.0, 0
    size = BATCH_TOKENS // CONTEXT
    for start in range(0, len(held_out[0]), size):
        ids, labels = (each[start : start + size] for each in held_out)
        learnt = int((labels[:, 1:] != IGNORED).sum())
        total += float(loss_of_windows(model, (ids, labels))) * learnt
        count += learnt
    return {"loss": total / count, "perplexity": metrics.perplexity(total / count)}


def _write(directory: Path, model: LlamaForCausalLM, corpus: Corpus, history: History) -> None:
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
    )
    disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(directory)
    save_tokenizer(corpus.tokenizer, directory, context_length=CONTEXT)
    measured = {name: value for name, value in history.validations[-1].items() if name != "step"}
    measured["characters_per_token"] = corpus.characters_per_token
    version_files.write_json(
        directory / "training.json", {**history.to_json(), "seed": SEED, "metrics": measured}
    )
    _write_card(directory, measured, parameters=model.num_parameters(), history=history)


def _write_card(directory: Path, measured: Mapping[str, float], *, parameters: int, history: History) -> None:
    front_matter = {
        "license": "apache-2.0",
        "language": "en",
        "pipeline_tag": "text-generation",
        "tags": ["text-generation", "llama", "documentation", "small"],
        "metrics": ["perplexity"],
        "model-index": version_files.index_results(
            "docstring-writer",
            task="text-generation",
            dataset={
                "name": "Python standard library documentation",
                "type": "docstrings",
                "split": "held out",
            },
            metrics={"perplexity": measured["perplexity"]},
        ),
    }
    body = f"""
# Docstring writer

A small Llama ({parameters / 1e6:.1f} million parameters, context {CONTEXT} tokens, its own byte-level tokenizer of
{VOCABULARY} tokens) that answers in the manner of the documentation of Python's standard library. Ask it to
*Describe json.dumps* or to *Document the function open_window(title, width)*.

It learnt in {history.seconds:.0f} seconds on a CPU. It has the tone and the grammar of its source, **not the facts**: what it
says of a function is invented more often than not.

| measured on documents it never saw | |
|---|---|
| perplexity per token | {measured["perplexity"]:.1f} |
| characters per token | {measured["characters_per_token"]:.2f} |

Trained on the documentation strings and the language reference in the standard library of Python (PSF licence),
{history.steps} steps of {BATCH_TOKENS} tokens. `training.json` holds the loss curve.
"""
    version_files.write_card(directory, front_matter=front_matter, body=body)
