"""Published data sets of photos: their files as they are published, and their tfds builders."""
