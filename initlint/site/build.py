"""All pages into a folder: built beside it, and moved there when whole."""

import shutil
import tempfile
from collections.abc import Callable
from math import ceil
from pathlib import Path

import msgspec

from initlint.errors import Reason, Refusal
from initlint.formats import html_chart
from initlint.site.fleet import Fleet, slug
from initlint.site.models import PER_PAGE, list_name, model, model_list
from initlint.site.overview import overview, rule_list
from initlint.site.rules import rule
from initlint.text import safe

__all__ = ["build"]

MARK = ".initlint-site"  # says that a folder is a site and may be replaced by a newer one
LETTER = {"refused": "r", "error": "e", "warning": "w", "note": "n", "ok": "o"}


def build(fleet: Fleet, folder: Path, told: Callable[[int], None] = lambda _: None) -> int:
    """Write the site of a fleet; the number of its pages. Raises Refusal where the folder holds anything else."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).exists())):
        raise Refusal(Reason.OUTPUT, f"{safe(str(folder))}: holds something else; a site needs a folder of its own")
    if not folder.absolute().parent.is_dir():
        raise Refusal(Reason.OUTPUT, f"{safe(str(folder))}: no folder {safe(str(folder.absolute().parent))}")
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", dir=folder.absolute().parent))
        try:
            fresh.chmod(0o755)
            pages = _write(fleet, fresh, told)
            if folder.exists():
                old = fresh.with_name(fresh.name + ".old")
                folder.rename(old)
                fresh.rename(folder)
                shutil.rmtree(old)
            else:
                fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    except OSError as error:
        raise Refusal(Reason.OUTPUT, f"{safe(str(folder))}: {error.strerror}") from None
    return pages


def _write(fleet: Fleet, folder: Path, told: Callable[[int], None]) -> int:
    (folder / MARK).write_text("")
    for name in ("model", "rule"):
        (folder / name).mkdir()
    here, formats = Path(__file__).parent, Path(html_chart.__file__).parent
    style = (formats / "page.css").read_text("utf-8") + (here / "site.css").read_text("utf-8")
    (folder / "style.css").write_text(style, "utf-8")
    (folder / "site.js").write_text(
        (formats / "page.js").read_text("utf-8") + (here / "site.js").read_text("utf-8"), "utf-8"
    )
    (folder / "index.html").write_text(overview(fleet), "utf-8")
    (folder / "rules.html").write_text(rule_list(fleet), "utf-8")
    total, pages, names = fleet.summary.seen, 2, []
    for index in range(max(1, ceil(total / PER_PAGE))):
        (folder / list_name(index)).write_text(model_list(fleet, index, total), "utf-8")
        pages += 1
        for row in fleet.models(index * PER_PAGE, PER_PAGE):
            (folder / "model" / f"{slug(row['name'])}.html").write_text(model(fleet, row), "utf-8")
            names.append((row["name"], slug(row["name"]), LETTER[row["verdict"]]))
            pages += 1
            told(pages)
    for row in fleet.rules():
        (folder / "rule" / f"{row['code']}.html").write_text(rule(fleet, row), "utf-8")
        pages += 1
    (folder / "search.js").write_bytes(
        b"window.models=" + msgspec.json.encode(names).replace(b"<", b"\\u003c") + b";\n"
    )
    return pages
