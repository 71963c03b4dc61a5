"""The first call of a listing, in the three languages people ask for."""

import json
from typing import Any, NamedTuple

from marketplace.models import Listing
from portal.dashboard import modes
from portal.dashboard.modes import Mode

FIRST: dict[Mode, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello!"}]},
    "completion": {"prompt": "Once upon a time", "max_tokens": 60},
    "embedding": {"input": ["A first text", "A second text"]},
    "image": {"input": {"image": "data:image/png;base64,..."}},
    "text": {"input": {"text": "I like it a lot"}},
}


class Snippet(NamedTuple):
    """One tab of a code block."""

    key: str
    label: str
    code: str


def for_listing(listing: Listing, *, base_url: str) -> list[Snippet]:
    """curl, Python and JavaScript for the listing's task. `base_url` ends with /v1."""
    path, body = first_call(listing)
    return [
        Snippet("curl", "curl", _curl(base_url + path, body)),
        Snippet("python", "Python", _python(base_url, path, body)),
        Snippet("javascript", "JavaScript", _javascript(base_url, path, body)),
    ]


def first_call(listing: Listing) -> tuple[str, dict[str, Any]]:
    """The path below the base URL and the body."""
    mode = modes.of(listing)[0]
    return modes.PATHS[mode], {"model": listing.path, **FIRST[mode]}


def _curl(url: str, body: dict[str, Any]) -> str:
    prefer = '  -H "Prefer: wait" \\\n' if url.endswith("/predictions") else ""
    return (
        f"curl {url} \\\n"
        '  -H "Authorization: Bearer $MERCATO_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"{prefer}"
        f"  -d '{json.dumps(body, indent=2)}'"
    )


def _python(base_url: str, path: str, body: dict[str, Any]) -> str:
    arguments = "".join(f"    {name}={value!r},\n" for name, value in body.items())
    client = f'import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="{base_url}", api_key=os.environ["MERCATO_API_KEY"])\n'
    if path == "/chat/completions":
        return f"{client}answer = client.chat.completions.create(\n{arguments})\nprint(answer.choices[0].message.content)"
    if path == "/completions":
        return f"{client}answer = client.completions.create(\n{arguments})\nprint(answer.choices[0].text)"
    if path == "/embeddings":
        return (
            f"{client}answer = client.embeddings.create(\n{arguments})\nprint(len(answer.data[0].embedding))"
        )
    return (
        "import os\n\nimport httpx\n\nanswer = httpx.post(\n"
        f'    "{base_url}{path}",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'MERCATO_API_KEY\']}", "Prefer": "wait"},\n'
        f"    json={body!r},\n)\nprint(answer.json())"
    )


def _javascript(base_url: str, path: str, body: dict[str, Any]) -> str:
    text = json.dumps(body, indent=2)
    client = (
        'import OpenAI from "openai";\n\n'
        f'const client = new OpenAI({{ baseURL: "{base_url}", apiKey: process.env.MERCATO_API_KEY }});\n'
    )
    if path == "/chat/completions":
        return f"{client}const answer = await client.chat.completions.create({text});\nconsole.log(answer.choices[0].message.content);"
    if path == "/completions":
        return f"{client}const answer = await client.completions.create({text});\nconsole.log(answer.choices[0].text);"
    if path == "/embeddings":
        return f"{client}const answer = await client.embeddings.create({text});\nconsole.log(answer.data[0].embedding.length);"
    indented = text.replace("\n", "\n  ")
    return (
        f'const answer = await fetch("{base_url}{path}", {{\n  method: "POST",\n  headers: {{\n'
        "    Authorization: `Bearer ${process.env.MERCATO_API_KEY}`,\n"
        '    "Content-Type": "application/json",\n    Prefer: "wait",\n  },\n'
        f"  body: JSON.stringify({indented}),\n}});\nconsole.log(await answer.json());"
    )
