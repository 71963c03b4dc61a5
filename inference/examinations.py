"""What a child of `jobs` does about an examination: read files, try a version, call an endpoint; or say why not."""

from dataclasses import asdict

from celery.exceptions import SoftTimeLimitExceeded

from inference import trial
from inference.trial import Trial
from marketplace import endpoints, examinations, examining, publishing
from marketplace.models import EndpointTrial, Examination, Version
from marketplace.validation import Finding, Report
from marketplace.validation.report import error

Stage, Step = Examination.Stage, Examination.Step
TOO_LONG = "Reading or trying it took more time than there is."
DIED = "Trying this version ended its process, so it needs more memory than there is."
UNREADABLE = "Reading the files ended the process that did it, more than once."


def run(stage: str) -> None:
    """Take what is next at this stage, if there is anything, and carry it out."""
    examination = examinations.take(stage)
    if examination is None:
        return
    with examinations.held(examination):
        died = examination.attempts > examinations.MOST_ATTEMPTS
        try:
            if examination.endpoint is not None:
                _call(examination, examination.endpoint, died=died)
            elif examination.version is not None:
                _examine(examination, examination.version, died=died)
        except SoftTimeLimitExceeded:
            _give_up(examination, TOO_LONG)


def try_version(version: Version) -> None:
    """Load and run a version that is `checking`, and record what was seen. Safe to repeat."""
    if version.state != Version.State.CHECKING:
        return
    seen = trial.ask(version) if version.is_remote else trial.run(version)
    publishing.record_trial(version.pk, ok=seen.ok, findings=seen.findings)


def _examine(examination: Examination, version: Version, *, died: bool) -> None:
    if died:
        _give_up(examination, UNREADABLE if examination.stage == Stage.FILES else DIED)
    elif examination.stage == Stage.FILES:
        examining.examine(
            version, say=lambda step, done, total: examinations.note(
                examination, step, done_bytes=done, total_bytes=total
            ),
        )  # fmt: skip
    else:
        examinations.note(examination, Step.TRYING)
        try_version(version)


def _call(examination: Examination, endpoint: EndpointTrial, *, died: bool) -> None:
    if died:
        _give_up(examination, DIED)
        return
    examinations.note(examination, Step.TRYING)
    endpoints.record_trial(endpoint, asdict(trial.call(endpoint)))


def _give_up(examination: Examination, reason: str) -> None:
    """It ends refused, with the reason."""
    version, endpoint = examination.version, examination.endpoint
    if endpoint is not None:
        endpoints.record_trial(endpoint, {"ok": False, "message": reason, "shown": "", "counts": ""})
    elif version is not None and examination.stage == Stage.FILES:
        found = error("", "reading", reason)
        publishing.record_report(version.pk, report=Report(findings=(found,), kept=()), files={})
    elif version is not None:
        died = Trial(
            ok=False, findings=[Finding(file="", rule="trial-died", severity="error", message=reason)]
        )
        publishing.record_trial(version.pk, ok=died.ok, findings=died.findings)
