"""From documentation to training windows: questions with their answers, and plain prose."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from inference.training.byte_bpe import ASSISTANT, BEGIN, END, SYSTEM, USER
from inference.training.documentation import Description

# Labels with this value carry no loss; torch's cross-entropy skips it by default.
IGNORED = -100
QUESTIONS = {
    "module": ("Describe the module {name}", "What is the module {name} for?", "Explain {name}"),
    "class": ("Describe the class {name}", "What is {name}?", "Document {name}", "Explain the class {name}."),
    "function": (
        "Describe {name}",
        "Document the function {signature}",
        "What does {name} do?",
        "Write documentation for {signature}",
        "Explain {name}.",
    ),
    "topic": ("Tell me about {name}", "Explain {name}", "What is {name}?", "Describe {name} in Python"),
}
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You document Python's standard library.",
    "Answer briefly.",
)
# Callers may send a system message or none; the model should have met both.
SYSTEM_SHARE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Text in two parts: `prompt` is only read, `answer` is learnt."""

    prompt: str
    answer: str


def write_documents(
    descriptions: Sequence[Description], articles: Mapping[str, Sequence[str]], *, seed: int
) -> list[Document]:
    """A chat for each description and each topic's start; the rest of the articles as plain text."""
    chooser = random.Random(seed)  # noqa: S311 (which question is asked is no secret)
    documents = [
        _ask(
            each.kind, name=_name(each, chooser), signature=each.signature, answer=each.text, chooser=chooser
        )
        for each in descriptions
    ]
    for topic, pieces in articles.items():
        name = topic.lower().replace("-", " ")
        documents += [
            _ask("topic", name=name, signature="", answer=piece, chooser=chooser) for piece in pieces[:1]
        ]
        documents += [Document(prompt=BEGIN, answer=piece + END) for piece in pieces[1:]]
    chooser.shuffle(documents)
    return documents


def _name(description: Description, chooser: random.Random) -> str:
    """The dotted name, as people write it: often without the leading modules."""
    parts = description.name.split(".")
    return ".".join(parts[-chooser.choice([1, 2, 2, len(parts)]) :])


def _ask(kind: str, *, name: str, signature: str, answer: str, chooser: random.Random) -> Document:
    question = chooser.choice(QUESTIONS[kind]).format(name=name, signature=signature or name)
    system = f"{SYSTEM}{chooser.choice(SYSTEM_PROMPTS)}{END}" if chooser.random() < SYSTEM_SHARE else ""
    return Document(prompt=f"{BEGIN}{system}{USER}{question}{END}{ASSISTANT}", answer=answer + END)


def encode(documents: Sequence[Document], tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """(token ids, labels) of each document, alike in length; labels of the prompt are `IGNORED`."""
    prompts = tokenizer.encode_batch([each.prompt for each in documents], add_special_tokens=False)
    answers = tokenizer.encode_batch([each.answer for each in documents], add_special_tokens=False)
    return [
        (prompt.ids + answer.ids, [IGNORED] * len(prompt.ids) + answer.ids)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def pack(encoded: Sequence[tuple[list[int], list[int]]], *, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All documents in a row, cut into ids and labels of [windows, window + 1]; the last piece is dropped."""
    ids = torch.tensor([token for each, _ in encoded for token in each])
    labels = torch.tensor([label for _, each in encoded for label in each])
    count = len(ids) // (window + 1)
    return tuple(row[: count * (window + 1)].view(count, window + 1) for row in (ids, labels))  # type: ignore[return-value]


def stream_windows(
    encoded: Sequence[tuple[list[int], list[int]]], *, window: int, size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of `size` windows without end. Each epoch packs the documents in another order."""
    chooser = random.Random(seed)  # noqa: S311
    order = list(encoded)
    while True:
        chooser.shuffle(order)
        ids, labels = pack(order, window=window)
        for start in range(0, len(ids), size):
            yield ids[start : start + size], labels[start : start + size]


def mix_windows(
    encoded: Sequence[tuple[list[int], list[int]]], *, longest: int, tokens: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of `tokens` tokens: three of short windows, which attention gets through faster, one of long."""
    short = stream_windows(encoded, window=longest // 4, size=4 * tokens // longest, seed=seed)
    long = stream_windows(encoded, window=longest, size=tokens // longest, seed=seed + 1)
    while True:
        yield from itertools.islice(short, 3)
        yield next(long)
