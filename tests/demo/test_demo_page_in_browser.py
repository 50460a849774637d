"""The page in a real browser: a click gives predictions, and no request leaves the machine."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the extra [demo] is not installed")
pytest.importorskip("selenium", reason="the extra [browser] is not installed")

from recording_proxy import recording_proxy
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from medm_plm.demo.entries import MAX_NOTE_CHARACTERS
from medm_plm.demo.requests import MAX_REQUEST_BYTES
from scripts.screenshot_demo import (
    browser_programs,
    click,
    fill_example,
    headless_chromium,
    note_of,
    served_page,
    wait_for,
)
from tiny_predictors import save_predictor

TASKS = ("icd_coding", "readmission", "medication_recommendation")
SENTINEL = "zyxwvsentinel"
HOSTILE = (
    "<img src=x onerror=\"document.title='run'\">",
    "${document.title='run'}",
    "{{value}} {{{value}}}",
)
# Debian's chromium asks for its search engine at every start, whatever page is open.
SEARCH_ENGINE = "CONNECT start.duckduckgo.com:443 HTTP/1.1"
LOCAL = ("http://127.0.0.1:", "http://localhost:", "ws://127.0.0.1:", "data:", "blob:", "about:", "chrome:")

pytestmark = pytest.mark.skipif(
    browser_programs() is None, reason="no browser: install Debian's chromium and chromium-driver"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for task in TASKS:
        save_predictor(task, folder / "models" / task)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    app = Path(__file__).with_name("guarded_app.py")
    (folder / "outside").touch()
    words = [str(folder / "outside"), "--port", "0", "--models", str(folder / "models")]
    with served_page([sys.executable, str(app), *words], folder / "log") as found:
        yield found


@pytest.fixture(scope="module")
def proxy():
    with recording_proxy() as running:
        yield running


@pytest.fixture(scope="module")
def browser(proxy):
    with headless_chromium(proxy=proxy.address) as running:
        running.asked = []
        yield running


@pytest.fixture
def page(browser, address):
    browser.get(address)
    wait_for(browser, lambda b: b.find_element(By.ID, "predict").is_displayed())
    return browser


def requested(browser):
    """Every address that pages have asked for since the browser began."""
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            browser.asked.append(event["params"]["request"]["url"])
        elif event["method"] == "Network.webSocketCreated":
            browser.asked.append(event["params"]["url"])
    return browser.asked


def type_note(browser, note):
    """Paste a note, as the clipboard would."""
    area = browser.find_element(By.CSS_SELECTOR, "#note textarea")
    browser.execute_script(
        "const area = arguments[0];"
        "area.value = arguments[1];"
        "area.dispatchEvent(new Event('input', {bubbles: true}))",
        area,
        note,
    )


def pick(browser, name, words):
    """Type a part of a code or of a title, and take the first that is offered."""
    field = browser.find_element(By.CSS_SELECTOR, f"#{name} input")
    field.click()
    field.send_keys(words)
    wait_for(browser, lambda b: b.find_elements(By.CSS_SELECTOR, f"#{name} [role=option]"))
    field.send_keys(Keys.ENTER)
    token = wait_for(browser, lambda b: b.find_element(By.CSS_SELECTOR, f"#{name} .token").text)
    field.send_keys(Keys.ESCAPE, Keys.TAB)  # the list would cover the next field
    return token


def cards(browser):
    """Wait for the answers; by task."""
    found = wait_for(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#answer .answer"))
    return {card.get_attribute("data-task"): card for card in found}


def test_an_example_is_predicted_by_clicking(page):
    fill_example(page)
    click(page, "predict")
    found = cards(page)
    assert tuple(found) == TASKS
    assert all("%" in card.text for card in found.values())
    assert all(card.find_elements(By.CSS_SELECTOR, ".note .w4") for card in found.values())
    assert "decision" in found["icd_coding"].text.lower()


def test_codes_are_found_by_code_and_by_title(page):
    assert "428.0" in pick(page, "diagnoses", "4280")
    assert "C03C" in pick(page, "medications", "diuretic")
    type_note(page, "heart and lung")
    click(page, "predict")
    assert "next visit" in cards(page)["medication_recommendation"].text


def test_clear_empties_the_page(page):
    fill_example(page)
    click(page, "clear")
    wait_for(page, lambda b: not note_of(b))
    assert not page.find_elements(By.CSS_SELECTOR, ".token")


@pytest.mark.parametrize("note", HOSTILE)
def test_a_note_is_shown_as_text_and_runs_nothing(page, note):
    type_note(page, note)
    click(page, "predict")
    shown = cards(page)["icd_coding"].find_element(By.CSS_SELECTOR, ".note").text
    assert shown
    assert note.startswith(shown)  # as much of it as the small model reads
    assert page.title == "MedM-PLM"
    assert not page.find_elements(By.CSS_SELECTOR, "#answer img")


def test_the_banner_says_what_the_page_is_not_for(page):
    assert "Research use only, not for care" in page.find_element(By.ID, "banner").text


def test_a_note_that_is_too_long_is_refused_in_one_sentence(page):
    type_note(page, f"{SENTINEL} " * (1 + MAX_NOTE_CHARACTERS // (1 + len(SENTINEL))))
    click(page, "predict")
    message = wait_for(page, lambda b: b.find_element(By.CSS_SELECTOR, "#answer .message")).text
    assert "too long" in message
    assert SENTINEL not in message


def post(address, name, body):
    """Call the server as a program would, past the page; returns status and answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address.rstrip('/')}{name}", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    "data",
    [[SENTINEL], [SENTINEL, [SENTINEL], [], []], [{"a": SENTINEL}, 1, 2, 3]],
    ids=["too few", "unknown code", "wrong types"],
)
def test_calls_past_the_page_quote_nothing(address, folder, data):
    for trigger in range(3):
        body = {"data": data, "fn_index": trigger, "session_hash": "s", "event_data": None}
        status, _ = post(address, "/gradio_api/queue/join", json.dumps(body))
        assert status < 500
        stream = f"{address.rstrip('/')}/gradio_api/queue/data?session_hash=s"
        with urllib.request.urlopen(stream, timeout=60) as answer:
            told = answer.read().decode()
        assert SENTINEL not in told
    assert SENTINEL not in (folder / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "body", [f'{{"data": "{SENTINEL}', f'["{SENTINEL}"]', f'{{"data": {{"x": "{SENTINEL}"}}}}']
)
def test_malformed_calls_are_not_logged(address, folder, body):
    post(address, "/gradio_api/queue/join", body)
    post(address, "/gradio_api/call/predict", body)
    assert SENTINEL not in (folder / "log").read_text(encoding="utf-8")


def test_a_request_that_no_page_would_make_is_refused_unread(address):
    status, _ = post(address, "/gradio_api/queue/join", " " * (MAX_REQUEST_BYTES + 1))
    assert status == 413


def test_no_run_is_kept_in_the_browser(address):
    with urllib.request.urlopen(f"{address.rstrip('/')}/config", timeout=60) as answer:
        config = json.load(answer)
    assert config.get("run_history", False) is False  # before it existed, nothing was kept
    assert config["analytics_enabled"] is False
    assert config["enable_queue"] is True


def test_the_server_listens_on_this_machine_alone(address):
    assert address.startswith("http://127.0.0.1:")


def test_nothing_left_the_machine_and_nothing_was_written_down(page, proxy, folder):
    """Runs last: it looks at all that the tests before it did."""
    asked = requested(page)
    assert any("/gradio_api/queue/join" in url for url in asked), "the log of requests is empty"
    assert [url for url in asked if not url.startswith(LOCAL)] == []
    assert set(proxy.asked) <= {SEARCH_ENGINE}
    assert (folder / "outside").read_text(encoding="utf-8") == ""
    assert SENTINEL not in (folder / "log").read_text(encoding="utf-8")
