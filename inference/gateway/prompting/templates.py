"""Chat templates, rendered as transformers renders them, in Jinja's immutable sandbox."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateTooLong(Exception):
    """The template wrote more than the permitted number of characters."""


class GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks assistant text for training; for a prompt its body is just rendered."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class DictConstructor:
    """`dict(...)` in templates, without the attributes of the real type."""

    def __call__(self, *args: Any, **fields: Any) -> dict[Any, Any]:
        return dict(*args, **fields)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class PlainNamespace(jinja2.utils.Namespace):
    """`namespace()` that refuses underscored names, as transformers does: they reach into Python."""

    def __init__(*args: Any, **fields: Any) -> None:
        self, *given = args
        values = dict(*given, **fields)
        for name in values:
            _refuse_underscore(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def new_environment() -> ImmutableSandboxedEnvironment:
    """The environment that chat templates of the Hub are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise_exception,
        strftime_now=_strftime_now,
        dict=DictConstructor(),
        namespace=PlainNamespace,
    )
    return environment


def compile_template(source: str) -> Callable[..., str]:
    """A renderer `(messages, special_tokens, limit)`, with the prompt for an answer unless `answered`.

    Raises `jinja2.TemplateSyntaxError`.
    """
    template = new_environment().from_string(source)

    def render(
        messages: Sequence[Mapping[str, str]],
        special_tokens: Mapping[str, Any],
        limit: int,
        *,
        answered: bool = False,
    ) -> str:
        pieces: list[str] = []
        length = 0
        for piece in template.generate(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=not answered,
            **special_tokens,
        ):
            length += len(piece)
            if length > limit:
                raise TemplateTooLong
            pieces.append(piece)
        return "".join(pieces)

    return render


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    # Templates of the Hub expect the machine's local wall clock here.
    return datetime.now().strftime(pattern)


def _refuse_underscore(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"templates cannot store the underscored attribute {name!r}")
