"""`initlint site`: pages that hold together, say what the store says, and work in a browser from a plain folder."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import html5lib
import pytest

from initlint.site.fleet import slug
from tests.browser import opened
from tests.commandline import initlint
from tests.fleet.harness import ask, fill, model

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=alert(1)>\"&'</script>.onnx"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two runs, in which one model got worse, and the site over it."""
    folder = tmp_path_factory.mktemp("site")
    fill(folder / "m", good=3, bad=1)
    shutil.copy(folder / "m/bad0000.onnx", folder / "m/copy.onnx")
    (folder / "m" / HOSTILE.replace("/", "_")).write_bytes(model("warning"))
    (folder / "m/pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    for number in (1, 2):
        initlint("scan", "m", "-s", "s", "-j2", cwd=folder)
        (folder / "m/good0000.onnx").write_bytes(model("bad", number))
    result = initlint("site", "s", "-o", "site", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    return folder


def pages(site: Path) -> list[Path]:
    return sorted((site / "site").rglob("*.html"))


def test_pages_are_well_formed_and_links_lead_somewhere(site: Path) -> None:
    """Every page parses without an error, every link has its page, nothing is fetched from elsewhere."""
    assert len(pages(site)) > 40
    for path in pages(site):
        text = path.read_text("utf-8")
        parser = html5lib.HTMLParser(strict=False, namespaceHTMLElements=False)
        tree = parser.parse(text)
        assert not parser.errors, (path, parser.errors[:3])
        assert not [item for item in tree.iter() if item.get("onerror")]
        for element in tree.iter():
            for key in ("href", "src"):
                target = element.get(key)
                if target is None:
                    continue
                assert not urlsplit(target).scheme
                assert not urlsplit(target).netloc
                assert (path.parent / unquote(target)).resolve().is_file(), (path, target)


def test_overview_agrees_with_the_store(site: Path) -> None:
    """The tiles are the store's verdicts, what got worse is named, refused models say why."""
    text = (site / "site/index.html").read_text("utf-8")
    tiles = {verdict: int(amount) for verdict, amount in re.findall(r'<li class="(\w+)"><b>(\d+)</b>', text)}
    verdicts = Counter(verdict for (verdict,) in ask(site / "s", "SELECT verdict FROM latest"))
    assert tiles == {name: verdicts.get(name, 0) for name in ("refused", "error", "warning", "note", "ok")}
    assert "1 model worse" in text
    assert f'<a href="model/{slug("m/good0000.onnx")}.html">m/good0000.onnx</a>: <a href="rule/IL301.html">' in text
    assert "is a git-LFS pointer" in text
    assert len(re.findall(r'<rect class="v ', text.split("Over runs")[1].split("</figure>")[0])) == 8


def test_model_page(site: Path) -> None:
    """A model's page has its history, its signal now and before, and what was found; a duplicate leads to its equal."""
    text = (site / f"site/model/{slug('m/good0000.onnx')}.html").read_text("utf-8")
    runs = re.findall(r'<tr><td class="n" data-v="(\d)">.*?badge (\w+)', text)
    assert runs == [("2", "error"), ("1", "ok")]
    assert "signal in run 1" in text
    message = ask(site / "s", "SELECT message FROM finding WHERE run = 2 AND model = 'm/good0000.onnx' AND counts = 1")[
        0
    ][0]
    assert message.split("<")[0] in text
    copy = (site / f"site/model/{slug('m/copy.onnx')}.html").read_text("utf-8")
    other = ask(site / "s", "SELECT name, same_as FROM latest WHERE outcome = 'duplicate'")
    assert {("m/copy.onnx", "m/bad0000.onnx")} == set(other)
    assert f"{slug('m/bad0000.onnx')}.html" in copy


def test_search_index(site: Path) -> None:
    """Every model is in the index, with its page, and no text of it ends the script."""
    script = (site / "site/search.js").read_text("utf-8")
    assert "<" not in script
    entries = json.loads(script.removeprefix("window.models=").removesuffix(";\n"))
    assert {name for name, _, _ in entries} == {name for (name,) in ask(site / "s", "SELECT name FROM latest")}
    assert all((site / f"site/model/{page}.html").is_file() for _, page, _ in entries)


def test_a_folder_of_its_own(site: Path) -> None:
    """A site replaces a site and nothing else; a store without a finished run has none."""
    (site / "other").mkdir(exist_ok=True)
    (site / "other/mine.txt").write_text("keep")
    refused = initlint("site", "s", "-o", "other", cwd=site)
    assert refused.returncode == 2
    assert "holds something else" in refused.stderr
    assert [path.name for path in (site / "other").iterdir()] == ["mine.txt"]
    before = {path.relative_to(site): path.read_bytes() for path in pages(site)}
    assert initlint("site", "s", "-o", "site", "-q", cwd=site).returncode == 0
    assert {path.relative_to(site): path.read_bytes() for path in pages(site)} == before
    assert not list(site.glob(".site*"))
    first = initlint("site", "s", "-o", "first", "--run", "1", cwd=site)
    assert first.returncode == 0
    assert "Over runs" not in (site / "first/index.html").read_text("utf-8")
    for arguments, words in ((("s", "--run", "9"), "no finished run 9"), (("nowhere",), "there is no store")):
        result = initlint("site", *arguments, "-o", "none", cwd=site)
        assert result.returncode == 2
        assert words in result.stderr


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_in_a_browser(site: Path, tmp_path: Path) -> None:
    """Opened as a file, the scripts run under the page's own policy: tables sort, and a search finds models by words."""
    assert BROWSER is not None
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path}",
    ]
    address = (site / "site/index.html").as_uri() + "#search=img%20warning"
    result = subprocess.run(
        [BROWSER, *flags, "--enable-logging=stderr", "--dump-dom", address],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Content Security Policy" not in result.stderr
    hits = re.search(r'<ul id="hits">(.*?)</ul>', result.stdout)
    assert hits is not None, result.stderr[-500:]
    assert re.findall(r'href="model/(\w+)\.html"', hits[1]) == [slug("m/" + HOSTILE.replace("/", "_"))]
    assert "1 found" in hits[1]
    assert "<img" not in result.stdout
    assert '<button type="button">' in result.stdout


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1200, False), (1200, True)])
def test_looked_at(site: Path, tmp_path: Path, width: int, *, dark: bool) -> None:
    """On a phone and a desk, by day and by night: nothing sticks out, no word lies on a bar or in its own colour."""
    named = next(iter((site / "site/rule").glob("IL301.html")))
    with opened(tmp_path) as browser:
        for path in (
            site / "site/index.html",
            site / "site/models.html",
            site / f"site/model/{slug('m/good0000.onnx')}.html",
            named,
        ):
            browser.open(path, width=width, dark=dark)
            assert browser.value("document.documentElement.scrollWidth") <= width, path
            charts = browser.value(
                """[...document.querySelectorAll('.trend')].map((chart) => {
                    const below = chart.parentElement.querySelector('.ends').getBoundingClientRect();
                    return [chart.querySelector('svg').getBoundingClientRect().bottom, below.top,
                            getComputedStyle(chart.querySelector('.scale')).color, getComputedStyle(document.body).backgroundColor];
                })"""
            )
            for bottom, below, ink, paper in charts:
                assert bottom <= below
                assert abs(brightness(ink) - brightness(paper)) > 80
            if path.name in {"index.html", "IL301.html"}:
                assert charts
            assert browser.value(
                "[...document.querySelectorAll('svg text')].every((t) => getComputedStyle(t).fill !== 'rgb(0, 0, 0)')"
            )
            assert browser.complaints() == []


def brightness(colour: str) -> float:
    """Of rgb(r, g, b): the mean."""
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3
