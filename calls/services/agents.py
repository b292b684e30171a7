"""An agent's instructions: checked when staff write them, filled in when a call is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from django.conf import settings
from django.template import Context, Engine, Library, Template, TemplateSyntaxError
from django.template import defaultfilters as filters
from django.template.base import FilterExpression, TextNode, VariableNode

from calls.core import prompts
from calls.core.brief import (
    AudioFormat,
    Brief,
    NoiseReduction,
    Opening,
    OpeningKind,
    TurnDetection,
)
from calls.models import Agent, Recipient

_FILTERS: dict[str, Callable[..., Any]] = {
    "default": filters.default,
    "upper": filters.upper,
    "lower": filters.lower,
    "title": filters.title,
    "capfirst": filters.capfirst,
}


@cache
def _engine() -> Engine:
    """Django's template language without tags, includes and all but a few harmless filters."""
    engine = Engine(dirs=[], libraries={}, autoescape=False, loaders=[])
    library = Library()
    for name, function in _FILTERS.items():
        library.filter(name, function)
    engine.template_builtins = [library]
    return engine


def check_instructions(text: str, variables: Iterable[str]) -> list[str]:
    """What is wrong with an agent's text, in sentences for the form; empty if nothing is."""
    declared = list(variables)
    problems = _name_problems(declared)
    if len(text) > prompts.MAX_INSTRUCTIONS // 2:
        problems.append(
            f"The text is too long: {len(text)} characters, at most"
            f" {prompts.MAX_INSTRUCTIONS // 2} are allowed."
        )
    try:
        used = variables_of(text)
    except TemplateSyntaxError as exc:
        return [*problems, f"The text cannot be read: {_in_plain_words(exc)}"]
    known = sorted({*prompts.BUILT_IN, *(name for name in declared if isinstance(name, str))})
    problems += [
        f"Unknown variable {{{{ {name} }}}}. Known are: {', '.join(known)}."
        for name in sorted(used - set(known))
    ]
    return problems


def _name_problems(names: Iterable[object]) -> list[str]:
    problems = []
    for name in names:
        if not isinstance(name, str) or not prompts.is_variable_name(name):
            problems.append(
                f"{name!r} cannot be a variable: write small letters, digits and underscores,"
                " beginning with a letter."
            )
        elif name in prompts.BUILT_IN:
            problems.append(f"{name} is built in: choose another name.")
    return problems


def variables_of(text: str) -> set[str]:
    """The variables that a text uses.

    Raises:
        TemplateSyntaxError: it holds tags, unknown filters, or something that is no plain name.
    """
    return {name for expression in _expressions(text) for name in _names(expression)}


def missing_values(agent: Agent, recipient: Recipient) -> list[str]:
    """The agent's declared variables for which this recipient has no value."""
    values = _values(agent, recipient)
    used = variables_of(agent.instructions) | variables_of(agent.opening_text)
    return [name for name in agent.variables if name in used and not values.get(name)]


def render_for(agent: Agent, recipient: Recipient) -> str:
    """The complete instructions for a call by `agent` to `recipient`."""
    values = _values(agent, recipient)
    return prompts.compose(
        agent=agent.name,
        language=_language(agent, recipient),
        text=_render(agent.instructions, values),
        values=values,
        mentions_context="context" in variables_of(agent.instructions),
        may_hang_up="end_call" in agent.tools,
    )


def first_words(agent: Agent, recipient: Recipient) -> str:
    """What the agent says first, word for word; empty unless it does."""
    if agent.opening != OpeningKind.VERBATIM:
        return ""
    return _render(agent.opening_text, _values(agent, recipient)).strip()


def brief_for(agent: Agent, recipient: Recipient) -> Brief:
    """Everything that a conversation is told, as agent and recipient are at this moment."""
    opening = Opening(
        kind=OpeningKind(agent.opening),
        wait_s=float(agent.opening_wait_s),
        text=_render(agent.opening_text, _values(agent, recipient)).strip(),
    )
    return Brief(
        agent=agent.name,
        model=agent.model,
        voice=agent.voice,
        instructions=render_for(agent, recipient),
        opening=opening,
        language=_language(agent, recipient),
        turn_detection=TurnDetection(agent.turn_detection),
        vad_threshold=agent.vad_threshold,
        vad_silence_ms=agent.vad_silence_ms,
        noise_reduction=NoiseReduction(agent.noise_reduction),
        audio_format=AudioFormat(agent.audio_format),
        transcription_model=settings.OPENAI_TRANSCRIPTION_MODEL,
        max_duration_s=min(agent.max_duration_s, settings.CALL_MAX_DURATION_S),
        silence_s=agent.silence_s,
        tools=tuple(agent.tools),
    )


def _language(agent: Agent, recipient: Recipient) -> str:
    return recipient.language or agent.language


def _values(agent: Agent, recipient: Recipient) -> dict[str, str]:
    return prompts.values_for(
        name=recipient.name,
        phone=recipient.phone,
        language=_language(agent, recipient),
        context=recipient.context,
        data=recipient.data if isinstance(recipient.data, dict) else {},
    )


def _parse(text: str) -> Template:
    return Template(text, engine=_engine())


def _render(text: str, values: dict[str, str]) -> str:
    # Instructions are text, not HTML: "&" must stay "&".
    return _parse(text).render(Context(values, autoescape=False))


def _expressions(text: str) -> Iterator[FilterExpression]:
    for node in _parse(text).nodelist:
        if isinstance(node, VariableNode):
            yield node.filter_expression
        elif not isinstance(node, TextNode):
            raise TemplateSyntaxError("only {{ variables }} are allowed")


def _names(expression: FilterExpression) -> Iterator[str]:
    arguments = [value for _, args in expression.filters for is_var, value in args if is_var]
    for variable in (expression.var, *arguments):
        lookups = getattr(variable, "lookups", None)
        if lookups is None:
            continue  # a literal
        if len(lookups) != 1:
            raise TemplateSyntaxError(f"{variable.var}: a variable is a plain name, without dots")
        yield lookups[0]


def _in_plain_words(exc: TemplateSyntaxError) -> str:
    text = str(exc)
    if "block tag" in text or text.startswith("Empty block"):
        return "{% … %} is not allowed, only {{ variables }}."
    return f"{text.rstrip('.')}."
