"""The audio of calls, as files of ours."""

from __future__ import annotations

from django.core.files.storage import Storage, storages
from django.db import models
from django.utils import timezone

from calls.models import Call


def recordings_storage() -> Storage:
    """Where audio lies: the storage that settings call `recordings`."""
    return storages["recordings"]


class RecordingStatus(models.TextChoices):
    """How far a recording has come."""

    PENDING = "pending", "Waiting for Twilio"
    FETCHING = "fetching", "Being fetched"
    READY = "ready", "Ready"
    ABSENT = "absent", "There is none"
    REJECTED = "rejected", "Not usable"
    FAILED = "failed", "Could not be fetched"


class Recording(models.Model):
    """Twilio's file of a call, stereo: left the person called, right the agent."""

    call = models.ForeignKey(Call, models.PROTECT, related_name="recordings")
    # "RE" and 32 hex digits.
    recording_sid = models.CharField(max_length=34, unique=True)
    status = models.CharField(
        max_length=12, choices=RecordingStatus.choices, default=RecordingStatus.PENDING
    )
    file = models.FileField(storage=recordings_storage, max_length=200, blank=True)
    channels = models.PositiveSmallIntegerField(null=True, blank=True)
    rate_hz = models.PositiveIntegerField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    size_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    # {"left": [0..100, …], "right": […]}: one peak per step, for the player.
    peaks = models.JSONField(default=dict, blank=True)
    # Why it is absent, rejected or failed, in plain words.
    problem = models.CharField(max_length=300, blank=True)
    error_code = models.CharField(max_length=16, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    # How often something else came in place of the audio.
    doubts = models.PositiveSmallIntegerField(default=0, db_default=0)
    not_before = models.DateTimeField(default=timezone.now)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    # Deletion at Twilio: wanted by policy, then confirmed.
    delete_requested_at = models.DateTimeField(null=True, blank=True)
    deleted_at_twilio_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        permissions = [("listen_recording", "Can listen to recordings")]
        indexes = [models.Index(fields=["status", "not_before"], name="recording_due")]

    def __str__(self) -> str:
        return self.recording_sid


class RecordingSearch(models.Model):
    """The search for the recording of a call that Twilio has not reported."""

    call = models.OneToOneField(Call, models.CASCADE, related_name="recording_search")
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(default=timezone.now)
    # A day after the end of the call, without a find.
    gave_up_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"search for the recording of call {self.call_id}"
