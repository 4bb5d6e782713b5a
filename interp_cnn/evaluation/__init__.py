"""Evaluation: a pass over the objects, what is measured of it, and explanations."""
