"""MATLAB files, 5 to 7 as well as 7.3, read into plain Python values; damaged ones are refused."""

from interp_cnn.matlab.read import read_structs, read_variables

__all__ = ["read_structs", "read_variables"]
