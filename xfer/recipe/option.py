"""An option of a recipe: its default, what it means, which values it takes, when it counts.

`option()` makes a field of a frozen dataclass: of the recipe's tables and of a task's Options.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field
from typing import Any, cast

from xfer.errors import XferError


@dataclass(frozen=True, slots=True)
class Is:
    """What the value of a key has to be; `one_of`, `none_of`, `has_one_of`, `above`, `several` and
    `unset` make one.

    holds | whether a value is so
    text  | the same in words, {key} for the key
    """

    holds: Callable[[Any], bool]
    text: str


# every key has to be so; of several mappings, one is enough
When = Mapping[str, Is] | tuple[Mapping[str, Is], ...]


def one_of(*values: Any) -> Is:
    """The key has one of these values."""
    return Is(lambda value: value in values, f"{{key}}={_listed(values)}")


def none_of(*values: Any) -> Is:
    """The key has another value than these."""
    return Is(lambda value: value not in values, f"{{key}} other than {_listed(values)}")


def has_one_of(*words: str, text: str) -> Is:
    """The key's text has one of these words in it, as csgdw has sgd. Args: text: which it may be,
    for people."""
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
    """A value as it is typed in a command: true, 0.5, [1, 2]."""
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
    when: When | None = None,
) -> Any:
    """A field of a table of options, with its help text and the rules that its value must keep.

    The field's annotation is str, int, float, bool, or a tuple of one of these: tuple[float, float]
    takes two, tuple[str, ...] any number. A whole number is a float too. Rules of a tuple hold for
    each of its values.

    Args:
        default: the value where nobody sets one; it need not keep the rules.
        help: what it means, in a line; `xfer recipes show -v` prints it.
        min, max: the least and the largest value.
        above, below: bounds that the value itself must not have.
        choices: the texts to choose from.
        rising: a tuple's values must not fall.
        number: a text that may be given as a whole number: 255 is "255".
        when: the option counts only where other keys are so: {"optim.name": one_of("sgd")}; all
            keys of a mapping have to be so, and one mapping of a tuple of them. Keys are the
            recipe's (data.augment), the task's own (task.head, where `auto` is what it came to),
            "kind", the kind of the data, and "processes", how many train. A setting of the user's
            that does not count is said when the run starts; nothing else follows from it.

    Example:
        anchors: int = option(9, "anchors that are fitted", min=1,
                              when={"task.proposals": one_of("rpn")})
    """
    rules: dict[str, Any] = {
        "min": min, "max": max, "above": above, "below": below, "choices": choices,
        "rising": rising or None, "number": number or None, "when": when,
    }  # fmt: skip
    given = {name: rule for name, rule in rules.items() if rule is not None}
    return field(default=default, metadata={"help": help, **given})


def explain(option: Field[Any]) -> str:
    """The help text of an option, with the values to choose from and when it counts."""
    rules = option.metadata
    choices = f": {', '.join(rules['choices'])}" if "choices" in rules else ""
    counts = f"; counts with {in_words(rules['when'])}" if "when" in rules else ""
    return f"{rules['help']}{choices}{counts}"


def in_words(when: When) -> str:
    """When an option counts: "schedule.name=step or plateau"."""
    ways = when if isinstance(when, tuple) else (when,)
    return ", or with ".join(
        " and ".join(test.text.format(key=key) for key, test in way.items()) for way in ways
    )


_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def checked(where: str, value: Any, field: Field[Any]) -> Any:
    """A value as the field has it: whole numbers become floats, lists become tuples.

    Args:
        where: the key, as messages name it.
        field: its annotation is str, int, float, bool or a tuple of one of these, its metadata
            the rules: min, max, above, below, choices, rising.

    Raises: XferError that names the key, the rule and the value.
    """
    annotation = field.type if isinstance(field.type, str) else _annotation(field.type)
    found = re.fullmatch(r"tuple\[(.+)\]", annotation)
    if found is None:
        return check_value(where, value, annotation, field.metadata)
    kinds = [part.strip() for part in found[1].split(",")]
    count = None if kinds[-1] == "..." else len(kinds)
    if not isinstance(value, (list, tuple)):
        raise XferError(f"{where} must be a list, got {value!r}", f"{where}=[a, b]")
    items = tuple(cast("Iterable[Any]", value))
    if count is not None and len(items) != count:
        raise XferError(f"{where} must hold {count} values, got {len(items)}: {list(items)}")
    result = tuple(check_value(where, item, kinds[0], field.metadata) for item in items)
    if field.metadata.get("rising") and list(result) != sorted(result):
        raise XferError(f"{where} must not fall, got {list(result)}")
    return result


def _annotation(kind: Any) -> str:
    return kind.__name__ if type(kind) is type else str(kind)


def check_value(where: str, value: Any, kind: str, rules: Mapping[str, Any]) -> Any:
    """A single value of this kind (str, int, float, bool), under the rules; as `checked`."""
    if kind == "float" and type(value) is int:
        value = float(value)
    if rules.get("number") and type(value) is int:
        value = str(value)
    if type(value).__name__ != kind:
        hint = f'quote it: {where}="{value}"' if kind == "str" else None
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
    if "choices" in rules and value not in rules["choices"]:
        choices = ", ".join(rules["choices"])
        raise XferError(f"{where} must be one of {choices}; got {value!r}")
    return value
