"""The block of names and values between two lines of `---` that model hubs put above a card."""

_FENCE = "---"


def split(text: str) -> tuple[str | None, str]:
    """`(front matter, the rest)`; None where the text begins with no such block. Linear in the text's length."""
    lines = text.split("\n")
    if lines[0].rstrip() != _FENCE:
        return None, text
    for number, line in enumerate(lines[1:], start=1):
        if line.startswith(_FENCE) and line.rstrip() == _FENCE:
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :])
    return None, text
