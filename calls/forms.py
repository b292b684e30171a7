"""What staff type in, checked: each message names the field's fault and the fix."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from calls.core import phones, prompts
from calls.core.brief import OpeningKind
from calls.models import Agent, DoNotCall, Recipient
from calls.services import agents, recipients

if TYPE_CHECKING:  # the classes know their model only to the type checker
    AgentModelForm = forms.ModelForm[Agent]
    RecipientModelForm = forms.ModelForm[Recipient]
    DoNotCallModelForm = forms.ModelForm[DoNotCall]
else:
    AgentModelForm = RecipientModelForm = DoNotCallModelForm = forms.ModelForm

TOOLS = [("end_call", "End the call, after saying goodbye")]
# Source: OpenAI, Realtime, "Voices"; the last two are recommended.
VOICES = ["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"]
MAX_RECIPIENTS = 500
MAX_VALUE_CHARS = prompts.MAX_VALUE


class VariablesField(forms.CharField):
    """Names separated by commas, as a list of names."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        names = [n for n in re.split(r"[\s,]+", super().to_python(value) or "") if n]
        for name in names:
            _check_name(name)
        return list(dict.fromkeys(names))


class ObjectField(forms.CharField):
    """A JSON object of texts, numbers, and yes or no; shown again exactly as it was typed."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
        return value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return {}
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise ValidationError(
                'This is not JSON. Write it like {"order_number": "A-17", "amount": 20}.'
            ) from exc
        if not isinstance(found, dict):
            raise ValidationError(
                'Write names and values in braces, like {"order_number": "A-17"}.'
            )
        for name, item in found.items():
            _check_item(name, item)
        return found

    def validate(self, value: Any) -> None:
        """Nothing is left to check; an empty object is a value."""

    def run_validators(self, value: Any) -> None:
        """Those of texts do not apply to what the text means."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != (initial or {}))
        except ValidationError:
            return True


def _check_item(name: str, item: Any) -> None:
    _check_name(name)
    if len(str(item)) > MAX_VALUE_CHARS:
        raise ValidationError(
            f"The value of {name} is too long: at most {MAX_VALUE_CHARS} characters."
        )
    if not (item is None or isinstance(item, str | int | float)):
        raise ValidationError(f"The value of {name} must be a text, a number, true or false.")
    if isinstance(item, str) and not _is_storable(item):
        raise ValidationError(f"The value of {name} holds characters that cannot be stored.")
    if isinstance(item, float) and not math.isfinite(item):
        raise ValidationError(f"The value of {name} must be a finite number.")


def _check_name(name: str) -> None:
    if not prompts.is_variable_name(name):
        raise ValidationError(
            f"“{name[:60]}” cannot be a name. Use small letters, digits and _, as in order_number."
        )


def _is_storable(text: str) -> bool:
    """No NUL and no half of a surrogate pair: databases refuse both."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _language_code(text: str) -> str:
    code = prompts.language_code(text)
    if code is None:
        # The model refuses what is no code, and with it the whole conversation.
        raise ValidationError(
            f"“{text}” is no language code. Write one like en, de or pt-BR, or the language's"
            " English name."
        )
    return code


def _normalised(text: str) -> str:
    try:
        return phones.parse(text, settings.PHONE_REGION)
    except phones.BadNumber as exc:
        raise ValidationError(f"This number cannot be called: {exc.reason}.") from exc


class AgentForm(AgentModelForm):
    """An agent; its instructions may use only variables that exist."""

    voice = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    variables = VariablesField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Names of recipient data that the instructions use, separated by commas, such as"
        " order_number, amount. Always there: name, first_name, language, context, phone.",
    )
    tools = forms.MultipleChoiceField(
        required=False,
        choices=TOOLS,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        label="What the agent may do",
    )

    class Meta:
        model = Agent
        fields = "__all__"
        labels = {
            "is_active": "In use",
            "opening": "Who speaks first",
            "opening_wait_s": "Wait for (s)",
            "opening_text": "Exact first words",
        }
        widgets = {"opening_text": UnfoldAdminTextareaWidget(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            self.initial.setdefault("tools", [name for name, _ in TOOLS])
            self.initial.setdefault("voice", self.instance.voice)
            self.initial.setdefault("model", settings.OPENAI_REALTIME_MODEL)
        voice = self.instance.voice
        known = VOICES if voice in VOICES else [*VOICES, voice]
        field = self.fields.get("voice")
        if isinstance(field, forms.ChoiceField):
            field.choices = [(v, v.capitalize()) for v in known]

    def clean_language(self) -> str:
        return _language_code(self.cleaned_data["language"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        variables = data.get("variables", [])
        for name in ("instructions", "opening_text"):
            for problem in agents.check_instructions(data.get(name) or "", variables):
                self.add_error(name, problem)
        if data.get("opening") == OpeningKind.VERBATIM and not data.get("opening_text", "").strip():
            self.add_error("opening_text", "Write what the agent says first, word for word.")
        return data


class RecipientForm(RecipientModelForm):
    """A recipient; the number is stored as E.164, however it was typed."""

    # As typed it may be longer than as stored.
    phone = forms.CharField(
        max_length=40,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "tel", "autocomplete": "off"}),
        help_text="With country code, as in +44 20 7946 0018.",
    )
    zone = forms.ChoiceField(
        required=False,
        label="Time zone",
        widget=UnfoldAdminSelectWidget,
        help_text="Where the person is. Calls are placed only in the hours allowed there.",
    )
    data = ObjectField(  # type: ignore[assignment]  # a field; the form's own data is elsewhere
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="Values for the agent's variables, as in "
        '{"order_number": "A-17", "amount": 20}.',
    )

    class Meta:
        model = Recipient
        fields = ["name", "phone", "zone", "language", "context", "data"]
        widgets = {"context": UnfoldAdminTextareaWidget(attrs={"rows": 5})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields.get("zone")
        if isinstance(field, forms.ChoiceField):
            own = self.instance.zone
            names = zone_names() if not own else sorted({*zone_names(), own})
            field.choices = [("", "Taken from the number"), *((z, z) for z in names)]

    def clean_name(self) -> str:
        # Marks of direction would show the number beside the name backwards.
        name = recipients.clean_text(self.cleaned_data["name"])
        if not name:
            raise ValidationError("Write the name in letters that can be seen.")
        return name

    def clean_context(self) -> str:
        return recipients.clean_text(self.cleaned_data["context"])

    def clean_language(self) -> str:
        text = self.cleaned_data["language"]
        return _language_code(text) if text else ""

    def clean_phone(self) -> str:
        return _normalised(self.cleaned_data["phone"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        phone = data.get("phone")
        other = Recipient.objects.filter(phone=phone).exclude(pk=self.instance.pk).first()
        if phone and other:
            self.add_error("phone", f"{other.name} has this number ({phone}) already.")
        return data


class DoNotCallForm(DoNotCallModelForm):
    """A number on the do-not-call list, stored as E.164."""

    phone = forms.CharField(
        max_length=40,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "tel", "autocomplete": "off"}),
        help_text="With country code, as in +44 20 7946 0018.",
    )

    class Meta:
        model = DoNotCall
        fields = ["phone", "reason"]

    def clean_phone(self) -> str:
        phone = _normalised(self.cleaned_data["phone"])
        if DoNotCall.objects.filter(phone=phone).exclude(pk=self.instance.pk).exists():
            raise ValidationError(f"{phone} is on the list already.")
        return phone


def zone_names() -> list[str]:
    """Zones that people know: a region and a place."""
    return sorted(
        zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")
    )


class PlaceCallsForm(forms.Form):
    """Whom to call and with which agent; `request_key` makes a repeated submission one request."""

    recipients = forms.CharField(max_length=8 * MAX_RECIPIENTS)
    agent = forms.ModelChoiceField(Agent.objects.filter(is_active=True))
    request_key = forms.RegexField(r"^[A-Za-z0-9_-]{16,40}$")

    def clean_recipients(self) -> list[int]:
        return recipient_ids(self.cleaned_data["recipients"])


def recipient_ids(text: str) -> list[int]:
    """The ids in `1,2,3`, each once.

    Raises:
        ValidationError: it is no such list, or too long a one.
    """
    if not re.fullmatch(r"\d{1,18}(,\d{1,18})*", text):
        raise ValidationError("Choose the people to call from the list of recipients.")
    ids = list(dict.fromkeys(int(part) for part in text.split(",")))
    if len(ids) > MAX_RECIPIENTS:
        raise ValidationError(f"Choose at most {MAX_RECIPIENTS} people at a time.")
    return ids


def ids_text(ids: Iterable[int]) -> str:
    """The other way round."""
    return ",".join(str(i) for i in ids)
