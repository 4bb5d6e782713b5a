"""What an evaluation found, for people: a table with the paper's numbers, figures and a page.

Pure presentation of results and arrays. `table` needs no plotting library; the figures and the page
need matplotlib, Pillow and Jinja2, which are in the `train` extra.
"""
