"""The prose around the table of an evaluation: its title, its data, what the figures mean."""

import math
from collections.abc import Sequence
from operator import attrgetter

from interp_cnn.evaluation.results import EmpiricalRadius, ExperimentRecord, NetworkResult, Results
from interp_cnn.report.paper_numbers import NETWORKS
from interp_cnn.report.table_figures import counts, decimal, number, paper_number_of

_DATASET_NAMES = {
    "embedded_animals": "embedded animals",
    "ilsvrc_animal_part": "ILSVRC Animal-Part",
    "pascal_voc_part": "Pascal VOC Part",
    "cub_200_2011": "CUB-200-2011",
}
NO_PARTS = (
    "No parts are annotated. Points or boxes of parts would add location instability, tracking "
    "ratio and part interpretability, and a name for what each filter stands for."
)


def title_of(experiment: ExperimentRecord) -> str:
    """Network, data set and category."""
    network = NETWORKS.get(experiment.network, experiment.network)
    return f"{network} on {dataset_name(experiment)}: {experiment.category}"


def dataset_name(experiment: ExperimentRecord) -> str:
    """The data set as its publishers write it; others as the configuration has them."""
    return _DATASET_NAMES.get(experiment.dataset, experiment.dataset)


def about_run(results: Results) -> list[str]:
    """Paragraphs on the run and its data."""
    experiment, data = results.experiment, results.data
    size = experiment.image_size
    versions = [f"{name} {version}" for name, version in experiment.versions.items()]
    run = [f"{size} x {size} pixels", experiment.date, experiment.device, *versions]
    steps = [f"{name} at step {found.step}" for name, found in results.networks.items()]
    landmarks, parts = (", ".join(names) or "none" for names in (data.landmarks, data.parts))
    annotated = f"Landmarks: {landmarks}. Parts: {parts}."
    return [
        f"{', '.join(run)}. Networks: {', '.join(steps)}.",
        f"{data.train_images} training images, {data.test_images} test images with "
        f"{data.test_objects} objects. {annotated if data.has_parts else NO_PARTS}",
    ]


def notes_on(
    results: Results, networks: Sequence[NetworkResult], layers: Sequence[str]
) -> list[str]:
    """What the figures mean.

    Args:
      results: the results.
      networks: the networks in the order of the table.
      layers: the layers in the order of the table.
    """
    data = results.data
    if data.location_split == "all":
        images = (
            f"all {data.location_images} objects, those of training images among them, as in the "
            "authors' code"
        )
    else:
        images = f"the {data.location_images} test objects"
    notes = ["↑ higher is better, ↓ lower is better, — could not be measured."]
    if data.has_parts:
        annotated = results.controls.images
        if annotated < data.location_images:
            images += f", {annotated} of which have a landmark"
        notes += _location_notes(images)
    else:
        notes += _behaviour_notes(networks, layers, images)
    if data.part_regions != "none":
        notes += [
            "Part interpretability: share of the images on which a filter's region overlaps its "
            "best part with an IoU above 0.2, mean over filters. " + _radius_note(networks, layers),
            *_reading_note(networks),
        ]
    if results.empirical_radius is not None:
        notes.append(_empirical_note(results.empirical_radius, layers[-1]))
    if data.part_regions == "boxes":
        notes.append(
            "This data set has no part masks: filled part boxes served as masks, so part "
            "interpretability does not compare with figures measured on masks."
        )
    if data.part_regions == "none" and data.has_parts:
        notes.append(
            "The parts of this data set are points without regions, so there is no part "
            "interpretability."
        )
    if len(data.categories) > 1:
        controls = "; so are the controls, whose rows are the means over the categories"
        notes.append(
            "Each filter is measured on the objects of its own category, the one that it is most "
            f"active on{controls if data.has_parts else ''}."
        )
    notes.append(
        "Dead filters fire on no image of their category; the peaks of collapsed ones hardly vary "
        "over images. Mutual information (Eq. 1) is that of the scale-free maps of "
        f"{_information_images(networks)} images of a filter's category, mean over filters."
    )
    return [*notes, *_related_note(networks), *_paper_notes(results)]


def _location_notes(images: str) -> list[str]:
    """What location instability and tracking ratio are, measured on `images`."""
    return [
        "Location instability: spread of the distance between a filter's peak and a landmark, in "
        "image diagonals, over the images with the highest peaks per filter and landmark ('images "
        "each' is their mean number), "
        f"out of {images}. Filters with fewer than two images are left out. A unit that ignores "
        "the image can score well on it: hence the two controls, from the landmarks alone.",
        "Tracking ratio: spread of peak minus landmark over the spread of the landmark, same "
        "images, best landmark of each filter, mean over filters. Any constant position has 1; "
        "below 1 the filter follows the part.",
    ]


def _behaviour_notes(
    networks: Sequence[NetworkResult], layers: Sequence[str], images: str
) -> list[str]:
    """What the figures of filters without parts are, measured on `images`."""
    return [
        f"Filters are measured on {images}. A filter fires on an image "
        "that has one of its highest 0.5 % of activations. Spread of the peaks: how far a filter's "
        "peak roams over the images with the highest ones, in image diagonals; random positions "
        "have 0.29. Filters that look at the same place: the share of the images on which two "
        f"filters have their peaks less than {_radii(networks, layers)} apart, mean over pairs.",
    ]


def _reading_note(networks: Sequence[NetworkResult]) -> list[str]:
    """Which images the two readings of part interpretability count; older results have one."""
    layers = [layer for network in networks for layer in network.layers.values()]
    if any(layer.part_interpretability_fired is None for layer in layers):
        return []
    return [
        "The paper does not say over which images the share is taken. Its figures are of the size "
        "of those over the images on which the filter fires, that is, has an activation among its "
        "highest 0.5 %; this rewards a filter that fires on few images, hence their share and the "
        "stricter figure over all images with the part. Units that ignore the image, with a region "
        "of one disc, score the two controls."
    ]


def _related_note(networks: Sequence[NetworkResult]) -> list[str]:
    """What the measures of related work are, where they were taken."""
    layers = [layer for network in networks for layer in network.layers.values()]
    found = [layer.related for layer in layers if layer.related is not None]
    if not found:
        return []
    purity, patterns = found[0].purity, found[0].patterns
    note = (
        "Measures of related work. Purity (PIP-Net): share of the patches of"
        f" {decimal(purity.patch)} pixels around a filter's {purity.top} highest peaks that"
        " contain its purest landmark. Information on the category (CSG): mutual information of the"
        " mean of a map and the category that it tells most about, over all test images."
    )
    if patterns is not None:
        note += (
            " Inconsistency and diversity (readings of icCNN): entropy of the part that a filter's"
            " valid activations lie in, mean over filters, and that of all filters together; both"
            f" lie between 0 and {number(math.log(patterns.regions))}."
        )
    return [note]


def _information_images(networks: Sequence[NetworkResult]) -> str:
    """Numbers of images behind a mutual information; older results do not say them."""
    layers = [layer for network in networks for layer in network.layers.values()]
    most = max((of.mutual_information_images or 32 for of in layers), default=32)
    fewest = min((of.mutual_information_fewest or most for of in layers), default=most)
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def _radius_note(networks: Sequence[NetworkResult], layers: Sequence[str]) -> str:
    """The radius of the discs, per layer where the layers differ."""
    listed = _radii(networks, layers)
    return (
        f"A region is made of discs of radius {listed}; the paper does not give its radius, and "
        "the figure moves with it: those with half and twice the radius stand below it."
    )


def _radii(networks: Sequence[NetworkResult], layers: Sequence[str]) -> str:
    """The radius of the regions in words."""
    radii = {}
    for layer in layers:
        found = [network.layers[layer] for network in networks if layer in network.layers]
        radii[layer] = counts(found, attrgetter("part_interpretability.radius"), "pixels", decimal)
    listed = ", ".join(f"{radius} ({layer})" for layer, radius in radii.items())
    if len(set(radii.values())) == 1:
        listed = next(iter(radii.values()))
    return listed


def _empirical_note(measured: EmpiricalRadius, layer: str) -> str:
    found = ", ".join(
        f"{one.mean:.1f} ± {one.spread:.1f} ({name}, {one.filters} filters)"
        for name, one in measured.networks.items()
    )
    images = f"{measured.images} image{'s' * (measured.images > 1)}"
    return (
        f"The radius is that of empirical receptive fields of the {layer.replace('_', ' ')}, "
        f"{found}, measured by occluding {images}; their mean serves all networks."
    )


def _paper_notes(results: Results) -> list[str]:
    experiment = results.experiment
    figures = [paper_number_of(results, m) for m in ("accuracy", "location_instability")]
    scopes = list(dict.fromkeys(figure.scope for figure in figures if figure is not None))
    if not scopes:
        return ["The paper has no figures for this network and data set."]
    category = experiment.category
    means = [scope for scope in scopes if scope.startswith("mean of")]
    whole = [scope for scope in scopes if scope.startswith("all ")]
    notes = []
    if means:
        marked = " and ".join(means)
        notes.append(
            f"The paper's figures (ordinary → interpretable) marked '{marked}' are means over that "
            f"many categories; ours are those of {category}."
        )
    if whole and category not in ("all", "bird"):
        notes.append(
            f"The paper's figures marked '{' and '.join(whole)}' are those of the whole data set; "
            f"ours are those of {category}."
        )
    notes.append(
        "The paper gives one figure per network, which stands beside every layer here. The "
        "authors' code measures the output of the new conv before ReLU and mask, we measure each "
        "layer after ReLU and before its mask; on ILSVRC and VOC it takes all annotated images."
    )
    return notes
