"""Markdown: tables, lists, and text that stays text."""

import doctest

import pytest

from interp_cnn.report import markdown


def test_the_examples():
    assert doctest.testmod(markdown).failed == 0


def test_a_table_of_whole_rows():
    table = markdown.pipe_table(["a", "b"], [])
    assert table == "| a   |   b |\n| --- | --: |"
    table = markdown.pipe_table(["a", "b"], [["long", "x"]], right=())
    assert table == "| a    | b   |\n| ---- | --- |\n| long | x   |"
    with pytest.raises(ValueError, match="a row has 1 cells and the header 2"):
        markdown.pipe_table(["a", "b"], [["1"]])


def test_a_list_shows_markup_as_text():
    assert markdown.bullets(["a | b", "two\nlines"]) == "- a \\| b\n- two lines"
