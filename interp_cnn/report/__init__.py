"""What an evaluation found, for people: a table with the paper's numbers, figures and a page.

Pure presentation of results and arrays. `table` and `paper_figures` need no plotting library; the
others need matplotlib, Pillow and Jinja2, which are in the `train` extra.
"""
