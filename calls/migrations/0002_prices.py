"""List prices as of November 2026; staff add rows when they change."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.db import migrations

VALID_FROM = date(2026, 11, 1)
TWILIO = "Twilio, Voice pricing, United States, November 2026"
OPENAI = "OpenAI, model pages, November 2026"
_KINDS = (
    "audio_in",
    "audio_in_cached",
    "audio_out",
    "text_in",
    "text_in_cached",
    "text_out",
    "image_in",
    "image_in_cached",
)
_MODELS = {
    "gpt-realtime-2.1": ("32", "0.40", "64", "4", "0.40", "24", "5", "0.50"),
    "gpt-realtime-2": ("32", "0.40", "64", "4", "0.40", "24", "5", "0.50"),
    "gpt-realtime-1.5": ("32", "0.40", "64", "4", "0.40", "16", "5", "0.50"),
    "gpt-realtime-2.1-mini": ("10", "0.30", "20", "0.60", "0.06", "2.40", "0.80", "0.08"),
    "gpt-realtime-mini": ("10", "0.30", "20", "0.60", "0.06", "2.40", "0.80", "0.08"),
}
PRICES: list[tuple[str, str, str, str]] = [
    ("twilio.voice", "minute", "0.0140", TWILIO),
    ("twilio.stream", "minute", "0.0044", TWILIO),
    ("twilio.recording", "minute", "0.0025", TWILIO),
    ("twilio.amd", "call", "0.0075", TWILIO),
    ("gpt-transcribe.minute", "minute", "0.0045", OPENAI),
    ("gpt-live-transcribe.minute", "minute", "0.017", OPENAI),
    ("gpt-realtime-whisper.minute", "minute", "0.017", OPENAI),
    *(
        (f"{model}.{kind}", "1M tokens", amount, OPENAI)
        for model, amounts in _MODELS.items()
        for kind, amount in zip(_KINDS, amounts, strict=True)
    ),
]


def load(apps: Any, schema_editor: Any) -> None:
    price = apps.get_model("calls", "Price")
    for item, unit, amount, source in PRICES:
        price.objects.get_or_create(
            item=item,
            valid_from=VALID_FROM,
            defaults={"unit": unit, "amount": Decimal(amount), "source": source},
        )


def unload(apps: Any, schema_editor: Any) -> None:
    apps.get_model("calls", "Price").objects.filter(
        item__in=[item for item, *_ in PRICES], valid_from=VALID_FROM
    ).delete()


class Migration(migrations.Migration):
    dependencies = [("calls", "0001_initial")]
    operations = [migrations.RunPython(load, unload)]
