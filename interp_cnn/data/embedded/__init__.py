"""The embedded data set: drawn animals, made of parts, on clutter."""
