"""What staff work with: agents, recipients, calls and what was said in them."""

from __future__ import annotations

import secrets
import uuid
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from calls.core.brief import AudioFormat, NoiseReduction, OpeningKind, TurnDetection
from calls.core.lifecycle import LIVE, EndReason, Status


def new_token() -> str:
    """An unguessable name for a call in its callback URLs: 32 hex digits."""
    return secrets.token_hex(16)


def default_tools() -> list[str]:
    """What a new agent may do."""
    return ["end_call"]


def check_zone(value: str) -> None:
    """Refuse a name that the time zone database does not hold."""
    if value and value not in available_timezones():
        raise ValidationError(
            "%(value)s is not a time zone. Write it like Europe/Berlin or America/New_York.",
            params={"value": value},
        )


class Agent(models.Model):
    """An AI persona: how it speaks, what it wants, what it may do."""

    name = models.CharField(max_length=80, unique=True)
    model = models.CharField(max_length=80, default="gpt-realtime-2.1")
    voice = models.CharField(max_length=40, default="marin")
    language = models.CharField(
        max_length=10, default="en", help_text="Language of the call, as in en, de or pt-BR."
    )
    instructions = models.TextField(
        help_text="What the agent should do. {{ name }} and the like are filled in per recipient."
    )
    variables = models.JSONField(
        default=list,
        blank=True,
        help_text="Names of recipient data that the instructions use, beyond the built-in ones.",
    )
    opening = models.CharField(
        max_length=16,
        choices=[
            (OpeningKind.SPEAKS_FIRST.value, "Speaks first"),
            (OpeningKind.LISTENS_FIRST.value, "Listens first, then speaks"),
            (OpeningKind.VERBATIM.value, "Says exactly this"),
        ],
        default=OpeningKind.SPEAKS_FIRST.value,
    )
    opening_wait_s = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text="When it listens first: seconds of silence after which it speaks all the same.",
    )
    opening_text = models.TextField(
        blank=True, help_text="The exact first words, for “Says exactly this”."
    )
    turn_detection = models.CharField(
        max_length=16,
        choices=[
            (TurnDetection.SERVER_VAD.value, "By silence"),
            (TurnDetection.SEMANTIC_VAD.value, "By meaning"),
        ],
        default=TurnDetection.SERVER_VAD.value,
    )
    vad_silence_ms = models.PositiveSmallIntegerField(
        "silence that ends a turn (ms)",
        default=500,
        validators=[MinValueValidator(100), MaxValueValidator(3000)],
    )
    vad_threshold = models.FloatField(
        "speech threshold",
        default=0.5,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="0 to 1; higher needs louder speech.",
    )
    noise_reduction = models.CharField(
        max_length=12,
        choices=[
            (NoiseReduction.NONE.value, "None"),
            (NoiseReduction.NEAR_FIELD.value, "Handset"),
            (NoiseReduction.FAR_FIELD.value, "Speaker-phone"),
        ],
        default=NoiseReduction.NONE.value,
    )
    audio_format = models.CharField(
        max_length=12,
        choices=[
            (AudioFormat.PCM.value, "24 kHz, converted"),
            (AudioFormat.PCMU.value, "8 kHz telephone, passed through"),
        ],
        default=AudioFormat.PCM.value,
    )
    max_duration_s = models.PositiveIntegerField(
        "maximum duration (s)",
        default=600,
        validators=[MinValueValidator(30), MaxValueValidator(3300)],
    )
    silence_s = models.PositiveSmallIntegerField(
        "ask again after silence (s)",
        default=10,
        validators=[MinValueValidator(3), MaxValueValidator(60)],
    )
    tools = models.JSONField(default=default_tools, blank=True, help_text="What the agent may do.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Recipient(models.Model):
    """A person we may call."""

    name = models.CharField(max_length=120)
    # E.164: the same person written in two ways is one row.
    phone = models.CharField(max_length=16, unique=True)
    zone = models.CharField(
        "time zone",
        max_length=64,
        blank=True,
        validators=[check_zone],
        help_text="Such as Europe/Berlin. Empty: taken from the number.",
    )
    language = models.CharField(max_length=10, blank=True, help_text="Empty: the agent's language.")
    context = models.TextField(
        blank=True, max_length=8000, help_text="What the agent should know about this person."
    )
    data = models.JSONField(
        default=dict, blank=True, help_text="Values for the agent's {{ variables }}."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name", "phone"]

    def __str__(self) -> str:
        return f"{self.name} ({self.phone})"


class DoNotCall(models.Model):
    """A number that nobody may call, by anyone, for any purpose."""

    phone = models.CharField(max_length=16, unique=True)
    reason = models.CharField(max_length=200, blank=True)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = verbose_name_plural = "do not call"

    def __str__(self) -> str:
        return self.phone


class Call(models.Model):
    """One attempt to reach one recipient: at most one Twilio call, ever."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, models.PROTECT, related_name="calls")
    recipient = models.ForeignKey(Recipient, models.PROTECT, related_name="calls")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    # One form submission asks for one call per recipient, however often it is sent.
    request_key = models.CharField(max_length=80, unique=True)
    # Names the call in callback URLs: it binds a SID that we never got to save.
    token = models.CharField(max_length=32, unique=True, default=new_token, editable=False)
    to_number = models.CharField(max_length=16)
    from_number = models.CharField(max_length=16)
    brief = models.JSONField(default=dict)

    status = models.CharField(
        max_length=16, choices=[(s.value, s.label) for s in Status], default=Status.QUEUED.value
    )
    # "CA" and 32 hex digits; NULL until Twilio has accepted the call.
    twilio_sid = models.CharField(max_length=34, unique=True, null=True, blank=True)
    not_before = models.DateTimeField(default=timezone.now)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    dial_attempts = models.PositiveSmallIntegerField(default=0)

    # Written once each.
    created_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    initiated_at = models.DateTimeField(null=True, blank=True)
    ringing_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    answered_by = models.CharField(max_length=24, blank=True)
    duration_s = models.PositiveIntegerField(null=True, blank=True)
    sip_code = models.CharField(max_length=4, blank=True)
    end_reason = models.CharField(
        max_length=24, blank=True, choices=[(r.value, r.label) for r in EndReason]
    )
    end_detail = models.CharField(max_length=500, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    # A terminal status that our sweep concluded; Twilio's own report may still replace it.
    end_is_guess = models.BooleanField(default=False)
    hangup_requested_at = models.DateTimeField(null=True, blank=True)
    hangup_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    checked_at = models.DateTimeField(null=True, blank=True)

    # The stream that may speak on this call. A newer generation fences off the older.
    stream_generation = models.PositiveSmallIntegerField(default=0)
    # When Twilio asked what to do with the answered call, by our clock: the recording's time 0, to
    # which its own reports, in whole seconds, are too coarse.
    connected_at = models.DateTimeField(null=True, blank=True)
    stream_offered_at = models.DateTimeField(null=True, blank=True)
    stream_opened_at = models.DateTimeField(null=True, blank=True)
    stream_closed_at = models.DateTimeField(null=True, blank=True)
    stream_sid = models.CharField(max_length=34, blank=True)
    conversation_ended_at = models.DateTimeField(null=True, blank=True)

    estimated_cost = models.DecimalField(max_digits=10, decimal_places=5, null=True, blank=True)
    # What Twilio itself billed for the connection, positive; asked for after the call.
    twilio_price = models.DecimalField(max_digits=10, decimal_places=5, null=True, blank=True)
    twilio_price_unit = models.CharField(max_length=3, blank=True)
    price_checked_at = models.DateTimeField(null=True, blank=True)
    # Rises with every change that staff can see: open pages ask for what is newer.
    revision = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-created_at"]
        permissions = [("place_call", "Can place and hang up calls")]
        indexes = [
            models.Index(fields=["status", "not_before"], name="call_due"),
            models.Index(fields=["-created_at"], name="call_newest"),
            models.Index(fields=["ended_at"], name="call_ended"),
        ]
        constraints = [
            # The database, not the code, promises that no phone rings twice at once.
            models.UniqueConstraint(
                fields=["to_number"],
                condition=Q(status__in=sorted(LIVE)),
                name="one_live_call_per_number",
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(Status)), name="call_status_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.recipient.name}, {timezone.localtime(self.created_at):%d %b %Y %H:%M %Z}"

    @property
    def state(self) -> Status:
        """The status as the enum that the lifecycle knows."""
        return Status(self.status)


class CallEvent(models.Model):
    """Something that happened to a call, kept whether or not it changed anything."""

    call = models.ForeignKey(Call, models.CASCADE, related_name="events")
    key = models.CharField(max_length=120)
    kind = models.CharField(max_length=40)
    at = models.DateTimeField(default=timezone.now)
    data = models.JSONField(default=dict)
    # Why it changed nothing, where it did not ("late", "conflicts with completed").
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["call", "key"], name="one_event_per_key"),
        ]

    def __str__(self) -> str:
        return self.kind


class Turn(models.Model):
    """One speaker's uninterrupted say, as the transcript shows it."""

    RECIPIENT = "recipient"
    AGENT = "agent"

    call = models.ForeignKey(Call, models.CASCADE, related_name="turns")
    item_id = models.CharField(max_length=64)
    generation = models.PositiveSmallIntegerField(default=1)
    position = models.PositiveIntegerField()
    speaker = models.CharField(
        max_length=10, choices=[(RECIPIENT, "The person"), (AGENT, "The agent")]
    )
    text = models.TextField(blank=True)
    # Milliseconds since the answer (the recording's time 0).
    started_ms = models.IntegerField()
    ended_ms = models.IntegerField(null=True, blank=True)
    # Of what the agent generated, this much was really heard.
    generated_ms = models.PositiveIntegerField(null=True, blank=True)
    heard_ms = models.PositiveIntegerField(null=True, blank=True)
    heard_chars = models.PositiveIntegerField(null=True, blank=True)
    interrupted = models.BooleanField(default=False)
    # From the end of the person's speech to the first audio sent, and to the first heard.
    latency_sent_ms = models.IntegerField(null=True, blank=True)
    latency_heard_ms = models.IntegerField(null=True, blank=True)
    is_final = models.BooleanField(default=False)
    revision = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["generation", "position", "id"]
        constraints = [
            models.UniqueConstraint(fields=["call", "item_id"], name="one_turn_per_item"),
        ]

    def __str__(self) -> str:
        return f"{self.speaker}: {self.text[:60]}"


class Usage(models.Model):
    """Tokens or seconds that one response or transcription used, as the vendor reported them."""

    call = models.ForeignKey(Call, models.CASCADE, related_name="usage")
    usage_id = models.CharField(max_length=80)
    kind = models.CharField(max_length=16)
    model = models.CharField(max_length=80)
    status = models.CharField(max_length=16, default="completed")
    text_in = models.PositiveIntegerField(default=0)
    audio_in = models.PositiveIntegerField(default=0)
    image_in = models.PositiveIntegerField(default=0)
    cached_text_in = models.PositiveIntegerField(default=0)
    cached_audio_in = models.PositiveIntegerField(default=0)
    cached_image_in = models.PositiveIntegerField(default=0)
    text_out = models.PositiveIntegerField(default=0)
    audio_out = models.PositiveIntegerField(default=0)
    seconds = models.DecimalField(max_digits=10, decimal_places=3, null=True, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["call", "kind", "usage_id"], name="usage_counted_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.usage_id}"


class Price(models.Model):
    """What a unit costs from a day on. Editable: prices change, past calls keep theirs."""

    item = models.CharField(
        max_length=80, help_text="Such as twilio.voice or gpt-realtime-2.1.audio_out."
    )
    unit = models.CharField(max_length=24, help_text="minute, call, or 1M tokens.")
    amount = models.DecimalField(max_digits=12, decimal_places=6, help_text="US dollars.")
    valid_from = models.DateField()
    source = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["item", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["item", "valid_from"], name="one_price_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.item}: ${self.amount} per {self.unit}"


class QuarantinedEvent(models.Model):
    """A signed callback for a call that we do not know: kept for a person to look at."""

    path = models.CharField(max_length=200)
    params = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-at"]
        verbose_name = "stray callback"

    def __str__(self) -> str:
        return self.path


class DialingPause(models.Model):
    """While a row without `lifted_at` exists, nobody is dialled."""

    reason = models.CharField(max_length=300)
    error_code = models.CharField(max_length=64, blank=True)
    since = models.DateTimeField(default=timezone.now)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ["-since"]
        verbose_name = "dialling pause"
        constraints = [
            models.UniqueConstraint(
                fields=["error_code"],
                condition=Q(lifted_at__isnull=True),
                name="one_open_pause_per_cause",
            ),
        ]

    def __str__(self) -> str:
        return self.reason


class Heartbeat(models.Model):
    """When a background process last showed that it works."""

    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
