"""Data sets as tfds builders, and the pipeline from them to batches."""
