"""A site of README and the pages in tvt/docs, by mkdocs: what it is built from is written into a temporary folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "tvt" / "docs"
FIRST = ("coming-from", "concepts", "studies", "selecting", "trust", "data", "models", "clusters", "python", "troubleshooting")
"""Pages in the order in which they are wanted; the others stand behind them, the changelog last."""
STRICT = {"links": dict.fromkeys(("not_found", "anchors", "absolute_links", "unrecognized_links"), "warn")}
"""Each of these is a warning, and warnings end a strict build."""
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
_LIST = re.compile(r"^(?:[-*]|\d+\.) ")


def write_source(folder: Path) -> None:
    """Write what mkdocs builds from: mkdocs.yml, and the pages as docs/*.md, README as docs/index.md.

    Args:
        folder: an empty folder.
    """
    docs = folder / "docs"
    shutil.copytree(PAGES, docs)
    for path in docs.glob("*.md"):
        path.write_text(_separated(path.read_text(encoding="utf-8")), encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (docs / "index.md").write_text(_separated(_LINK.sub(_beside, readme)), encoding="utf-8")
    shutil.copy(ROOT / "CONTRIBUTING.md", docs / "CONTRIBUTING.md")
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(_settings(docs), sort_keys=False), encoding="utf-8")


def _settings(docs: Path) -> dict[str, object]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {path.stem for path in PAGES.glob("*.md")}
    order = [*FIRST, *sorted(names - {*FIRST, "CHANGELOG"}), "CONTRIBUTING", "CHANGELOG"]
    return {
        "site_name": project["name"],
        "site_description": project["description"],
        "docs_dir": str(docs),
        "theme": {"name": "mkdocs"},
        "nav": ["index.md", *(f"{name}.md" for name in order)],
        "validation": STRICT,
        "markdown_extensions": ["tables", "fenced_code", {"toc": {"permalink": True}}],
    }


def _beside(link: re.Match[str]) -> str:
    """A link of README, which lies beside the pages in the site."""
    return f"{link.group(1)}{link.group(2).removeprefix('tvt/docs/')}{link.group(3)}"


def _separated(text: str) -> str:
    """Markdown as mkdocs reads it, which wants an empty line between a paragraph and a list or a table."""
    lines: list[str] = []
    in_code = False
    for line in text.splitlines():
        last = lines[-1] if lines else ""
        if not in_code and last.strip() and not last.startswith(" ") and _starts(line) and not _starts(last):
            lines.append("")
        in_code ^= line.startswith("```")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _starts(line: str) -> bool:
    """Whether a line is of a list or a table."""
    return bool(_LIST.match(line)) or line.startswith("|")


def main(arguments: list[str]) -> int:
    """Build the site.

    Args:
        arguments: the folder to write, ``build/docs`` by default; what it holds is replaced.

    Returns:
        The exit code: mkdocs' own; 2 where the folder holds something else than a site, 5 where mkdocs is not installed.
    """
    if find_spec("mkdocs") is None:
        print("build-docs: mkdocs is not installed; pip install '.[docs]'", file=sys.stderr)
        return 5
    output = Path(arguments[0] if arguments else ROOT / "build" / "docs").absolute()
    if not _replaceable(output):
        print(f"build-docs: {output}: not empty and no site of mkdocs; name another folder", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        write_source(Path(name))
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"]
        done = subprocess.run([*command, "-f", f"{name}/mkdocs.yml", "-d", str(output)], check=False)
    if done.returncode == 0:
        print(f"wrote {output / 'index.html'}")
    return done.returncode


def _replaceable(folder: Path) -> bool:
    """Whether nothing would be lost: the folder is absent, empty or a site that mkdocs built."""
    if not folder.exists():
        return True
    return folder.is_dir() and (not any(folder.iterdir()) or {"404.html", "sitemap.xml"} <= {p.name for p in folder.iterdir()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
