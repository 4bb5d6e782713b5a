"""Slow float64 loops written from the paper's equations, to compare the package with.

Maps are [images, height, width, filters] as in the package; every function of one filter takes
[images, height, width].
"""

import math

import numpy as np


def distance(i, j, mu_row, mu_column, norm):
    if norm == "l1":
        return abs(i - mu_row) + abs(j - mu_column)
    return math.hypot(i - mu_row, j - mu_column)


def template(height, width, mu, *, norm, beta, tau):
    """T_mu[i, j] = tau * max(1 - beta * ||(i, j) - mu|| / n, -1)."""
    n = max(height, width)
    values = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            values[i, j] = tau * max(1 - beta * distance(i, j, *mu, norm) / n, -1)
    return values


def template_bank(height, width, *, norm="l1", beta=4.0, tau=None):
    tau = 0.5 / max(height, width) ** 2 if tau is None else tau
    bank = []
    for row in range(height):
        for column in range(width):
            bank.append(template(height, width, (row, column), norm=norm, beta=beta, tau=tau))
    bank.append(np.full((height, width), -tau))
    return np.stack(bank)


def template_prior(height, width, *, alpha=None):
    positions = height * width
    alpha = positions / (1 + positions) if alpha is None else alpha
    return np.array([alpha / positions] * positions + [1 - alpha])


def argmax_position(image):
    best = (0, 0)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if image[i, j] > image[best]:
                best = (i, j)
    return best


def centroid_position(image):
    height, width = image.shape
    total = row = column = 0.0
    for i in range(height):
        for j in range(width):
            weight = max(image[i, j], 0.0)
            total += weight
            row += weight * i
            column += weight * j
    if total == 0:
        row, column, total = (height - 1) / 2, (width - 1) / 2, 1.0
    return math.floor(row / total + 0.5), math.floor(column / total + 0.5)


def template_mask(x, *, norm="l1", beta=4.0, position="argmax"):
    """M = T_mu_hat / tau for every image and filter."""
    x = np.asarray(x, np.float64)
    images, height, width, filters = x.shape
    betas = np.broadcast_to(beta, (filters,))
    find = argmax_position if position == "argmax" else centroid_position
    mask = np.zeros(x.shape)
    for k in range(images):
        for f in range(filters):
            mu = find(x[k, :, :, f])
            mask[k, :, :, f] = template(height, width, mu, norm=norm, beta=betas[f], tau=1.0)
    return mask


def scores(maps, bank):
    """tr(x.T) of one filter, [images, templates] (Eq. 2)."""
    values = np.zeros((len(maps), len(bank)))
    for k, image in enumerate(maps):
        for t, positions in enumerate(bank):
            values[k, t] = (image * positions).sum()
    return values


def probabilities(maps, bank, prior):
    """p(x|T) [images, templates] and p(x) [images] of one filter (Eq. 2)."""
    tables = scores(maps, bank)
    conditional = np.zeros(tables.shape)
    for t in range(len(bank)):
        column = np.exp(tables[:, t] - tables[:, t].max())  # the constant cancels against Z_T
        conditional[:, t] = column / column.sum()
    marginal = np.zeros(len(maps))
    for k in range(len(maps)):
        marginal[k] = sum(p * q for p, q in zip(prior, conditional[k], strict=True))
    return conditional, marginal


def one_filter_loss(maps, bank, prior):
    """-sum_T p(T) sum_x p(x|T) log(p(x|T) / p(x)) (Eq. 1)."""
    conditional, marginal = probabilities(maps, bank, prior)
    information = 0.0
    for t in range(len(bank)):
        for k in range(len(maps)):
            if conditional[k, t] > 0:
                ratio = math.log(conditional[k, t] / marginal[k])
                information += prior[t] * conditional[k, t] * ratio
    return -information


def _banks(x, norm, beta):
    _, height, width, filters = x.shape
    return [
        template_bank(height, width, norm=norm, beta=b) for b in np.broadcast_to(beta, (filters,))
    ]


def filter_loss(x, *, norm="l1", beta=4.0, alpha=None):
    x = np.asarray(x, np.float64)
    prior = template_prior(*x.shape[1:3], alpha=alpha)
    return np.array(
        [one_filter_loss(x[..., f], bank, prior) for f, bank in enumerate(_banks(x, norm, beta))]
    )


def exact_gradient(x, *, norm="l1", beta=4.0, alpha=None, step=1e-3):
    """Gradient of the sum of Eq. 1 over filters, by five-point finite differences."""
    x = np.array(x, np.float64)
    prior = template_prior(*x.shape[1:3], alpha=alpha)
    gradient = np.zeros(x.shape)
    for f, bank in enumerate(_banks(x, norm, beta)):
        maps = x[..., f].copy()
        for index in np.ndindex(maps.shape):
            centre = maps[index]
            slope = 0.0
            for offset, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
                maps[index] = centre + offset * step
                slope += weight * one_filter_loss(maps, bank, prior)
            maps[index] = centre
            gradient[(*index, f)] = slope / (12 * step)
    return gradient


def paper_gradient(x, target, *, norm="l1", beta=4.0, alpha=None, position="argmax"):
    """Eq. 4: -p(T) T[i, j] exp(tr(x.T)) / Z_T (tr(x.T) - log Z_T - log p(x)), T = T_hat."""
    x = np.asarray(x, np.float64)
    images, height, width, filters = x.shape
    prior = template_prior(height, width, alpha=alpha)
    target = np.broadcast_to(target, (images, filters))
    gradient = np.zeros(x.shape)
    for f, bank in enumerate(_banks(x, norm, beta)):
        maps = x[..., f]
        tables = scores(maps, bank)
        _, marginal = probabilities(maps, bank, prior)
        for k in range(images):
            find = argmax_position if position == "argmax" else centroid_position
            row, column = find(maps[k])
            t = row * width + column if target[k, f] else height * width
            partition = np.exp(tables[:, t]).sum()
            trace = tables[k, t]
            factor = trace - math.log(partition) - math.log(marginal[k])
            gradient[k, :, :, f] = -prior[t] * bank[t] * math.exp(trace) / partition * factor
    return gradient


def scale_free(x, sharpness):
    """sharpness * x / (r + mean r), r the root mean square of a map."""
    x = np.asarray(x, np.float64)
    result = np.zeros(x.shape)
    for f in range(x.shape[-1]):
        sizes = [math.sqrt((image**2).mean()) for image in x[..., f]]
        for k, size in enumerate(sizes):
            if size + np.mean(sizes) > 0:
                result[k, :, :, f] = sharpness * x[k, :, :, f] / (size + np.mean(sizes))
    return result


def filter_categories(x, labels, num_categories):
    """argmax_c of the mean over images of c of sum_ij x_ij."""
    x = np.asarray(x, np.float64)
    categories = []
    for f in range(x.shape[-1]):
        best, best_mean = None, -math.inf
        for c in range(num_categories):
            sums = [x[k, :, :, f].sum() for k in range(len(x)) if labels[k] == c]
            if sums and np.mean(sums) > best_mean:
                best, best_mean = c, np.mean(sums)
        categories.append(best)
    return np.array(categories)


def _entropy(values):
    return -sum(p * math.log(p) for p in values if p > 0)


def diagnostics(x, *, norm="l1", beta=4.0, alpha=None):
    """The terms of Eq. 5 from the joint distribution p(T, x), a dict of [filters]."""
    x = np.asarray(x, np.float64)
    prior = template_prior(*x.shape[1:3], alpha=alpha)
    names = ("mutual_information", "template_entropy", "category_entropy", "position_entropy")
    terms = {name: np.zeros(x.shape[-1]) for name in names}
    for f, bank in enumerate(_banks(x, norm, beta)):
        conditional, marginal = probabilities(x[..., f], bank, prior)
        category = position = 0.0
        for k in range(len(x)):
            posterior = prior * conditional[k] / marginal[k]  # p(T|x)
            positive = posterior[:-1].sum()  # p(T+|x)
            category += marginal[k] * _entropy([positive, posterior[-1]])
            position += marginal[k] * positive * _entropy(posterior[:-1] / positive)
        terms["mutual_information"][f] = -one_filter_loss(x[..., f], bank, prior)
        terms["template_entropy"][f] = _entropy(prior)
        terms["category_entropy"][f] = category
        terms["position_entropy"][f] = position
    return terms
