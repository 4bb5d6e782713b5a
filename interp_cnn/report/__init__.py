"""What an evaluation found, for people: a Markdown table with the paper's numbers, and a figure.

Pure presentation of results and arrays. `table` and `paper_figures` need no plotting library;
`figure` needs matplotlib, which is in the `train` extra.
"""
