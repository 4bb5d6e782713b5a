"""What the fuzz tests share: the number of cases, a time limit, damage to files."""

import contextlib
import os
import signal

from hypothesis import given, seed, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("FUZZ_CASES", 10_000))
SECONDS = 60  # a case that takes longer hangs


def cases(share, *arguments, **named):
    """As `hypothesis.given`, with a share of all cases."""

    def decorate(test):
        test = given(*arguments, **named)(test)
        test = settings(max_examples=max(round(share * CASES), 1))(test)
        return seed(int(os.environ["FUZZ_SEED"]))(test) if "FUZZ_SEED" in os.environ else test

    return decorate


@contextlib.contextmanager
def limited():
    """TimeoutError in a body that takes longer than a minute."""
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def refused(function, *arguments, errors=(ValueError, OSError), **options):
    """Whether a call ends in one sentence; any other error comes through."""
    with limited():
        try:
            function(*arguments, **options)
        except errors as error:
            text = str(error)
            assert text and len(text) < 3000, text
            return True
    return False


_PLACE = st.floats(0, 1, exclude_max=True)
_DAMAGE = st.one_of(
    st.tuples(st.just("flip"), _PLACE, st.integers(0, 7)),
    st.tuples(st.just("set"), _PLACE, st.integers(0, 255)),
    st.tuples(st.just("cut"), _PLACE, st.just(0)),
    st.tuples(st.just("zero"), _PLACE, st.integers(1, 64)),
    st.tuples(st.just("drop"), _PLACE, st.integers(1, 16)),
    st.tuples(st.just("repeat"), _PLACE, st.integers(1, 64)),
    st.tuples(st.just("insert"), _PLACE, st.integers(0, 255)),
)
DAMAGES = st.lists(_DAMAGE, min_size=1, max_size=6)
# Most of what matters stands at the start of a file.
HEAD_DAMAGES = st.lists(
    st.tuples(st.sampled_from(("flip", "set", "zero")), st.floats(0, 0.05), st.integers(1, 7)),
    min_size=1,
    max_size=4,
)


def damaged(content, damages):
    """Bytes after some damages."""
    data = bytearray(content)
    for kind, place, number in damages:
        at = int(place * len(data))
        if kind == "flip" and data:
            data[at] ^= 1 << number
        elif kind == "set" and data:
            data[at] = number
        elif kind == "cut":
            del data[at:]
        elif kind == "zero":
            data[at : at + number] = bytes(len(data[at : at + number]))
        elif kind == "drop":
            del data[at : at + number]
        elif kind == "repeat":
            data[at:at] = data[at : at + number]
        elif kind == "insert":
            data[at:at] = bytes([number])
    return bytes(data)
