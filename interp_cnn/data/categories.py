"""Which categories a task has, from the text that names them."""

from collections.abc import Sequence

ALL = "all"
SEPARATOR = "+"


def named_categories(text: str, known: Sequence[str] | None) -> tuple[str, ...]:
    """The names in `"cat"` or `"cat+fox+elephant"`, in the order of their labels 1, 2, ...

    Args:
        text: one name, which may have a `+` in it where it is known, several joined by `+`, or
            `"all"`.
        known: every category in its official order; None where only the data can tell.

    Returns:
        The names; of `"all"` those of `known`, or `()` where that is None.

    Raises:
        ValueError: for a name that is not known, or one that is given twice.
    """
    if text == ALL:
        return tuple(known or ())
    names = (text,) if text in (known or ()) else tuple(text.split(SEPARATOR))
    for name in names:
        if not name or (known is not None and name not in known):
            choice = f" of {', '.join(known)}" if known else ""
            raise ValueError(
                f"category {text!r}: {name!r} is no category; give one{choice}, several joined"
                f" by {SEPARATOR}, or {ALL!r}."
            )
    if len(set(names)) < len(names):
        raise ValueError(f"category {text!r} names one twice: name each once.")
    return names
