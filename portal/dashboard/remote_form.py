"""A remote endpoint as its provider types it."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.endpoints import MOST_CONCURRENT, MOST_TOKENS, Wanted
from marketplace.models import Task


class EndpointForm(forms.Form):
    """`task` decides whether there is a longest answer."""

    base_url = forms.CharField(
        label=_("Base URL"), max_length=300, help_text=_("Of an OpenAI-compatible server, up to and with /v1."),
        widget=forms.URLInput(attrs={"placeholder": "https://models.example.com/v1"}),
    )  # fmt: skip
    model = forms.CharField(label=_("Model"), max_length=200, help_text=_("Its name on that server."))
    api_key = forms.CharField(
        label=_("API key"), max_length=2_000, required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Kept encrypted, sent to that server alone, and never shown again."),
    )  # fmt: skip
    context_length = forms.IntegerField(
        label=_("Context length in tokens"), min_value=1, max_value=MOST_TOKENS
    )
    max_output_tokens = forms.IntegerField(
        label=_("Longest answer in tokens"), min_value=1, max_value=MOST_TOKENS,
        help_text=_("No call may ask for more."),
    )  # fmt: skip
    hidden_reasoning_tokens = forms.IntegerField(
        label=_("Hidden reasoning in tokens"), min_value=0, max_value=MOST_TOKENS, initial=0, required=False,
        help_text=_("The most that an answer bills beyond the text it shows. Callers see this number."),
    )  # fmt: skip
    concurrency = forms.IntegerField(
        label=_("Calls at once"), min_value=1, max_value=MOST_CONCURRENT, initial=64,
        help_text=_("For each web process; more are turned away."),
    )  # fmt: skip
    notes = forms.CharField(label=_("Notes"), required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *given: Any, task: str, **more: Any) -> None:
        super().__init__(*given, **more)
        self._task = task
        if task != Task.TEXT_GENERATION:
            del self.fields["max_output_tokens"], self.fields["hidden_reasoning_tokens"]

    def wanted(self) -> Wanted:
        """As the activity takes it; of a valid form."""
        told = {
            name: value for name, value in self.cleaned_data.items() if name != "notes" and value is not None
        }
        return Wanted(**told)
