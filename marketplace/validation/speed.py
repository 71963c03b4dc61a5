"""How long a version's chat template may take: checked when it is published, and held to at every call."""

from collections.abc import Mapping

from marketplace.validation.report import Finding, error, info

# Processor time of a template that is compiled, for a prompt without much text. Usual ones take a thousandth of it.
RENDERING_SECONDS = 0.25
REMEDY = "Make the chat template simpler: its loops should go over the messages alone."


def judge_rendering(file: str, answer: Mapping[str, float]) -> list[Finding]:
    """What the probe measured: `seconds` of a greeting, `longer_seconds` of a talk of a hundred turns."""
    seconds = max(answer["seconds"], answer["longer_seconds"])
    message = f"Rendering a talk with it takes {seconds:.2f} s of processor time; a call may take {RENDERING_SECONDS} s."
    if seconds > RENDERING_SECONDS:
        return [error(file, "template-slow", message, REMEDY)]
    if seconds > RENDERING_SECONDS / 4:
        return [info(file, "template-slow", message)]
    return []
