"""Why a call had no whole answer, in the reader's words: what happened, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.reasons import Reason


@dataclass(frozen=True, slots=True)
class Told:
    """`short` fits a table's cell; `text` says what happened, `advice` what to do."""

    short: str | Promise
    text: str | Promise
    advice: str | Promise


_TRY_AGAIN = _("Try again; nothing has to be changed.")
_SOON = _("Try again in a minute. If it goes on, look at the status page.")
_PROVIDER = _("Try again in a few minutes. If it goes on, tell the provider; the model runs on their server.")

TOLD: Mapping[Reason, Told] = {
    Reason.REFUSED: Told(
        _("not accepted by the model"), _("The model could not take this request: it does not fit the version."),
        _("Compare the request with the model's page: its context length, its inputs and its parameters."),
    ),
    Reason.QUEUE_FULL: Told(
        _("queue full"), _("More calls waited for this model than there were places in its queue."),
        _("Try again in a few seconds, with a pause that grows; send fewer calls at once."),
    ),
    Reason.NOT_BEGUN: Told(
        _("no free place in time"), _("The model had no free place within the time that a call may wait."), _SOON,
    ),
    Reason.NO_WORKER: Told(_("no worker running"), _("No worker was running that could run this model."), _SOON),
    Reason.LOAD_FAILED: Told(
        _("could not be loaded"), _("A worker could not load the model."),
        _("Half a minute later the next call makes a worker try again. If it goes on, tell the provider."),
    ),
    Reason.WORKER_STOPPING: Told(
        _("worker was stopping"), _("The worker was being stopped, or had to make room, before this call began."), _TRY_AGAIN,
    ),
    Reason.WORKER_LOST: Told(
        _("worker lost"), _("The worker that ran the call stopped answering before the end."), _TRY_AGAIN,
    ),
    Reason.RUN_FAILED: Told(
        _("failed while running"), _("The model failed while it ran this call."),
        _("Try again. If the same request fails every time, tell the provider its id."),
    ),
    Reason.RUN_TOO_LONG: Told(
        _("ran too long"), _("The call ran longer than any call may, and was stopped."),
        _("Ask for fewer tokens, or split the work into several calls."),
    ),
    Reason.INTERRUPTED: Told(
        _("interrupted"), _("The site gave the call up, as after a restart of one of its services."), _TRY_AGAIN,
    ),
    Reason.UNDELIVERED: Told(
        _("not recorded"), _("The answer could not be delivered and recorded to its end."), _TRY_AGAIN,
    ),
    Reason.REVERSED: Told(
        _("charge given back"), _("The answer to a call of this moment reached nobody, so what it was charged is given back."),
        _TRY_AGAIN,
    ),
    Reason.WRITTEN_OFF: Told(
        _("lost by the site"), _("The site lost its record of the running call, as after a restart of Redis."), _TRY_AGAIN,
    ),
    Reason.REVOKED: Told(
        _("access ended"), _("The right to this call ended while it was under way."),
        _("Look at the key, the subscription and the model's page: one of them was revoked, ended or withdrawn."),
    ),
    Reason.CALLER_LEFT: Told(
        _("stopped by the caller"), _("The caller hung up, or stopped the call, before the answer was whole."),
        _("What was generated until then is charged. A longer time limit in the client keeps it from hanging up."),
    ),
    Reason.UPSTREAM_UNREACHABLE: Told(
        _("provider not reachable"), _("The provider's server could not be reached."), _PROVIDER,
    ),
    Reason.UPSTREAM_FORBIDDEN: Told(
        _("provider's address not allowed"), _("The provider's server has an address that this site does not connect to."),
        _("Tell the provider: their endpoint has to be mended."),
    ),
    Reason.UPSTREAM_TIMEOUT: Told(
        _("provider too slow"), _("The provider's server did not answer in time."), _PROVIDER,
    ),
    Reason.UPSTREAM_BROKEN: Told(
        _("provider broke off"), _("The provider's server ended its answer too early, or in a form that is none."), _PROVIDER,
    ),
    Reason.UPSTREAM_REFUSED: Told(
        _("refused by provider"), _("The provider's server did not accept this request."),
        _("Compare the request with the model's page. If it fits, tell the provider."),
    ),
    Reason.UPSTREAM_REJECTED: Told(
        _("provider misconfigured"), _("The provider's server rejected the provider's own key, address or model name."),
        _("Tell the provider: their endpoint has to be mended."),
    ),
    Reason.UPSTREAM_OVERLOADED: Told(
        _("provider overloaded"), _("The provider's server had too much to do."),
        _("Try again in a few seconds, with a pause that grows; send fewer calls at once."),
    ),
    Reason.UPSTREAM_FAILING: Told(
        _("provider's server failed"), _("The provider's server answered with an error of its own."), _PROVIDER,
    ),
}  # fmt: skip
