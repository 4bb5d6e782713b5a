"""The commands `interp-cnn train|eval|explain|reproduce|data|weights`, a module each.

`train.py`, `eval.py`, `explain.py` and `reproduce.py` of the repository call the same functions. A
command defines its flags when it is called, so that its module can be imported anywhere.
"""
