"""All settings, read from the environment and `.env`; docs/configuration.md describes each."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL
from django.urls import reverse_lazy
from marshmallow import validate

from voicecall import theme, validators
from voicecall.environment import Environment
from voicecall.fixes import FIXES

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR)

# --- Django -------------------------------------------------------------------------------------
SECRET_KEY = env.str("DJANGO_SECRET_KEY", validate=validate.Length(min=32))
DEBUG = env.bool("DJANGO_DEBUG", False)
_ALLOWED_HOSTS: list[str] = env.list(
    "DJANGO_ALLOWED_HOSTS", [], validate=validators.each(validators.is_host)
)
_CSRF_TRUSTED_ORIGINS: list[str] = env.list(
    "DJANGO_CSRF_TRUSTED_ORIGINS", [], validate=validators.each(validators.is_origin)
)
ADMIN_PATH = env.str("DJANGO_ADMIN_PATH", "admin", validate=validate.Regexp(r"^[\w-]+$"))
STATIC_ROOT = env.str("DJANGO_STATIC_ROOT", None)
TIME_ZONE = env.str("TIME_ZONE", "UTC", validate=validators.is_zone)
LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING"]))
LOG_FORMAT = env.str("LOG_FORMAT", "text", validate=validate.OneOf(["text", "json"]))
# Quotes what people say in the log. Off: speech is personal data.
LOG_TRANSCRIPTS = env.bool("LOG_TRANSCRIPTS", False)

# --- Where things are kept ----------------------------------------------------------------------
_VAR_DIR = env.str("VAR_DIR", str(BASE_DIR / "var"), validate=validators.is_writable_folder)
_DATABASE_URL = env.str("DATABASE_URL", None, validate=validators.is_database_url)
REDIS_URL = env.str("REDIS_URL", None, validate=validators.is_redis_url)
_BROKER_URL = env.str("CELERY_BROKER_URL", None, validate=validators.is_broker_url)
RECORDINGS_S3_BUCKET = env.str("RECORDINGS_S3_BUCKET", None, validate=validators.has_s3_library)
RECORDINGS_S3_ENDPOINT_URL = env.str(
    "RECORDINGS_S3_ENDPOINT_URL", None, validate=validators.is_http_url
)

# --- The address at which Twilio reaches us -----------------------------------------------------
PUBLIC_BASE_URL = env.str("PUBLIC_BASE_URL", validate=validators.is_public_address)

# --- Twilio -------------------------------------------------------------------------------------
# Another base URL is all that the sandbox needs.
TWILIO_BASE_URL = env.str(
    "TWILIO_BASE_URL", "https://api.twilio.com", validate=validators.is_http_url
)
TWILIO_ACCOUNT_SID = env.str("TWILIO_ACCOUNT_SID", validate=validate.Regexp(r"^AC[0-9a-f]{32}$"))
TWILIO_AUTH_TOKEN = env.str("TWILIO_AUTH_TOKEN")
TWILIO_AUTH_TOKEN_SECONDARY = env.str("TWILIO_AUTH_TOKEN_SECONDARY", None)
# id=secret pairs of shared keys that may sign webhooks with HMAC-SHA256.
TWILIO_SHARED_KEYS: dict[str, str] = env.pairs("TWILIO_SHARED_KEYS", {})
TWILIO_API_KEY = env.str("TWILIO_API_KEY", None)
TWILIO_API_SECRET = env.str("TWILIO_API_SECRET", None)
TWILIO_PHONE_NUMBER = env.str("TWILIO_PHONE_NUMBER", validate=validate.Regexp(r"^\+[1-9]\d{6,14}$"))
TWILIO_TIMEOUT_S = env.float("TWILIO_TIMEOUT_S", 10.0, validate=validate.Range(min=1, max=60))

# --- OpenAI -------------------------------------------------------------------------------------
OPENAI_API_KEY = env.str("OPENAI_API_KEY")
OPENAI_BASE_URL = env.str(
    "OPENAI_BASE_URL", "https://api.openai.com/v1", validate=validators.is_http_url
)
OPENAI_REALTIME_URL = env.str(
    "OPENAI_REALTIME_URL", "wss://api.openai.com/v1/realtime", validate=validators.is_socket_url
)
OPENAI_REALTIME_MODEL = env.str("OPENAI_REALTIME_MODEL", "gpt-realtime-2.1")
OPENAI_TRANSCRIPTION_MODEL = env.str("OPENAI_TRANSCRIPTION_MODEL", "gpt-transcribe")

# --- Calling ------------------------------------------------------------------------------------
# Local time of the person called. "00:00-24:00" allows every hour, "closed" none.
CALLING_HOURS = env.str("CALLING_HOURS", "09:00-20:00", validate=validators.are_hours)
CALLING_HOURS_SUNDAY = env.str("CALLING_HOURS_SUNDAY", "12:00-20:00", validate=validators.are_hours)
# Numbers written without a country code belong here.
PHONE_REGION = env.str("PHONE_REGION", "US", validate=validators.is_region)
RING_TIMEOUT_S = env.int("RING_TIMEOUT_S", 30, validate=validate.Range(min=5, max=600))
# We end a call that lasts longer than this, whatever the agent or the person does.
CALL_MAX_DURATION_S = env.int("CALL_MAX_DURATION_S", 900, validate=validate.Range(min=30, max=3300))
ANSWERING_MACHINE_DETECTION = env.bool("ANSWERING_MACHINE_DETECTION", True)
# How long after its deadline an unanswered question to Twilio may stay open before it counts as
# "no call was created".
UNKNOWN_GRACE_S = env.int("UNKNOWN_GRACE_S", 60, validate=validate.Range(min=2, max=3600))

# --- Recordings ---------------------------------------------------------------------------------
RECORDING_DELETE_AT_TWILIO = env.bool("RECORDING_DELETE_AT_TWILIO", False)
# Twilio documents left = the person called. Verify once on a real call; swap if it differs.
RECORDING_SWAP_CHANNELS = env.bool("RECORDING_SWAP_CHANNELS", False)

env.check(FIXES)

# ================================================================================================
# Everything below follows from what was read above.

VAR_DIR = Path(_VAR_DIR)
PUBLIC_BASE_URL = PUBLIC_BASE_URL.rstrip("/")
TWILIO_BASE_URL = TWILIO_BASE_URL.rstrip("/")
OPENAI_BASE_URL = OPENAI_BASE_URL.rstrip("/")
_public = urlsplit(PUBLIC_BASE_URL)
ALLOWED_HOSTS = [*map(str.strip, _ALLOWED_HOSTS), _public.hostname or "", "localhost", "127.0.0.1"]
CSRF_TRUSTED_ORIGINS = [
    *map(str.strip, _CSRF_TRUSTED_ORIGINS),
    f"{_public.scheme}://{_public.netloc}",
]
_is_https = _public.scheme == "https"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _is_https else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _is_https
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if _is_https else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "calls",
    "realtime",
    "recordings",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]
# The admin theme's Alpine needs unsafe-eval; our own pages narrow this to the strict policy.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL, NONCE],
        "style-src": [SELF, "'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF, f"ws://{_public.netloc}", f"wss://{_public.netloc}"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}
ROOT_URLCONF = "voicecall.urls"
ASGI_APPLICATION = "voicecall.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
USE_TZ = True
FORMAT_MODULE_PATH = "voicecall.formats"
STATIC_URL = "/static/"
UNFOLD = theme.unfold(STATIC_URL)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Database: SQLite by default, PostgreSQL by DATABASE_URL -------------------------------------
DATABASES = {
    "default": dj_database_url.parse(
        _DATABASE_URL or f"sqlite:///{VAR_DIR / 'voicecall.sqlite3'}", conn_max_age=0
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A writer takes its lock when the transaction begins and waits for it, so that two writers
    # queue up instead of failing; readers never wait.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 10,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
else:
    # A silent network path must not hang a request: connect, queries and locks have deadlines.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 2,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "options": "-c statement_timeout=15000 -c lock_timeout=5000"
        " -c idle_in_transaction_session_timeout=30000",
        **DATABASES["default"].get("OPTIONS", {}),
    }

# --- Files --------------------------------------------------------------------------------------
if RECORDINGS_S3_BUCKET:
    _recordings = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": RECORDINGS_S3_BUCKET,
            "endpoint_url": RECORDINGS_S3_ENDPOINT_URL,
            "default_acl": None,
            "file_overwrite": False,
        },
    }
else:
    _recordings = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(VAR_DIR / "recordings")},
    }
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(VAR_DIR / "files")},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
    "recordings": _recordings,
}
WHITENOISE_USE_FINDERS = not STATIC_ROOT
WHITENOISE_AUTOREFRESH = False

# --- Channels: hints to open pages only ----------------------------------------------------------
if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # redis-py's 5 s read timeout equals the layer's blocking pop: an idle page would die.
            "CONFIG": {
                "hosts": [{"address": REDIS_URL, "socket_timeout": 20, "socket_connect_timeout": 2}]
            },
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# --- Celery -------------------------------------------------------------------------------------
CELERY_BROKER_URL = _BROKER_URL or REDIS_URL or "filesystem://localhost"
if CELERY_BROKER_URL.startswith("filesystem:"):
    _queue_dir = VAR_DIR / "queue"
    for _part in ("messages", "processed", "control"):
        (_queue_dir / _part).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {
        "data_folder_in": str(_queue_dir / "messages"),
        "data_folder_out": str(_queue_dir / "messages"),
        "processed_folder": str(_queue_dir / "processed"),
        "control_folder": str(_queue_dir / "control"),
        "polling_interval": 0.05,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # Publishing to a silent broker must not hang the request that does it.
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "visibility_timeout": 120,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    }
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 110
CELERY_TASK_SOFT_TIME_LIMIT = 90
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_ENABLE_UTC = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    name: {"task": task, "schedule": timedelta(seconds=seconds), "options": {"expires": seconds}}
    for name, task, seconds in [
        ("beat", "calls.tasks.heartbeat", 5.0),
        ("dial what is due", "calls.tasks.sweep_due_calls", 5.0),
        ("settle unknown calls", "calls.tasks.settle_calls", 5.0),
        ("ask for prices", "calls.tasks.poll_prices", 60.0),
        ("fetch recordings", "recordings.tasks.sweep_recordings", 5.0),
    ]
}

# --- Logging: a secret or a person's words never pass ---------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"redact": {"()": "voicecall.logs.Redact"}},
    "formatters": {
        "text": {"()": "voicecall.logs.TextFormatter"},
        "json": {"()": "voicecall.logs.JsonFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["redact"],
        }
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        name: {"level": LOG_LEVEL}
        for name in ("voicecall", "calls", "realtime", "recordings", "celery", "django")
    },
}
LOG_SECRETS = [
    secret
    for secret in (
        SECRET_KEY,
        TWILIO_AUTH_TOKEN,
        TWILIO_AUTH_TOKEN_SECONDARY,
        TWILIO_API_SECRET,
        OPENAI_API_KEY,
        *TWILIO_SHARED_KEYS.values(),
        *re.findall(r"://[^/@:]*:([^/@]+)@", f"{_DATABASE_URL} {REDIS_URL} {_BROKER_URL}"),
    )
    if secret
]
