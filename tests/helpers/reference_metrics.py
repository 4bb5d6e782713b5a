"""Slow float64 loops of the metrics, written from their equations, one filter at a time."""

import math

import numpy as np


def peak(x, centers_y, centers_x):
    """Position and value of the first largest entry of one map [h, w]."""
    best, place = -math.inf, None
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if x[i, j] > best:
                best, place = float(x[i, j]), (float(centers_y[i]), float(centers_x[j]))
    return place, best


def std(values):
    """Standard deviation with ddof = 1."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def variance(points):
    """Sum of the variances of the coordinates, ddof = 1."""
    return sum(std([p[axis] for p in points]) ** 2 for axis in (0, 1))


def chosen(peaks, f, top, usable):
    """Indices of the usable images on which filter f fires, by falling peak, the first `top`."""
    images = [n for n in range(len(peaks)) if usable(n) and peaks[n, f] > 0]
    return sorted(images, key=lambda n: (-peaks[n, f], n))[:top]


def pairs(positions, peaks, landmarks, f, k, top, where):
    """(p_k, p(mu_hat)) of the chosen images."""

    def usable(n):
        return where[n, f] and not any(math.isnan(c) for c in landmarks[n, k])

    return [
        (landmarks[n, k].astype(float), positions[n, f].astype(float))
        for n in chosen(peaks, f, top, usable)
    ]


def location_instability(positions, peaks, landmarks, image_size, top, where):
    result = np.full((peaks.shape[1], landmarks.shape[1]), np.nan)
    for f in range(peaks.shape[1]):
        for k in range(landmarks.shape[1]):
            used = pairs(positions, peaks, landmarks, f, k, top, where)
            if len(used) >= 2:
                distances = [math.dist(a, b) for a, b in used]
                result[f, k] = std(distances) / math.sqrt(image_size[0] ** 2 + image_size[1] ** 2)
    return result


def tracking_ratio(positions, peaks, landmarks, top, where):
    result = np.full((peaks.shape[1], landmarks.shape[1]), np.nan)
    for f in range(peaks.shape[1]):
        for k in range(landmarks.shape[1]):
            used = pairs(positions, peaks, landmarks, f, k, top, where)
            if len(used) >= 2 and any(tuple(a) != tuple(used[0][0]) for a, _ in used):
                error = variance([a - b for a, b in used])
                result[f, k] = math.sqrt(error / variance([a for a, _ in used]))
    return result


def spread(positions, peaks, f, top, where):
    """Root of the variance of filter f's positions, or None if it fires on fewer than two."""
    images = chosen(peaks, f, top, lambda n: where[n, f])
    if len(images) < 2:
        return None
    return math.sqrt(variance([positions[n, f].astype(float) for n in images]))


def activation_threshold(maps, quantile, where):
    """Smallest value of each filter's that at most a share `quantile` of its positions exceeds."""
    result = np.full(maps.shape[3], np.nan)
    for f in range(maps.shape[3]):
        values = maps[where[:, f], :, :, f].ravel()
        for candidate in sorted(values):
            if sum(v > candidate for v in values) <= quantile * len(values) + 1e-9:
                result[f] = candidate
                break
    return result


def part_hits(maps, masks, thresholds, centers_y, centers_x, radius, iou, where):
    images, height, width, filters = maps.shape
    parts, rows, columns = masks.shape[1:]
    hits, counts = np.zeros((filters, parts), int), np.zeros((filters, parts), int)
    for n in range(images):
        for f in range(filters):
            if not where[n, f]:
                continue
            region = np.zeros((rows, columns), bool)
            for i in range(height):
                for j in range(width):
                    if maps[n, i, j, f] > thresholds[f]:
                        for y in range(rows):
                            for x in range(columns):
                                dy = y + 0.5 - float(centers_y[i])
                                dx = x + 0.5 - float(centers_x[j])
                                region[y, x] |= dy * dy + dx * dx <= radius * radius
            for k in range(parts):
                if masks[n, k].any():
                    counts[f, k] += 1
                    common = (region & masks[n, k]).sum()
                    hits[f, k] += common / (region | masks[n, k]).sum() > iou
    return hits, counts
