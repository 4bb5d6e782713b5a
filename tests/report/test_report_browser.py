"""The report in a real headless Chromium, opened from disk, on a phone and on a desk."""

import contextlib
import itertools
import shutil

import numpy as np
import pytest
from made_filters import NASTY, made_curves, made_network, made_results
from made_results import made_results as results_of_runs

from interp_cnn.report.page import Answer, ExplainedPrediction, write_report
from interp_cnn.reproduce.execute import Outcome
from interp_cnn.reproduce.plan import plan
from interp_cnn.reproduce.request import read_request
from interp_cnn.reproduce.write import write_tables

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

INSTALLED = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """Playwright's own Chromium, or else the system's."""
    own = next(filter(None, map(shutil.which, INSTALLED)), None)
    with playwright.sync_playwright() as driver:
        errors = []
        for path in [own, None] if own else [None]:
            try:
                started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            except playwright.Error as error:
                errors.append(str(error).splitlines()[0])
            else:
                yield started
                started.close()
                return
        pytest.skip(f"no Chromium can be started: {'; '.join(errors)}")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    answers = [
        Answer(
            network=network,
            sentence="cat, 61 % head",
            logit=1.5,
            probability=0.82,
            category="cat",
            right=True,
            picture=np.full((500, 700, 3), 128, np.uint8),
            side="what speaks for cat",
            shares={"head": 0.61, NASTY: 0.39},
            colours={"head": "#0072B2", NASTY: "#7F7F7F"},
            filters=[],
        )
        for network in ("ordinary", "interpretable")
    ]
    long = "a photo with a name that is " + "very" * 40 + " long"
    explained = ExplainedPrediction(caption=long, answers=answers)
    networks = [made_network("ordinary"), made_network(filters=40)]
    folder = tmp_path_factory.mktemp("report") / 'a <b> "folder" #1'
    return write_report(
        folder, made_results(), networks, made_curves(), config={"seed": 0}, explained=[explained]
    )


def failure_of(request):
    """What went wrong; a picture that is no longer wanted when its page is left is not wrong."""
    aborted = request.failure == "net::ERR_ABORTED"
    return [] if aborted else [f"{request.failure}: {request.url}"]


@pytest.fixture(params=[400, 1400])
def page(browser, report, request):
    """The open report of a run."""
    with opened(browser, report, request.param) as page:
        yield page


@contextlib.contextmanager
def opened(browser, path, width):
    """An open page; afterwards nothing was said on the console nor fetched from outside."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("requestfailed", lambda request: said.extend(failure_of(request)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert said == []
    root = path.parents[1].as_uri()
    assert asked and all(url.startswith((root, "data:")) for url in asked)


def shown(page):
    """Numbers of the filters that are shown, in their order."""
    cards = page.locator(".card:visible").evaluate_all("cards => cards.map(c => c.dataset)")
    return [int(card["unit"]) for card in cards]


def expected(values, *, descending=False):
    """All filters by their value, filter 0 (unknown in everything) last."""
    order = sorted(range(1, len(values)), key=lambda unit: values[unit], reverse=descending)
    return [*order, 0]


def assert_fits(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_sorting(page):
    layer = made_network(filters=40).layers[1]
    best = layer.shares.max(axis=1)
    assert shown(page) == expected(best, descending=True)
    assert page.inner_text("[role=status]") == "40 filters"
    page.select_option("[name=sort]", "instability")
    assert shown(page) == expected(layer.instability)
    reverse = page.get_by_role("button", name="Reverse order")
    reverse.click()
    assert reverse.get_attribute("aria-pressed") == "true"
    assert shown(page) == expected(layer.instability, descending=True)  # unknown still last
    reverse.click()
    page.select_option("[name=sort]", "tracking")
    assert shown(page) == expected(layer.tracking.min(axis=1))
    page.select_option("[name=sort]", "unit")
    assert shown(page) == list(range(40))
    page.select_option("[name=sort]", "part")
    parts = layer.shares.argmax(axis=1)
    *_, last, unknown = shown(page)
    assert (last, unknown) == (39, 0)  # hits no part; nothing is known
    groups = [parts[unit] for unit in shown(page)[:-2]]
    assert len([1 for a, b in itertools.pairwise(groups) if a != b]) == 2
    head = [unit for unit in shown(page)[:-2] if parts[unit] == 0]
    assert head == sorted(head, key=lambda unit: -best[unit])
    page.select_option("[name=sort]", "category")
    odd = [unit % 2 for unit in shown(page)]
    assert odd in (sorted(odd), sorted(odd, reverse=True))
    page.select_option("[name=layer]", "0")
    assert page.inner_text("[role=status]") == "7 filters"


def test_searching(page):
    layer = made_network(filters=40).layers[1]
    search = page.get_by_label("Search")
    search.fill("front LEGS")
    parts = layer.shares.argmax(axis=1)
    assert set(shown(page)) == {unit for unit in range(1, 39) if parts[unit] == 1}
    search.fill("12")
    assert shown(page) == [12] and page.inner_text("[role=status]") == "1 filter"
    search.fill("<script>")
    assert set(shown(page)) == set(range(0, 40, 2))
    search.fill("no such thing")
    assert shown(page) == [] and page.inner_text("[role=status]") == "0 filters"


def test_opening_a_filter_and_coming_back(page):
    assert_fits(page)
    page.get_by_label("Search").fill("cat")
    page.select_option("[name=sort]", "unit")
    page.locator(".card:visible a").nth(1).click()
    page.wait_for_url("**/interpretable-new_conv-003.html")
    assert page.inner_text("h1") == "Filter 3 of the new conv, interpretable"
    images = page.locator("img")
    assert images.count() == 4 + 3  # groups of photos; feature maps, masks and masked maps
    assert images.evaluate_all("images => images.every(i => i.complete && i.naturalWidth > 0)")
    assert_fits(page)
    page.get_by_role("link", name="Filter 4 →").click()
    assert page.inner_text("h1") == "Filter 4 of the new conv, interpretable"
    page.get_by_role("link", name="All filters").click()
    page.wait_for_function("document.querySelector('[type=search]').value === 'cat'")
    assert shown(page) == list(range(1, 40, 2))


def test_with_the_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_label("Search").focus()
    page.keyboard.type("12")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name ?? document.activeElement.href"))
    assert reached[:3] == ["layer", "sort", "direction"]
    outline = page.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/interpretable-new_conv-012.html")


def test_every_picture_comes_and_nothing_is_wider_than_the_page(page):
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    page.locator("main img:not(.card img)").evaluate_all(
        "images => Promise.all(images.map(i => { i.loading = 'eager'; return i.decode(); }))"
    )
    assert_fits(page)
    page.locator("#predictions").scroll_into_view_if_needed()
    assert page.get_by_role("heading", name="a photo with a name").is_visible()
    assert page.get_by_text("cat, 61 % head").first.is_visible()


def test_the_first_screen_shows_what_came_out(page):
    shown = "{ const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight; }"
    inside = page.locator(".lead, .pair img").evaluate_all(f"all => all.map(e => {shown})")
    assert all(inside[:3])  # the sentence and the first pair of filters
    table = page.locator("table.summary")
    assert not table.is_visible()
    page.get_by_role("link", name="Figures").click()
    page.get_by_text("All figures").click()
    assert table.is_visible()
    assert_fits(page)
    notes = page.locator(".numbers > *").evaluate_all("all => all.map(e => e.clientWidth)")
    assert all(width > 300 for width in notes)  # none is crushed by the table


def test_without_scripts_all_filters_are_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".card").count() == 2 * 7 + 2 * 40
    assert page.locator("form.controls").is_hidden()
    context.close()


@pytest.fixture(scope="module")
def overview(tmp_path_factory):
    """The page of the tables, of two finished runs and two that were left empty."""
    workdir = tmp_path_factory.mktemp("tables") / 'a <b> "folder" #1'
    request = read_request(tables=["4"], nets=["vgg16"], categories=["cat", "dog"], seeds=2)
    planned, outcomes = plan(request), {}
    for run in planned:
        results = results_of_runs(run.config)
        if run.experiment.category == "cat":
            report = workdir / "runs" / run.name / "report"
            write_report(report, made_results(), [made_network(filters=3)], {}, config={})
        else:
            results = None
        outcomes[run.experiment, run.seed] = Outcome(results, "" if results else f"no {NASTY}" * 20)
    return write_tables(request, planned, outcomes, workdir)[3]


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_of_the_tables(browser, overview, width):
    with opened(browser, overview, width) as page:
        assert_fits(page)
        table = page.get_by_role("region", name="Part: location instability")
        assert table.get_by_role("columnheader").all_inner_texts() == ["cat", "dog", "mean"]
        name = table.get_by_role("rowheader").first
        assert name.inner_text() == "VGG-16, ordinary, new conv"
        if width == 400:  # its own box scrolls, the names of the rows stay, the page does not move
            left = name.bounding_box()["x"]
            table.focus()
            table.evaluate("box => box.scrollLeft = 1e4")
            assert table.evaluate("box => box.scrollLeft") > 50
            assert name.bounding_box()["x"] == left
        page.get_by_role("link", name="a", exact=True).first.click()
        assert page.url.endswith("#mark-a")
        assert page.get_by_text("Keras' ImageNet weights").is_visible()
        page.get_by_role("link", name="pascal_voc_part-cat-single-vgg16-seed1").click()
        assert page.locator(".card").count() == 2 * 3
        page.get_by_role("link", name="Filter 2").first.click()
        assert page.inner_text("h1").startswith("Filter 2 of ")
