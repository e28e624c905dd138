"""The dashboard in a real browser: figures, charts, periods, and a new release while it is open."""

import os
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lake.paths import Lake
from tests.serve.browser import CHROMIUM, Page, open_page
from tests.serve.client import ask
from tests.serve.shop import TODAY, Tables, add, between, fail_job, make_tables, publish_gold, record_run
from tests.support.running import environ_of, server, succeed

# Without a browser these tests are left out on a developer's machine; in CI they run, and fail.
needs_chromium = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"), reason="no Chromium: `apt-get install chromium` gives one"
)


def format_money(value: Decimal) -> str:
    """Return money as the page formats it, with plain spaces instead of no-break spaces."""
    return f"₴ {value:,.2f}".replace(",", " ").replace(".", ",")


def revenue(tables: Tables, days: int) -> str:
    """Return the expected text of the revenue card for the days that end today."""
    return format_money(
        add(between(tables["revenue_daily"], TODAY - timedelta(days=days - 1), TODAY), "revenue")
    )


async def text(page: Page, selector: str) -> str:
    """Return an element's text with plain spaces."""
    inner = await page.run(f"document.querySelector({selector!r}).innerText")
    return re.sub(r"\s+", " ", inner)


async def colours(page: Page, chart: str) -> int:
    """Return the number of colours on a chart's canvas; a blank canvas has one."""
    return int(
        await page.run(
            f"(() => {{ const canvas = document.querySelector('#{chart} canvas');"
            " const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
            " return new Set(new Uint32Array(pixels.buffer)).size; })()"
        )
    )


@needs_chromium
async def test_page_shows_figures_and_follows(lake: Lake, tmp_path: Path) -> None:
    """A visitor opens the page, chooses periods, goes back, and sees a new release without a reload."""
    tables = make_tables()
    publish_gold(lake, tables)
    record_run(lake)
    with server(environ_of(lake)) as base:
        async with open_page(tmp_path / "profile") as page:
            await page.set_window(width=1400)
            await page.open(base + "/")
            assert revenue(tables, 30) in await text(page, "#card-revenue")
            assert "Sync complete" in await text(page, "#run")
            for chart in ("chart-revenue", "chart-products", "chart-sources"):
                assert await colours(page, chart) > 2, chart

            await page.run("document.querySelector('a[href=\"/?days=7\"]').click()")
            await page.until("document.querySelector('.choices [aria-current]').textContent === '7 days'")
            assert revenue(tables, 7) in await text(page, "#card-revenue")
            assert await page.run("location.search") == "?days=7"

            await page.run("history.back()")
            await page.until("document.querySelector('.choices [aria-current]').textContent === '30 days'")
            assert revenue(tables, 30) in await text(page, "#card-revenue")

            await page.run(
                "document.querySelector('[name=from]').value = '2026-03-10';"
                "document.querySelector('[name=to]').value = '2026-03-12';"
                "document.querySelector('form button').click()"
            )
            await page.until("location.search === '?from=2026-03-10&to=2026-03-12'")
            await page.until("document.querySelector('#period').innerText.includes('12.03.2026')")

            await page.run(
                "document.querySelector('[name=from]').value = '2026-03-14';"
                "document.querySelector('form button').click()"
            )
            await page.until("document.querySelector('#trouble').innerText.includes('is after')")
            assert page.complaints.pop().startswith("Failed to load")
            assert page.complaints.pop().endswith("/figures?from=2026-03-14&to=2026-03-12: 400")

            newer = make_tables(seed=5)
            await page.run("history.pushState(null, '', '/?days=90')")
            publish_gold(lake, newer)
            await page.until("document.querySelector('#release').textContent === '2'")
            await page.until("document.documentElement.dataset.drawn === '2'")
            assert revenue(newer, 90) in await text(page, "#card-revenue")
            assert page.complaints == []
            assert all(url.startswith((base, "data:")) for url in page.requested)


@needs_chromium
@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("dark", [False, True])
async def test_page_fits_and_can_be_read(lake: Lake, tmp_path: Path, width: int, dark: bool) -> None:
    """The page fits the window, each control has a name, and text contrasts with its background."""
    publish_gold(lake, make_tables())
    with server(environ_of(lake)) as base:
        async with open_page(tmp_path / "profile") as page:
            await page.set_window(width=width, dark=dark)
            await page.open(base + "/?days=365")
            assert await page.run("document.documentElement.scrollWidth") == width
            assert await page.run(
                "[...document.querySelectorAll('a, button')].every((item) => item.innerText.trim())"
                " && [...document.querySelectorAll('input')].every((item) => item.labels.length)"
            )
            assert await page.run(CONTRAST) >= 4.5
            assert page.complaints == []


@needs_chromium
async def test_page_reports_that_the_server_is_unreachable(lake: Lake, tmp_path: Path) -> None:
    """If the server stops, the figures stay, and a line reports that it can't be reached."""
    tables = make_tables()
    publish_gold(lake, tables)
    async with open_page(tmp_path / "profile") as page:
        with server(environ_of(lake)) as base:
            await page.open(base + "/")
        await page.until("!document.querySelector('#trouble').hidden")
        assert "can’t be reached" in await text(page, "#trouble")
        assert revenue(tables, 30) in await text(page, "#card-revenue")


@needs_chromium
async def test_a_failed_sync_is_reported_everywhere(lake: Lake, tmp_path: Path) -> None:
    """The open page, a newly opened one, the status, the metrics and the terminal report a failed sync."""
    publish_gold(lake, make_tables())
    why = "transform: no total falls by more than 20%: 90 rows fewer"
    async with open_page(tmp_path / "profile") as page:
        with server(environ_of(lake)) as base:
            await page.open(base + "/")
            assert await page.run("document.querySelector('#trouble').hidden")
            assert "keylake_failed_jobs 0.0" in ask(base, "/metrics").body.decode()
            fail_job(lake)
            await page.until("!document.querySelector('#trouble').hidden")
            assert why in await text(page, "#trouble")
            await page.run("document.querySelector('a[href=\"/?days=7\"]').click()")
            await page.until("document.querySelector('.choices [aria-current]').textContent === '7 days'")
            assert why in await text(page, "#trouble")
            opened = ask(base, "/").body.decode()
            assert why in opened
            status = ask(base, "/api/status").json
            [job] = status["failed_jobs"]
            assert (job["job"], job["exit_code"], job["detail"]) == ("sync", 3, why)
            assert why in status["problem"]
            assert "keylake_failed_jobs 1.0" in ask(base, "/metrics").body.decode()
            assert why in succeed(environ_of(lake), "lake", "status")
            publish_gold(lake, make_tables(seed=2))
            await page.until("document.querySelector('#trouble').hidden")


def test_page_is_complete_without_its_script(lake: Lake) -> None:
    """The HTML has the figures, tables and links to periods, and escapes names."""
    tables = make_tables()
    dearest = next(row for row in tables["product_daily"] if row["date"] == TODAY)
    dearest |= {"product_name": "</script><b>Крем & Ко", "revenue": Decimal("99999999.00")}
    publish_gold(lake, tables)
    with server(environ_of(lake)) as base:
        page = ask(base, "/?days=90").body.decode()
    plain = page.replace("\u00a0", " ")
    assert revenue(tables, 90) in plain
    assert 'href="/?days=365"' in page
    assert "<b>Крем" not in page
    assert "&lt;/script&gt;&lt;b&gt;Крем &amp; Ко" in page


# Lowest contrast of a text to its background, by WCAG's formula.
CONTRAST = """(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [.2126, .7152, .0722][place], 0);
  const ground = (item) => {
    for (; item; item = item.parentElement) {
      const colour = numbers(getComputedStyle(item).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter((item) =>
    [...item.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && item.offsetParent);
  return Math.min(...texts.map((item) => {
    const pair = [light(numbers(getComputedStyle(item).color)), light(ground(item))];
    return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
  }));
})()"""
