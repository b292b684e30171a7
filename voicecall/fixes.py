"""How to mend each setting that is missing or malformed: the second half of its line at start."""

from __future__ import annotations

from typing import Final

_BOOLEAN: Final = "set it to true or false"
_HOURS: Final = "write it like 09:00-20:00, or closed"

FIXES: Final = {
    "DJANGO_SECRET_KEY": "set it to a long random text, at least 32 characters",
    "DJANGO_DEBUG": _BOOLEAN,
    "DJANGO_ALLOWED_HOSTS": "write host names only, separated by commas",
    "DJANGO_CSRF_TRUSTED_ORIGINS": "write origins like https://intranet.example.org, "
    "separated by commas",
    "DJANGO_ADMIN_PATH": "write one word of letters, digits, _ and -, such as admin",
    "TIME_ZONE": "write it like Europe/Berlin",
    "LOG_LEVEL": "set it to DEBUG, INFO or WARNING",
    "LOG_FORMAT": "set it to text or json",
    "LOG_TRANSCRIPTS": _BOOLEAN,
    "VAR_DIR": "name a folder that this user may write to",
    "DATABASE_URL": "write it like postgres://user:password@host:5432/name",
    "REDIS_URL": "write it like redis://host:6379/0",
    "CELERY_BROKER_URL": "write it like redis://host:6379/0 or amqp://user:password@host:5672//",
    "RECORDINGS_S3_BUCKET": "install what requirements/image.lock holds, "
    "or leave it out and keep recordings in VAR_DIR",
    "RECORDINGS_S3_ENDPOINT_URL": "write it like https://s3.example.org",
    "PUBLIC_BASE_URL": "set it to the address at which Twilio reaches this server, such as "
    "https://calls.example.org",
    "TWILIO_BASE_URL": "leave it out: https://api.twilio.com is where Twilio is",
    "TWILIO_ACCOUNT_SID": "copy the Account SID (AC and 32 hex digits) from the Twilio console",
    "TWILIO_AUTH_TOKEN": "copy the Auth Token from the Twilio console",
    "TWILIO_SHARED_KEYS": "write it like id=secret, several separated by commas",
    "TWILIO_PHONE_NUMBER": "set it to the Twilio number to call from, such as +14155550100",
    "TWILIO_TIMEOUT_S": "set it to seconds from 1 to 60",
    "OPENAI_API_KEY": "create a project key at platform.openai.com and set it here",
    "OPENAI_BASE_URL": "leave it out: https://api.openai.com/v1 is where OpenAI is",
    "OPENAI_REALTIME_URL": "leave it out: wss://api.openai.com/v1/realtime is where OpenAI is",
    "CALLING_HOURS": _HOURS,
    "CALLING_HOURS_SUNDAY": _HOURS,
    "PHONE_REGION": "set it to a country's two capital letters, such as US",
    "RING_TIMEOUT_S": "set it to whole seconds from 5 to 600",
    "CALL_MAX_DURATION_S": "set it to whole seconds from 30 to 3300",
    "ANSWERING_MACHINE_DETECTION": _BOOLEAN,
    "UNKNOWN_GRACE_S": "set it to whole seconds from 2 to 3600",
    "RECORDING_DELETE_AT_TWILIO": _BOOLEAN,
    "RECORDING_SWAP_CHANNELS": _BOOLEAN,
}
