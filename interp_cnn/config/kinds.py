"""What the fields of a configuration may hold: each kind says it in words, parses and checks it."""

import ast
import dataclasses
import math
import numbers
import re
from typing import Any, Protocol


class Kind(Protocol):
    """The values that a field may have."""

    @property
    def wanted(self) -> str:
        """The values in words, as in "must be ..."."""

    def parse(self, text: str) -> Any:
        """The value that a text on the command line stands for; a ValueError where it is none."""

    def accepts(self, value: Any) -> bool:
        """Whether a value may be used."""


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number in a range.

    Attributes:
      whole: whether it must be an integer.
      least: smallest value.
      most: largest value.
      above: a bound that is no value itself.
      below: a bound that is no value itself.
    """

    whole: bool = False
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        bounds = (
            ("of at least", self.least),
            ("above", self.above),
            ("at most", self.most),
            ("below", self.below),
        )
        said = [f"{word} {_short(bound)}" for word, bound in bounds if bound is not None]
        return " ".join(
            ["a whole number" if self.whole else "a finite number", *[" and ".join(said)]]
        ).strip()

    def parse(self, text: str) -> Any:
        """See `Kind`."""
        return int(text) if self.whole else float(text)

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(
            value, numbers.Integral if self.whole else numbers.Real
        ):
            return False
        number: Any = value if self.whole else _as_float(value)
        return (
            (self.whole or math.isfinite(number))
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _short(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some names."""

    names: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return f"one of {', '.join(map(repr, self.names))}"

    def parse(self, text: str) -> str:
        """See `Kind`."""
        return text

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, str) and value in self.names


@dataclasses.dataclass(frozen=True)
class NetworkName(Choice):
    """One of some names, or `package.module:Class`."""

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return f"{super().wanted}, or 'package.module:Class' for one of your own"

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        own = isinstance(value, str) and re.fullmatch(r"\w+(\.\w+)*:\w+", value)
        return bool(own) or super().accepts(value)


@dataclasses.dataclass(frozen=True)
class Text:
    """Any text; `what` it is."""

    what: str = "a text"
    empty: bool = True

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return self.what

    def parse(self, text: str) -> str:
        """See `Kind`."""
        return text

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        # A path with a zero byte is none.
        return isinstance(value, str) and "\0" not in value and (self.empty or bool(value))


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or false."""

    wanted = "true or false"

    def parse(self, text: str) -> bool:
        """See `Kind`."""
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise ValueError(text)

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, bool)


def _sequence(text: str) -> tuple[Any, ...]:
    """`('a', 'b')`, `[1, 2]`, `a,b` or `a` as a tuple."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return tuple(part.strip() for part in text.split(","))
    return tuple(value) if isinstance(value, list | tuple) else (value,)


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some of some names, each at most once, at least one."""

    names: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return f"some of {', '.join(map(repr, self.names))}, each at most once"

    def parse(self, text: str) -> tuple[Any, ...]:
        """See `Kind`."""
        return _sequence(text)

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return (
            isinstance(value, list | tuple)
            and len(value) > 0
            and all(isinstance(name, str) and name in self.names for name in value)
            and len(set(value)) == len(value)
        )


@dataclasses.dataclass(frozen=True)
class Numbers:
    """So many numbers."""

    count: int
    each: Number

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return f"{self.count} numbers, each {self.each.wanted}"

    def parse(self, text: str) -> tuple[Any, ...]:
        """See `Kind`."""
        return _sequence(text)

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return (
            isinstance(value, list | tuple)
            and len(value) == self.count
            and all(self.each.accepts(number) for number in value)
        )


@dataclasses.dataclass(frozen=True)
class NumberOrNumbers:
    """One number that stands for all, or so many."""

    count: int
    each: Number

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return f"{self.each.wanted}, or {self.count} of them"

    def parse(self, text: str) -> Any:
        """See `Kind`."""
        values = _sequence(text)
        return self.each.parse(values[0]) if len(values) == 1 else values

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return self.each.accepts(value) or Numbers(self.count, self.each).accepts(value)


@dataclasses.dataclass(frozen=True)
class Factors:
    """Pairs of a regular expression and a factor."""

    each: Number = Number(least=0)

    @property
    def wanted(self) -> str:
        """See `Kind`."""
        return f"pairs of a regular expression and {self.each.wanted}, no expression twice"

    def parse(self, text: str) -> tuple[Any, ...]:
        """See `Kind`."""
        return _sequence(text) if text else ()

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        pairs = isinstance(value, list | tuple) and all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and _is_pattern(pair[0])
            and self.each.accepts(pair[1])
            for pair in value
        )
        return pairs and len({pattern for pattern, _ in value}) == len(value)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pairs of a name and a number, a text, true or false, none, or a sequence of these."""

    wanted = "pairs of a name and a number, text, True, False, None or a tuple of these"

    def parse(self, text: str) -> tuple[Any, ...]:
        """See `Kind`."""
        return _sequence(text) if text else ()

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return (
            isinstance(value, list | tuple)
            and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
            and all(isinstance(name, str) and name.isidentifier() for name, _ in value)
            and all(_is_plain(of) for _, of in value)
            and len({name for name, _ in value}) == len(value)
        )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return isinstance(value, str)
