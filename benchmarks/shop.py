"""Fill an empty database with what a call needs, and print its names as JSON: run as its own process."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """`python -m benchmarks.shop FOLDER [URL]`, with the services' URLs in the environment.

    A folder that does not exist is filled with a tiny model. The URL is that of a server to sell as well.
    """
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    print(json.dumps(fill(Path(sys.argv[1]), remote=sys.argv[2] if len(sys.argv) > 2 else None)))


def fill(directory: Path, *, remote: str | None = None) -> dict[str, str]:
    """A published text model, subscribed to on a plan with prices and limits; `{"model", "version", "key"}`, and
    "remote", the name of a listing of the server at that URL.
    """
    from marketplace import publishing
    from portal.accounts import api_keys, membership
    from portal.accounts.models import User
    from tests.tiny_models import write_llama

    user = User.objects.create_user("bench@example.com", "correct horse battery", name="bench")
    organisation = membership.open_personal(user)
    listing = publishing.create_listing(
        organisation, by=user, slug="tiny", name="Tiny", task="text-generation"
    )
    version = publishing.add_version(
        listing, by=user, files=store(directory if directory.exists() else write_llama(directory))
    )
    publishing.record_trial(version.pk, ok=True)
    sell(listing, to=organisation, by=user)
    far = list_remote(organisation, remote, by=user) if remote else ""
    _, text = api_keys.issue(organisation, by=user, name="bench", scopes=["inference"])
    return {"model": f"{organisation.slug}/tiny", "version": version.pk.hex, "key": text, "remote": far}


def list_remote(organisation: Any, url: str, *, by: Any) -> str:
    """A published listing whose version is the server at `url`; its name."""
    from marketplace import endpoints, publishing

    listing = publishing.create_listing(organisation, by=by, slug="far", name="Far", task="text-generation")
    wanted = endpoints.Wanted(
        base_url=url,
        model="fake",
        context_length=8192,
        max_output_tokens=4096,
        concurrency=1000,
        api_key="none",
    )
    version = endpoints.add_version(listing, by=by, wanted=wanted)
    publishing.record_trial(version.pk, ok=True)
    sell(listing, to=organisation, by=by)
    return listing.path


def sell(listing: Any, *, to: Any, by: Any) -> None:
    """Price, publish and subscribe."""
    from marketplace import pricing, publishing, subscribing
    from marketplace.models import Plan

    plan = pricing.create_plan(
        listing, by=by, kind=Plan.Kind.PAID, name="Paid", slug="paid", requests_per_minute=100_000_000,
        tokens_per_minute=2_000_000_000, concurrent_requests=100_000,
        components=[
            pricing.Component(meter="input_tokens", amount=1_000_000, per=1000),
            pricing.Component(meter="output_tokens", amount=2_000_000, per=1000),
        ],
    )  # fmt: skip
    publishing.publish(listing, by=by)
    subscribing.subscribe(to, plan, by=by, spend_cap=10**15)


def store(directory: Path) -> dict[str, tuple[str, int]]:
    """Put a directory's files into the weights storage; answers path to digest and size."""
    from marketplace import weights

    files = {}
    for path in sorted(file for file in directory.rglob("*") if file.is_file()):
        digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
        with path.open("rb") as stream:
            weights.store(stream, size=size, sha256=digest)
        files[path.relative_to(directory).as_posix()] = (digest, size)
    return files


if __name__ == "__main__":
    main()
