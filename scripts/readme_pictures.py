"""Make the pictures that README shows, from real runs of tvt on the bundled studies.

    python scripts/readme_pictures.py          # needs Chromium for the report's

Plots are those of ``tvt analyze --plots``; the report is photographed by a headless Chromium. All are scaled and reduced to a
palette, so that each stays below 300 kB.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PLACE = Path(__file__).parents[1] / "tvt" / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PLOTS = {"heatmap-qwen2.5-vl-7b": "heatmap-7b", "graph-qwen2.5-vl-32b": "graph-32b"}
"""Plot of ``tvt analyze`` -> picture."""
STUDIES = ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b")
WIDTH = 1100
"""Pixels of a picture."""
MOST = 300_000
"""Bytes of a picture."""


def tvt(*arguments: str) -> None:
    """Run a command of tvt."""
    subprocess.run([sys.executable, "-m", "tvt", *arguments], check=True, stdout=subprocess.DEVNULL)


def photograph(page: Path, picture: Path, browser: str) -> None:
    """A page as a browser shows it; drawing is over when the time given has passed."""
    window = ["--window-size=1400,1750", "--force-device-scale-factor=1", "--hide-scrollbars", "--virtual-time-budget=8000"]
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", *window, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True)


def shrink(picture: Path, name: str) -> None:
    """Put a picture in its place, small."""
    with Image.open(picture) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    place = PLACE / f"{name}.png"
    small.quantize(128, dither=Image.Dither.NONE).save(place, optimize=True)
    size = place.stat().st_size
    if size > MOST:
        sys.exit(f"{place}: {size} bytes, more than {MOST}; make it smaller")
    print(f"{place.relative_to(PLACE.parents[2])}: {size} bytes")


def main() -> None:
    """Make them all."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser; install one of {', '.join(BROWSERS)}")
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tvt("analyze", *STUDIES, "--plots", str(folder))
        for plot, picture in PLOTS.items():
            shrink(folder / f"{plot}.png", picture)
        tvt("report", *STUDIES, "-o", str(folder / "report.html"))
        photograph(folder / "report.html", folder / "report.png", browser)
        shrink(folder / "report.png", "report")


if __name__ == "__main__":
    main()
