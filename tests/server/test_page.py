"""The page as a user sees it, in headless Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import imagier
from made import bundle_of, net_of, pictures
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright
from test_serve import serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, streets_root: Path) -> Iterator[Page]:
    """The page of a server with a network for each task and a data set; a request to any other host is a failure."""
    folder = tmp_path_factory.mktemp("house")
    data = ["data=cityscapes", f"data.root={streets_root}", "data.label_set=category", "data.size=[32,64]"]
    imagier("task=segment", "model.width=8", *data, "trainer=cpu", "trainer.max_epochs=1", "test=false", cwd=folder)
    nets = ["runs/latest"]
    for task, model, words, size in (("classify", "cnn", (), (28, 28)), ("denoise", "dncnn", ("model.depth=4",), None)):
        nets.append(bundle_of(*net_of(task, model, words, size), folder / task).folder.name)
    nets.append(bundle_of(*net_of("compress", "factorized"), folder / "compress", formats=[]).folder.name)
    with serving(f"ckpt={','.join(nets)}", *data, cwd=folder) as (base, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 950})
        asked = set[str]()
        page.on("request", lambda request: asked.add(request.url))
        page.goto(base)
        expect(page.get_by_text("Send an image")).to_be_visible(timeout=20_000)
        yield page
        browser.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(base).netloc}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with odd height and width."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pictures(1, (61, 83))[0].transpose(1, 2, 0)).save(path)
    return path


def tab(page: Page, name: str) -> Locator:
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel").filter(visible=True).first


def send(page: Page, panel: Locator, path: Path, button: str) -> None:
    with page.expect_file_chooser() as chooser:
        panel.get_by_text("Click to Upload").filter(visible=True).first.click()
    chooser.value.set_files(path)
    expect(panel.get_by_label("Remove Image").filter(visible=True).first).to_be_visible()
    panel.get_by_role("button", name=button, exact=True).click()


def seen(page: Page, name: str) -> None:
    """Save a screenshot if the environment variable IMAGIER_SCREENSHOTS names a folder."""
    if folder := os.environ.get("IMAGIER_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_a_picture_is_segmented(page: Page, photo: Path) -> None:
    panel = tab(page, "Segment")
    send(page, panel, photo, "Segment")
    expect(panel.get_by_role("gridcell", name="%").first).to_be_visible()
    expect(panel.get_by_text("Ground truth")).to_be_hidden()
    seen(page, "segment")


def test_a_picture_of_the_data_set_stands_beside_its_truth(page: Page) -> None:
    panel = tab(page, "Segment")
    panel.get_by_role("tab", name="By id").click()
    panel.get_by_label("Images of the test split of cityscapes").click()
    page.get_by_role("option").nth(1).click()
    expect(panel.get_by_text("Ground truth")).to_be_visible()
    expect(panel.get_by_role("gridcell", name="mean")).to_be_visible()
    seen(page, "segment_by_id")


def test_a_picture_is_classified(page: Page, photo: Path) -> None:
    panel = tab(page, "Classify")
    send(page, panel, photo, "Classify")
    expect(panel.get_by_text("sidewalk").first).to_be_visible()
    seen(page, "classify")


def test_a_drawing_is_classified(page: Page) -> None:
    page.reload()  # clear earlier results
    panel = tab(page, "Classify")
    panel.get_by_role("tab", name="Draw").click()
    box = panel.locator("canvas").filter(visible=True).first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 60, steps=10)
    page.mouse.up()
    panel.get_by_role("button", name="Classify the drawing").click()
    expect(panel.get_by_text("sidewalk").first).to_be_visible()
    seen(page, "draw")


def test_noise_is_added_and_taken_away(page: Page, photo: Path) -> None:
    panel = tab(page, "Denoise")
    send(page, panel, photo, "Denoise")
    expect(panel.get_by_text("noisy")).to_be_visible()
    seen(page, "denoise")


def test_a_picture_is_compressed_beside_its_rivals(page: Page, photo: Path) -> None:
    panel = tab(page, "Compress")
    send(page, panel, photo, "Compress")
    for name in ("factorized-leaves", "JPEG, quality", "WebP, quality"):
        expect(panel.get_by_role("gridcell", name=name)).to_be_visible()
    with page.expect_download() as kept:
        panel.get_by_text("Download the file").click()
    assert kept.value.suggested_filename == "photo.imgr"
    assert Path(kept.value.path()).read_bytes().startswith(b"imgr")
    seen(page, "compress")


def test_what_is_no_picture_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    panel = tab(page, "Denoise")
    panel.get_by_label("Remove Image").filter(visible=True).first.click()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    send(page, panel, tmp_path / "broken.png", "Denoise")
    expect(page.get_by_text("is not an image").first).to_be_visible()
    seen(page, "broken")


def test_the_data_set_and_the_training(page: Page) -> None:
    panel = tab(page, "Data")
    expect(panel.get_by_text("cityscapes, test split: 6 images, RGB, 32 x 64, 7 classes")).to_be_visible()
    expect(panel.get_by_role("img").first).to_be_visible()
    seen(page, "data")
    panel = tab(page, "Training runs")
    panel.get_by_text("unet-cityscapes").first.click()
    expect(panel.get_by_text("Confusion matrix")).to_be_visible()
    seen(page, "training")
