"""The HTML report in a real browser: phone and desktop, light and dark, with scripts and without."""

import itertools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from initlint.formats import render
from tests.browser import Browser, opened
from tests.reports import HOSTILE, a_model, deep, hostile, many, refused

WIDTHS = {"phone": 390, "desktop": 1280}
BLUE, ORANGE = (11, 92, 173), (121, 192, 255)  # of the predicted signal in light and in dark


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports as files; the one of two models has a narrow format, too."""
    folder = tmp_path_factory.mktemp("pages")
    one = deep()
    layers = [{**layer, "model": "b.onnx", "dtype": "float16"} for layer in one.layers]
    two = type(one)(
        models=(*one.models, a_model("b.onnx")), rules=one.rules, findings=one.findings,
        layers=(*one.layers, *layers), run=one.run,
    )  # fmt: skip
    reports = {"deep": one, "two": two, "refused": refused(), "many": many(60)}
    reports |= {f"hostile-{name}": hostile(text) for name, text in HOSTILE.items()}
    for name, report in reports.items():
        (folder / f"{name}.html").write_text(render(report, "html"))
    return {name: folder / f"{name}.html" for name in reports}


def pixels(picture: bytes) -> npt.NDArray[np.int64]:
    """A PNG as [height, width, 3]."""
    width, height = (int.from_bytes(picture[start : start + 4]) for start in (16, 20))
    depth = {2: 3, 6: 4}[picture[25]]
    data, place = b"", 8
    while place < len(picture):
        size = int.from_bytes(picture[place : place + 4])
        if picture[place + 4 : place + 8] == b"IDAT":
            data += picture[place + 8 : place + 8 + size]
        place += 12 + size
    raw = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * depth)
    rows = np.zeros((height + 1, width + 1, depth), np.int64)
    for index, line in enumerate(raw):
        kind, values = line[0], line[1:].reshape(width, depth).astype(np.int64)
        row, above = rows[index + 1], rows[index]
        if kind == 0:
            row[1:] = values
        elif kind == 1:
            row[1:] = np.cumsum(values, axis=0) % 256
        elif kind == 2:
            row[1:] = (values + above[1:]) % 256
        else:
            for column in range(width):
                left, up, corner = row[column], above[column + 1], above[column]
                guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
                row[column + 1] = (values[column] + guess) % 256
    return rows[1:, 1:, :3]


def _paeth(
    left: npt.NDArray[np.int64], up: npt.NDArray[np.int64], corner: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    distances = np.abs(np.stack([up - corner, left - corner, left + up - 2 * corner]))
    return np.choose(distances.argmin(axis=0), [left, up, corner])


def near(image: npt.NDArray[np.int64], color: tuple[int, int, int], within: int = 24) -> npt.NDArray[np.bool_]:
    return np.abs(image - np.array(color)).max(axis=2) <= within


@pytest.mark.parametrize(("width", "dark"), [*itertools.product(WIDTHS, (False, True))])
@pytest.mark.parametrize("page", ["deep", "two", "refused", "many"])
def test_fits_and_is_quiet(browser: Browser, pages: dict[str, Path], page: str, width: str, *, dark: bool) -> None:
    """Nothing sticks out sideways, nothing is fetched, nothing breaks the page's own policy."""
    browser.open(pages[page], width=WIDTHS[width], dark=dark)
    assert browser.value("document.documentElement.scrollWidth") <= WIDTHS[width]
    assert browser.requests() == [pages[page].resolve().as_uri()]
    assert browser.complaints() == []


@pytest.mark.parametrize("scripts", [True, False])
def test_reads_the_same_without_scripts(browser: Browser, pages: dict[str, Path], *, scripts: bool) -> None:
    """Verdict, chart, findings, histograms, rules and provenance are there and have a size."""
    browser.open(pages["deep"], width=1280, scripts=scripts)
    text = browser.value("document.body.innerText")
    for words in ("1 error, 1 note", "signal, predicted", "error IL202 signal-vanishes", "fc1..fc9 equally", "fc.19.weight",
                  "Rules", "initlint 0.1.0"):  # fmt: skip
        assert words in text
    for selector in (".verdict", ".lines", ".axis", "article.error", "table.layers", "svg.h", "footer"):
        box = browser.value(f"(r => [r.width, r.height])(document.querySelector('{selector}').getBoundingClientRect())")
        assert min(box) > 10, selector
    assert browser.value("document.querySelectorAll('svg.h').length") == 20
    assert browser.value("document.querySelectorAll('th button').length > 0") is scripts


def test_sorting(browser: Browser, pages: dict[str, Path]) -> None:
    """A click on a heading sorts by number, a second one the other way, a third column by name; empty cells stay last."""
    browser.open(pages["deep"], width=1280)

    def column(heading: str) -> list[str]:
        table = "document.querySelector('table.layers')"
        browser.value(f"[...{table}.querySelectorAll('button')].find(b => b.textContent === '{heading}').click()")
        place = f"[...{table}.tHead.rows[0].cells].findIndex(c => c.textContent === '{heading}')"
        return browser.value(f"[...{table}.tBodies[0].rows].map(r => r.cells[{place}].innerText.split('\\n')[0])")

    upward = [float(text) for text in column("signal std")]
    assert upward == sorted(upward)
    assert [float(text) for text in column("signal std")] == upward[::-1]
    assert column("layer") == [f"fc{index}" for index in range(1, 21)]


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(browser: Browser, pages: dict[str, Path], *, dark: bool) -> None:
    """Every kind of text stands out from what is behind it by the 4.5 : 1 that WCAG asks for."""
    browser.open(pages["refused"], width=1280, dark=dark)
    pairs = browser.value(
        """[...document.querySelectorAll('h1,h2,h3,h4,p,code,dt,dd,td,th,small,span,caption,summary,li')].map(e => {
          let b = e;
          while (b && getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
          return [getComputedStyle(e).color, b ? getComputedStyle(b).backgroundColor : 'rgb(255, 255, 255)', e.className];
        })"""
    )
    assert len(pairs) > 100
    for ink, paper, name in pairs:
        light, dim = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dim + 0.05) >= 4.5, (ink, paper, name)


def luminance(color: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(("width", "dark"), [*itertools.product(WIDTHS, (False, True))])
def test_picture_of_the_chart(browser: Browser, pages: dict[str, Path], width: str, *, dark: bool) -> None:
    """The predicted signal falls from the upper left to the lower right, in its colour, at every width."""
    browser.open(pages["deep"], width=WIDTHS[width], dark=dark)
    image = pixels(browser.picture(".lines"))
    rows, columns = np.nonzero(near(image, ORANGE if dark else BLUE))
    tall, wide = image.shape[:2]
    left, right = rows[columns < wide * 0.1], rows[columns > wide * 0.9]
    assert left.size > 10
    assert left.max() < 0.25 * tall
    assert right.min() > 0.75 * tall
    middle = rows[np.abs(columns - wide / 2) < wide * 0.05]
    assert abs(middle.mean() / tall - 0.5) < 0.1


def test_picture_of_the_marks(browser: Browser, pages: dict[str, Path]) -> None:
    """A red line stands at the layer where the signal ends; numbers are as large on a phone as on a desk."""
    sizes = set()
    for width in WIDTHS.values():
        browser.open(pages["deep"], width=width)
        image = pixels(browser.picture(".lines"))
        _, columns = np.nonzero(near(image, (179, 38, 30)))
        assert abs(columns.mean() / image.shape[1] - 8.5 / 20) < 0.01
        sizes.add(browser.value("document.querySelector('.axis text').getBoundingClientRect().height.toFixed(1)"))
    assert len(sizes) == 1


def test_picture_of_a_histogram(browser: Browser, pages: dict[str, Path]) -> None:
    """The middle two thirds of the bins are full, the outer ones empty."""
    browser.open(pages["deep"], width=1280)
    full = near(pixels(browser.picture("svg.h")), BLUE).mean(axis=0)
    assert full[: len(full) // 7].max() < 0.1
    assert full[-(len(full) // 7) :].max() < 0.1
    assert full[len(full) // 4 : -(len(full) // 4)].min() > 0.75


def test_bands_of_a_narrow_format(browser: Browser, pages: dict[str, Path]) -> None:
    """The chart of a float16 model shows where float16 ends, that of a float32 model does not."""
    browser.open(pages["two"], width=1280)
    counts = browser.value("[...document.querySelectorAll('.lines')].map(s => s.querySelectorAll('.band').length)")
    assert counts == [0, 1]
    assert browser.value("document.body.innerText.includes('outside float16')")
    assert browser.value("document.querySelectorAll('main a[href=\"#m2\"]').length") == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_do_nothing(browser: Browser, pages: dict[str, Path], name: str) -> None:
    """No dialogue opens, nothing is fetched, no element appears that is not ours."""
    page = pages[f"hostile-{name}"]
    browser.open(page, width=390)
    assert browser.requests() == [page.resolve().as_uri()]
    assert browser.complaints() == []
    assert not any(event.get("method") == "Page.javascriptDialogOpening" for event in browser.events)
    assert browser.value("document.querySelectorAll('img,iframe,object,a:not([href^=\"#m\"])').length") == 0
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_prints(browser: Browser, pages: dict[str, Path]) -> None:
    """On paper nothing is cut off by a scrolling box."""
    browser.open(pages["deep"], width=1280)
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    try:
        assert browser.value("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    finally:
        browser.call("Emulation.setEmulatedMedia", media="", features=[])
