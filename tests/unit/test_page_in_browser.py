"""The page of a report in a real browser, cut off from the network: nothing fails, plots have a size, text is there.

Skipped where no Chromium is installed; CHROMIUM names another one.
"""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from archsim.report.page.page import POLICY
from reports import report_of

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
)  # fmt: skip
# What the browser says of itself in a container without a desktop names no console.
CONSOLE = re.compile(r"CONSOLE|Refused to|net::ERR", re.I)
RUNS = ("tables and a fit", "on a mesh", "a selection")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed (apt-get install chromium)")


def opened(path: Path, width: int) -> str:
    """The document as the browser has it, after a check that it complains of nothing."""
    home = path.parent / "browser"
    home.mkdir(exist_ok=True)
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={home}", f"--window-size={width},900", "--dump-dom", f"file://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = [line for line in done.stderr.splitlines() if CONSOLE.search(line)]
    assert not told
    return done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_it_opens_without_a_network_and_says_every_caveat(name, tmp_path):
    report = report_of(name)
    report.save(tmp_path / "page.html")
    shown = opened(tmp_path / "page.html", 1200)
    text = " ".join(unescape(re.sub(r"<[^>]*>", " ", shown)).split())
    assert report.caveats
    for caveat in report.caveats:
        assert caveat in text
    for path, why in report.assumed.items():
        assert path in text
        assert why in text


# Run in the page: sizes of plots, and whether anything is wider than the window but what scrolls by itself.
MEASURE = """<script>
const boxes = (named) => [...document.querySelectorAll(named)].map(e => e.getBoundingClientRect());
const sizes = boxes("figure svg").map(box => [box.width, box.height]);
const letters = boxes("figure svg text").map(box => box.height);
const wide = document.documentElement.scrollWidth - window.innerWidth;
document.body.dataset.measured = JSON.stringify({sizes, wide, least: Math.min(...letters)});
</script>"""


@pytest.mark.parametrize("width", [1200, 500])
@pytest.mark.parametrize("name", RUNS)
def test_plots_have_a_size_and_nothing_runs_out_of_the_window(name, width, tmp_path):
    page = report_of(name).page()
    assert POLICY in page
    copy = page.replace(POLICY, POLICY + "; script-src 'unsafe-inline'").replace("</body>", MEASURE + "</body>")
    (tmp_path / "copy.html").write_text(copy)
    shown = opened(tmp_path / "copy.html", width)
    (measured,) = re.findall(r'data-measured="([^"]*)"', shown)
    found = json.loads(unescape(measured))
    assert len(found["sizes"]) == page.count("<svg")
    assert all(size[0] >= 500 and size[1] >= 100 for size in found["sizes"])
    assert found["wide"] <= 0
    assert found["least"] >= 7


def test_a_script_in_a_page_would_be_heard_of(tmp_path):
    """The check of the console can fail: a page may run nothing and load nothing, and the browser says so."""
    page = report_of("tables and a fit").page()
    for number, bad in enumerate(("<script>1</script>", '<img src="https://example.org/a.png" alt="">')):
        path = tmp_path / f"{number}.html"
        path.write_text(page.replace("</body>", bad + "</body>"))
        with pytest.raises(AssertionError):
            opened(path, 1200)
