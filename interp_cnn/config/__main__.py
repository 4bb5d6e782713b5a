"""Prints the page of fields: python -m interp_cnn.config > docs/config.md."""

from interp_cnn.config.fields import as_markdown

print(as_markdown(), end="")
