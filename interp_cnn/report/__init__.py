"""What an evaluation found, for people: a Markdown table, a figure, the paper's numbers beside ours.

Pure presentation of results and arrays. `table` and `paper_figures` need no plotting library;
`figure` needs matplotlib, which is in the `train` extra.
"""
