"""A provider's card cannot do anything to its reader."""

import pytest

from portal.kit import markdown


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "![x](https://tracker.example/pixel.png)",
        '<a href="#" onclick="alert(1)">x</a>',
        "<img src=x onerror=alert(1)>",
        "[x](data:text/html,<script>1</script>)",
    ],
)
def test_nothing_runs_and_nothing_is_fetched(text: str) -> None:
    html = markdown.render(text)
    for bad in ("<script", 'href="javascript:', "<img", '<a href="#"', 'href="data:'):
        assert bad not in html


def test_a_card_reads_as_written_below_the_pages_own_heading() -> None:
    html = markdown.render(
        "---\nlicense: mit\n---\n# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[site](https://x.example)"
    )
    assert "<h2>Title</h2>" in html
    assert "license" not in html
    assert "<td>1</td>" in html
    assert 'rel="nofollow noopener noreferrer"' in html
