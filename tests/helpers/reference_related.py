"""Slow float64 loops of the measures of related work, written from their definitions."""

import math

import numpy as np
from scipy.special import digamma


def purity(positions, peaks, landmarks, patch, top, where):
    """Share of the `top` strongest patches that contain a landmark, among those that show it."""
    images, filters = peaks.shape
    result = np.full((filters, landmarks.shape[1]), np.nan)
    for f in range(filters):
        fires = [n for n in range(images) if where[n, f] and peaks[n, f] > 0]
        chosen = sorted(fires, key=lambda n: (-peaks[n, f], n))[:top]
        for k in range(landmarks.shape[1]):
            inside = []
            for n in chosen:
                y, x = (float(c) for c in landmarks[n, k])
                if math.isnan(y) or math.isnan(x):
                    continue
                top_edge, left = (float(c) - patch / 2 for c in positions[n, f])
                inside.append(top_edge <= y <= top_edge + patch and left <= x <= left + patch)
            if inside:
                result[f, k] = sum(inside) / len(inside)
    return result


def pattern_shares(maps, masks, thresholds, centers_y, centers_x, where):
    """Mean over images of the share of the valid positions that lies in each part, or in none."""
    images, height, width, filters = maps.shape
    parts, rows, columns = masks.shape[1:]
    result = np.full((filters, parts + 1), np.nan)
    for f in range(filters):
        shares = []
        for n in range(images):
            counts, valid = np.zeros(parts + 1), 0
            for i in range(height):
                for j in range(width):
                    if not where[n, f] or not maps[n, i, j, f] > thresholds[f]:
                        continue
                    y = min(max(math.floor(centers_y[i]), 0), rows - 1)
                    x = min(max(math.floor(centers_x[j]), 0), columns - 1)
                    covering = [k for k in range(parts) if masks[n, k, y, x]] or [parts]
                    valid += 1
                    for k in covering:
                        counts[k] += 1 / len(covering)
            if valid:
                shares.append(counts / valid)
        if shares:
            result[f] = sum(shares) / len(shares)
    return result


def entropy(row):
    return -sum(float(q) * math.log(q) for q in row if q > 0)


def class_information(activations, labels, classes, neighbours):
    """Ross' estimate of the mutual information of a number and a yes or no, image by image."""
    images, filters = activations.shape
    a = activations.astype(float)
    result = np.full((filters, len(classes)), np.nan)
    for f in range(filters):
        for column, c in enumerate(classes):
            yes = [label == c for label in labels]
            if not 2 <= sum(yes) <= images - 2:
                continue
            terms = []
            for i in range(images):
                own = [j for j in range(images) if yes[j] == yes[i]]
                distances = sorted(abs(a[j, f] - a[i, f]) for j in own if j != i)
                k = min(neighbours, len(own) - 1)
                d = distances[k - 1]
                if d > 0:
                    m = sum(abs(a[j, f] - a[i, f]) < d for j in range(images))
                else:
                    k = sum(a[j, f] == a[i, f] for j in own)
                    m = sum(a[j, f] == a[i, f] for j in range(images))
                terms.append(digamma(k) - digamma(len(own)) - digamma(m))
            result[f, column] = max(0.0, digamma(images) + sum(terms) / images)
    return result
