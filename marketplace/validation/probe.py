"""Parses a stranger's tokenizer and renders their chat template, in a process of its own that can be killed.

Run as a script by `marketplace.validation.language`, never imported: argument 1 is a JSON object of limits
and of the path of the folder to look into. It answers on standard output with one JSON object. Neither
parsing (regular expressions, native code) nor rendering (loops) is bounded in time or memory by itself.
"""

import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

MESSAGES = [{"role": "user", "content": "Hello"}]
ANSWERED = [*MESSAGES, {"role": "assistant", "content": "Mercato answers."}]
LONG_TALK = [
    {"role": role, "content": "How are you, and how is the weather today?"}
    for _ in range(50)
    for role in ("user", "assistant")
]


def limit(terms: dict[str, Any]) -> None:
    """Let the kernel end this process rather than the machine suffer."""
    resource.setrlimit(resource.RLIMIT_AS, (terms["memory_bytes"], terms["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CPU, (terms["cpu_seconds"], terms["cpu_seconds"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def probe_tokenizer(path: Path, terms: dict[str, Any]) -> dict[str, Any]:
    """The largest token id, the number of tokens, and whether text becomes tokens at all; of the special tokens
    that are named, those that are `missing`, with the ids that they would get, and the id of the end.
    """
    from tokenizers import AddedToken, Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokens = len(tokenizer.encode("Hello, world").ids)
    except BaseException as problem:  # a panic of the native code is no Exception
        return {"error": f"{type(problem).__name__}: {problem}"[:300]}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    named = terms["special_tokens"]
    missing = {name: text for name, text in named.items() if text not in vocabulary}
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in dict.fromkeys(missing.values())])
    return {
        "largest_id": max(vocabulary.values(), default=-1),
        "size": len(vocabulary),
        "tokens": tokens,
        "missing": {name: tokenizer.token_to_id(text) for name, text in missing.items()},
        "eos": vocabulary.get(named.get("eos_token", "")),
    }


def probe_template(source: str, terms: dict[str, Any]) -> dict[str, Any]:
    """The length of a greeting rendered as a chat prompt, as transformers' templates expect to be rendered, and the
    special tokens that it holds.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what a training mask covers; here it only passes its body on."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda pattern: pattern}
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    try:
        template = environment.from_string(source)
        text = template.render(messages=MESSAGES, add_generation_prompt=True, **terms["special_tokens"])
    except Exception as problem:  # whatever a stranger's template raises
        return {"error": f"{type(problem).__name__}: {problem}"[:300]}
    # The same is done when it serves, to see how a turn ends; here it must not take too long either.
    with contextlib.suppress(Exception):
        template.render(messages=ANSWERED, add_generation_prompt=False, **terms["special_tokens"])
    held = [name for name, token in terms["special_tokens"].items() if token and token in text]
    return {"length": len(text), "holds": held} | time_template(template, terms)


def time_template(template: Any, terms: dict[str, Any]) -> dict[str, float]:
    """Processor seconds of a greeting and of a long talk, as in calls: the template is compiled and has run once."""

    def measure(messages: list[dict[str, str]]) -> float:
        began = time.thread_time()
        try:
            template.render(messages=messages, add_generation_prompt=True, **terms["special_tokens"])
        except Exception:  # a template may refuse such a talk
            return 0.0
        return time.thread_time() - began

    return {"seconds": measure(MESSAGES), "longer_seconds": measure(LONG_TALK)}


def main() -> None:
    terms = json.loads(sys.argv[1])
    folder = Path(terms["folder"])
    limit(terms)
    answer: dict[str, Any] = {"tokenizer": probe_tokenizer(folder / "tokenizer.json", terms)}
    if terms["has_template"]:
        answer["template"] = probe_template((folder / "chat_template.jinja").read_text("utf-8"), terms)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
