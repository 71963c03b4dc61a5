"""The turns of a conversation. Whatever we answer is accepted back, as stock clients keep and send it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from inference.gateway.schemas.parsing import RequestBody, invalid, unsupported

_ROLES = ("system", "developer", "user", "assistant")
_ORDINARY = {"role", "content", "name"}
# In an answer's message, or added to it by a client; the content says all of it that a model is shown.
_ECHOED = {"annotations", "parsed", "refusal", "reasoning"}
_TOOLS = ("tool_calls", "function_call")


def _joined_text(value: Any) -> Any:
    """Text parts become one string, a line each; parts of other kinds cannot be honoured."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise invalid("Expected a string, or an array of text parts.")
    return "\n".join(_text(part, at=f"[{index}]") for index, part in enumerate(value))


def _text(part: Any, *, at: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("image_url", "input_audio", "file"):
        reason = f"Only text can be sent to this model; the content part '{kind}' is not supported."
        raise unsupported(reason, param=at)
    text = part.get(kind) if kind in ("text", "refusal") else None
    if not isinstance(text, str):
        raise invalid('Expected a part such as {"type": "text", "text": "..."}.', param=at)
    return text


class Message(RequestBody):
    """One turn. `developer` is what OpenAI now calls `system`; chat templates know the older word."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined_text)]
    name: str | None = None
    reasoning_content: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_says_nothing(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        role = value.get("role")
        if value.keys() <= _ORDINARY and role in _ROLES and value.get("content") is not None:
            return value
        if role in ("tool", "function"):
            raise unsupported(f"Messages of role '{role}' are not supported: tools are not.", param="role")
        said = {name: given for name, given in value.items() if given is not None or name == "content"}
        return _of_assistant(said) if role == "assistant" else said

    def for_template(self) -> dict[str, str]:
        """As a chat template sees it; most of them leave out what a model once thought."""
        message = self.for_server()
        if self.reasoning_content:
            message["reasoning_content"] = self.reasoning_content
        return message

    def for_server(self) -> dict[str, str]:
        """As every server of OpenAI's protocol takes it: some refuse thoughts that are sent back."""
        role = "system" if self.role == "developer" else self.role
        message = {"role": role, "content": self.content}
        return message if self.name is None else message | {"name": self.name}


def _of_assistant(said: dict[str, Any]) -> dict[str, Any]:
    for name in _TOOLS:
        if said.pop(name, None):
            raise unsupported(f"'{name}' of a message is not supported: tools are not.", param=name)
    if said.get("audio"):
        raise unsupported("'audio' of a message is not supported: only text is.", param="audio")
    if said.get("content") is None:
        # An answer that was refused or cut off in its thoughts has none.
        said["content"] = said.get("refusal") or ""
    if "reasoning" in said:
        said.setdefault("reasoning_content", said["reasoning"])
    return {name: given for name, given in said.items() if name not in _ECHOED and name != "audio"}
