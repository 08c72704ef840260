"""An option of a recipe: its default, its meaning, its valid values, and when it has an effect.

`option()` makes a field of a frozen dataclass: of a recipe table or of a task's Options.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field
from typing import Any, cast

from xfer.errors import XferError
from xfer.recipe import words


@dataclass(frozen=True, slots=True)
class Is:
    """A condition on the value of a key; made by `one_of`, `none_of`, `has_one_of`, `above`,
    `several` and `unset`.

    holds | whether a value meets it
    text  | the same in words, with {key} for the key
    """

    holds: Callable[[Any], bool]
    text: str


# every key of a mapping must meet its condition; of several mappings, one is enough
When = Mapping[str, Is] | tuple[Mapping[str, Is], ...]


def one_of(*values: Any) -> Is:
    """The key has one of these values."""
    return Is(lambda value: value in values, f"{{key}}={_listed(values)}")


def none_of(*values: Any) -> Is:
    """The key has none of these values."""
    return Is(lambda value: value not in values, f"{{key}} other than {_listed(values)}")


def has_one_of(*words: str, text: str) -> Is:
    """The key's text contains one of these words, as csgdw contains sgd. Args: text: the valid
    values, in words."""
    return Is(lambda value: any(word in value for word in words), f"{{key}}={text}")


def above(number: float) -> Is:
    """The key is a number above this one."""
    return Is(lambda value: value > number, f"{{key}} above {number:g}")


def several() -> Is:
    """The key is a list of two or more."""
    return Is(lambda value: len(value) > 1, "several {key}")


def unset() -> Is:
    """The key is empty or 0."""
    return Is(lambda value: not value, "no {key}")


def _listed(values: tuple[Any, ...]) -> str:
    words = [plain(value) for value in values]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plain(value: Any) -> str:
    """A value as typed in a command: true, 0.5, [1, 2]."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(plain(item) for item in cast('Iterable[Any]', value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or '""'


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    rising: bool = False,
    number: bool = False,
    commas: bool = False,
    when: When | None = None,
) -> Any:
    """A field of a table of options, with its help text and the rules for its value.

    The field's annotation is str, int, float, bool, or a tuple of one of these: tuple[float, float]
    takes two, tuple[str, ...] any number. A float may be given as a whole number. The rules of a
    tuple apply to each of its values.

    Args:
        default: the value if nobody sets one; it may break the rules.
        help: its meaning, in one line; `xfer recipes show -v` prints it.
        min, max: the smallest and the largest valid value.
        above, below: exclusive bounds.
        choices: the valid texts.
        rising: a tuple's values must not decrease.
        commas: a text of several choices, divided by commas.
        number: a text that may be given as a whole number: 255 is "255".
        when: the option has an effect only if other keys meet these conditions:
            {"optim.name": one_of("sgd")}; all keys of a mapping must, or, in a tuple of mappings,
            those of one of them. Keys are the recipe's (data.augment), the task's own (task.head,
            with `auto` resolved), "kind", the kind of the data, and "processes", how many train. A
            user setting without effect is reported when the run starts; it changes nothing else.

    Example:
        anchors: int = option(9, "number of anchors to fit", min=1,
                              when={"task.proposals": one_of("rpn")})
    """
    rules: dict[str, Any] = {
        "min": min, "max": max, "above": above, "below": below, "choices": choices,
        "rising": rising or None, "number": number or None,
        "commas": commas or None, "when": when,
    }  # fmt: skip
    set_rules = {name: rule for name, rule in rules.items() if rule is not None}
    return field(default=default, metadata={"help": help, **set_rules})


def explain(option: Field[Any]) -> str:
    """The help text of an option, with its choices and when it has an effect."""
    rules = option.metadata
    choices = f": {', '.join(rules['choices'])}" if "choices" in rules else ""
    condition = f"; only with {in_words(rules['when'])}" if "when" in rules else ""
    return f"{rules['help']}{choices}{condition}"


def in_words(when: When) -> str:
    """When an option has an effect, in words: "schedule.name=step or plateau"."""
    ways = when if isinstance(when, tuple) else (when,)
    return ", or with ".join(
        " and ".join(test.text.format(key=key) for key, test in way.items()) for way in ways
    )


_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def checked(where: str, value: Any, field: Field[Any]) -> Any:
    """A value in the field's type: whole numbers become floats, lists become tuples.

    Args:
        where: the key, as messages name it.
        field: its annotation is str, int, float, bool or a tuple of one of these, its metadata
            the rules: min, max, above, below, choices, rising.

    Raises: XferError that names the key, the rule and the value.
    """
    annotation = field.type if isinstance(field.type, str) else _annotation(field.type)
    match = re.fullmatch(r"tuple\[(.+)\]", annotation)
    if match is None:
        return check_value(where, value, annotation, field.metadata)
    kinds = [part.strip() for part in match[1].split(",")]
    count = None if kinds[-1] == "..." else len(kinds)
    if isinstance(value, str) and kinds == ["str", "..."]:  # a,b or [a,b], as typed in a command
        value = [word.strip() for word in value.strip("[]").split(",") if word.strip()]
    if not isinstance(value, (list, tuple)):
        raise XferError(f"{where} must be a list, got {value!r}", f"{where}=[a, b]")
    items = tuple(cast("Iterable[Any]", value))
    if count is not None and len(items) != count:
        raise XferError(f"{where} must hold {count} values, got {len(items)}: {list(items)}")
    result = tuple(check_value(where, item, kinds[0], field.metadata) for item in items)
    if field.metadata.get("rising") and list(result) != sorted(result):
        raise XferError(f"{where} must not decrease, got {list(result)}")
    return result


def _annotation(kind: Any) -> str:
    return kind.__name__ if type(kind) is type else str(kind)


def check_value(where: str, value: Any, kind: str, rules: Mapping[str, Any]) -> Any:
    """A single value of this type (str, int, float, bool), checked as in `checked`."""
    if kind == "float" and type(value) is int:
        value = float(value)
    if rules.get("number") and type(value) is int:
        value = str(value)
    if type(value).__name__ != kind:
        quoted = f'quote it: {where}="{value}"' if kind == "str" else None
        hint = words.value_hint(where, value) or quoted
        raise XferError(f"{where} must be {_WORDS[kind]}, got {value!r}", hint)
    if kind == "float" and not math.isfinite(value):
        raise XferError(f"{where} must be a finite number, got {value}")
    if "above" in rules and not value > rules["above"]:
        raise XferError(f"{where} must be above {rules['above']}, got {value:g}")
    if "below" in rules and not value < rules["below"]:
        raise XferError(f"{where} must be below {rules['below']}, got {value:g}")
    if "min" in rules and not value >= rules["min"]:
        raise XferError(f"{where} must be at least {rules['min']:g}, got {value:g}")
    if "max" in rules and not value <= rules["max"]:
        raise XferError(f"{where} must be at most {rules['max']:g}, got {value:g}")
    chosen = value.split(",") if value and rules.get("commas") else [value]
    if "choices" in rules and not all(word in rules["choices"] for word in chosen):
        choices = ", ".join(rules["choices"])
        raise XferError(f"{where} must be one of {choices}; got {value!r}")
    return value
