"""The report, opened and clicked in a browser: no errors, nothing loaded, all panels there, a click that filters, both themes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.capture import writers
from tests.cli.run import CAPTURE, TOPOLOGY, good
from tests.replay.test_report import lab
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Mix, write_capture
from vsw.replay import report
from vsw.replay.source import Source
from vsw.switch.switch import Switch

pytestmark = pytest.mark.e2e
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1400,1900",
)  # fmt: skip
PANELS = ("traffic", "topology", "balance", "drops", "talkers")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("plotly", reason="needs the extra report: plotly")
    pytest.importorskip("selenium", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs a browser (Debian: chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    yield running
    running.quit()


def opened(browser: Any, path: Path, theme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
    browser.get_log("performance")
    browser.get(path.as_uri())
    assert browser.execute_script("return document.body.dataset.ready") == "yes"


def requests(browser: Any) -> set[str]:
    """Addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_example(browser: Any, tmp_path: Path, theme: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    page = tmp_path / "report.html"
    good("replay", TOPOLOGY, CAPTURE, "--report", page)
    opened(browser, page, theme)
    run = browser.execute_script
    assert run("return document.documentElement.dataset.theme") == theme
    for panel in PANELS:
        assert run(f"return document.querySelectorAll('#{panel} .trace').length") > 0, panel
    assert run("return document.querySelectorAll('#addresses tbody tr').length") == 5
    nodes = browser.find_elements(By.CSS_SELECTOR, "#topology .points path")
    assert len(nodes) == 7
    # A click on a port filters all panels; one on the chip ends that.
    ActionChains(browser).move_to_element(nodes[3]).click().perform()
    assert run("return document.body.dataset.port") == "web2.0"
    assert run("return document.querySelectorAll('#traffic .trace').length") == 1
    assert [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#addresses tbody tr")] == ["10 00:50:56:00:10:02 web2.0 static"]
    browser.find_element(By.ID, "chip").click()
    assert run("return document.querySelectorAll('#addresses tbody tr').length") == 5
    browser.find_element(By.CSS_SELECTOR, "button[data-way=sent]").click()
    assert run("return document.getElementById('traffic-note').textContent") == "What left by each port."
    before = run("return getComputedStyle(document.body).backgroundColor")
    browser.find_element(By.ID, "theme").click()
    assert run("return getComputedStyle(document.body).backgroundColor") != before
    assert run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.get_log("browser") == []
    assert requests(browser) == {page.as_uri()}


def test_hostile_names_stay_text(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    good("replay", lab(tmp_path / "lab.toml"), CAPTURE, "--ingress", "up", "--report", page)
    opened(browser, page, "light")
    run = browser.execute_script
    assert run("return document.body.dataset.pwned") is None
    assert run("return document.querySelectorAll('img, svg a, svg b, iframe').length") == 0
    assert "<img src=x onerror=alert(1)>" in run("return document.getElementById('ports').textContent")
    # Where there is no room for a name its middle is left out, and what remains is text all the same.
    assert "<img s…rt(1)>" in run("return document.getElementById('topology').textContent")
    assert browser.get_log("browser") == []
    assert requests(browser) == {page.as_uri()}


def test_what_there_is_nothing_of_is_said(browser: Any, tmp_path: Path) -> None:
    page, capture = tmp_path / "report.html", tmp_path / "t.pcap"
    capture.write_bytes(writers.pcap([(number, b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 9]) + b"\x08\x06" + bytes(46), None) for number in (0, 9)]))
    good("replay", TOPOLOGY, capture, "--ingress", "vmnic0", "--report", page)
    opened(browser, page, "dark")
    run = browser.execute_script
    assert "Nothing left by an uplink." in run("return document.getElementById('balance').textContent")
    assert "seconds after the first frame" in run("return document.getElementById('traffic').textContent")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("size", [(390, 844), (1400, 1900)])
def test_long_names_stay_in_their_panels(browser: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    page, long = tmp_path / "report.html", "a-machine-of-customer-seventeen-in-the-second-rack"
    text = TOPOLOGY.read_text()
    for name in ("web1", "web2", "db1", "db2", "router"):
        text = text.replace(f"[vms.{name}]", f"[vms.{long}-{name}]")
    (tmp_path / "lab.toml").write_text(text)
    good("replay", tmp_path / "lab.toml", CAPTURE, "--ingress", "source-mac", "--report", page)
    window = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    opened(browser, page, "dark")
    run = browser.execute_script
    assert run("return document.documentElement.scrollWidth <= window.innerWidth")
    outside = """return [...document.querySelectorAll('.plot text')].filter((text) => {
        const a = text.getBoundingClientRect(), b = text.closest('.plot').getBoundingClientRect();
        return a.width && (a.left < b.left || a.right > b.right || a.top < b.top || a.bottom > b.bottom);
    }).map((text) => text.textContent)"""
    assert run(outside) == []
    # Names that begin alike are told apart by their ends, and are there in full in the tables.
    shown = run("return [...document.querySelectorAll('#topology .annotation-text')].map((text) => text.textContent)")
    assert len(set(shown)) == len(shown) == 8
    assert f"{long}-router.0" in run("return document.getElementById('ports').textContent")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.get_log("browser") == []


def test_no_frame_at_all(browser: Any, tmp_path: Path) -> None:
    page, capture = tmp_path / "report.html", tmp_path / "t.pcap"
    capture.write_bytes(writers.pcap([]))
    good("replay", TOPOLOGY, capture, "--report", page)
    opened(browser, page, "light")
    run = browser.execute_script
    for panel, said in {"traffic": "The capture has no frames.", "drops": "Nothing was dropped.", "talkers": "Nobody sent anything."}.items():
        assert run(f"return document.getElementById('{panel}').textContent") == said
    assert "no frames" in run("return document.querySelector('h1 small').textContent")
    assert browser.get_log("browser") == []


def test_many_ports(browser: Any, tmp_path: Path) -> None:
    module = bench_module(1000)
    traffic = write_capture(module, tmp_path / "t.pcap", Mix(20_000, "imix"))
    switch = Switch(module)
    with Source([tmp_path / "t.pcap"]) as source:
        result = switch.forward(source.frames, ingress=traffic.port_in, copies=True)
        report.write(str(tmp_path / "report.html"), switch, result, source, "many")
    opened(browser, tmp_path / "report.html", "light")
    run = browser.execute_script
    # Few enough to be told apart; all frames are in them.
    names = run("return document.getElementById('traffic').data.map((one) => one.name)")
    assert len(names) == 12
    assert names[:2] == ["vmnic0", "vmnic1"]
    assert names[-1] == f"{len(module.ports) - 11:,} others"
    run("document.querySelector('button[data-unit=frames]').click()")
    known = int((result.port_in != 0xFFFF).sum())
    assert round(run("return document.getElementById('traffic').data.reduce((a, one) => a + one.y.reduce((b, c) => b + c, 0), 0) * seconds")) == known
    assert "ms" in run("return document.querySelector('h1 small').textContent")
    assert browser.get_log("browser") == []
