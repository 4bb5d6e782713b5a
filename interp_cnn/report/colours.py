"""Colours that can be told apart with any kind of colour vision."""

# Okabe and Ito, "Color Universal Design" (2008), without black and the pale yellow.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
NO_PART = "#7F7F7F"


def part_colour(part: int) -> str:
    """The colour of a part by its index, grey for none (-1)."""
    return NO_PART if part < 0 else COLOURS[part % len(COLOURS)]
