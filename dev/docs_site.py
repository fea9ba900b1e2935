"""Hooks for mkdocs: pages from the root of the repository, links out of the documents, and ``llms.txt``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Beside docs/, because GitHub and PyPI look for them there.
PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")},
}
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")
# Sphinx roles in docstrings, which Markdown does not know.
ROLE = re.compile(r":(?:class|meth|func|mod|attr|exc):<code>~?(?:[\w.]+\.)?(\w+)</code>")


def urls() -> dict[str, str]:
    """Return the addresses of the project, which stand in ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project["urls"])


def on_config(config: Any) -> Any:
    """
    Say where the repository is.

    :param config: that of mkdocs.
    """
    config.repo_url, config.repo_name = urls()["Source"], "Source"
    return config


def on_files(files: Files, config: Any) -> Files:
    """
    Add the pages from the root, and to the menu what is not in it.

    :param files: the pages of ``docs/``.
    :param config: that of mkdocs.
    """
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    listed = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    more = sorted(page.src_uri for page in files.documentation_pages() if page.src_uri not in listed)
    if more:
        config.nav.append({"More": more})
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Files) -> str:
    """
    Let links lead to pages of the site, or else to the repository.

    :param text: of the page.
    :param page: the page.
    :param config: that of mkdocs.
    :param files: all pages.
    """
    folder = ROOT if page.file.src_uri in PAGES.values() else ROOT / "docs"

    def there(found: re.Match[str]) -> str:
        path, _, anchor = found[1].partition("#")
        target = (folder / path).resolve()
        if not target.exists():
            return found[0]  # mkdocs says so
        name = target.relative_to(ROOT).as_posix()
        name = PAGES.get(name, name.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            name = f"{urls()['Source']}/blob/main/{name}"
        return f"]({name}{'#' if anchor else ''}{anchor})"

    return LINK.sub(there, text)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """
    Show names where docstrings have roles.

    :param html: of the page.
    :param page: the page.
    :param config: that of mkdocs.
    :param files: all pages.
    """
    return ROLE.sub(r"<code>\1</code>", html)


def summary(text: str) -> tuple[str, str]:
    """
    Return the title of a page, and the first sentence of its first paragraph, without links.

    :param text: of the page.
    """
    title, *blocks = re.split(r"\n\n+", text.removeprefix("# "))
    paragraph = next(block for block in blocks if not re.match(r"[#|<!-]|```|\*\*|\d+\.", block))
    first = re.match(r".+?[.:](?=\s|$)", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph), re.DOTALL)
    return title, " ".join((first[0] if first else paragraph).split())


def on_post_build(config: Any) -> None:
    """
    Write ``llms.txt``, which names each page with its first sentence, and ``llms-full.txt`` with all text.

    :param config: that of mkdocs.
    """
    lines, texts = [f"# {config.site_name}\n\n> {config.site_description}\n\n## Pages\n"], []
    names = re.findall(r"[\w./-]+\.md", str(config.nav))
    sources = {page: ROOT / name for name, page in PAGES.items()}
    for name in names:
        text = sources.get(name, ROOT / "docs" / name).read_text()
        title, said = summary(text)
        path = "./" if name == "index.md" else f"{name.removesuffix('.md')}/"
        lines.append(f"- [{title}]({path}): {said}\n")
        texts.append(text)
    site = Path(config.site_dir)
    (site / "llms.txt").write_text("".join(lines))
    (site / "llms-full.txt").write_text("\n\n".join(texts))
