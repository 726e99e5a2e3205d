"""What `mkdocs` needs to build a site of pages that are written to be read in the repository.

- Files outside docs/ that are pages too: PAGES names them.
- Links keep their form in the repository, relative to the file. One that leads to a page becomes a link to that page; one that leads to any
  other file becomes a link below `repo_url`, and plain text while mkdocs.yml has none.
- An entry of `nav` that ends with a slash stands for all pages of that folder.
- A page that would fetch a script or a style from another host is an error.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
# file of the repository: page of the site
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "plugins/README.md": "foreign-models.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    config.nav = [_with_folders(entry) for entry in config.nav]
    config.watch.extend(str(ROOT / name) for name in PAGES)
    return config


def on_files(files: Any, config: Any) -> Any:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page with links as the site has them, outside blocks of code; what is folded is Markdown too."""
    uri = page.file.src_uri
    source = next((source for source, name in PAGES.items() if name == uri), f"docs/{uri}")
    known = {file.src_uri for file in files}
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [LINK.sub(lambda link: _rewritten(link, source, uri, known, config.repo_url), part) for part in parts[::2]]
    return "".join(parts).replace("<details>", '<details markdown="1">')


def on_post_page(output: str, page: Any, config: Any) -> str:
    fetched = re.search(r"<(?:script|link rel=\"stylesheet\"|img)[^>]*(?:src|href)=\"(https?://[^\"]+)", output)
    if fetched:
        raise PluginError(f"{page.file.src_uri} would fetch {fetched[1]}; ship it with the site")
    return output


def _rewritten(link: re.Match[str], source: str, uri: str, known: set[str], repo_url: str | None) -> str:
    image, text, target, anchor = link.groups()
    if "://" in target or target.startswith("mailto:"):
        return link.group()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = PAGES.get(path) or path.removeprefix("docs/")
    if f"{page}/README.md" in known:
        page = f"{page}/README.md"
    if page in known and (path in PAGES or path.startswith("docs/")):
        return f"{image}[{text}]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{anchor or ''})"
    if not (ROOT / path).exists():
        return link.group()  # mkdocs says so
    return f"[{text}]({repo_url.rstrip('/')}/blob/HEAD/{path}{anchor or ''})" if repo_url else text


def _with_folders(entry: Any) -> Any:
    (title, value), *_ = entry.items()
    if not (isinstance(value, str) and value.endswith("/")):
        return entry
    pages = sorted((ROOT / "docs" / value).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
    return {title: [f"{value}{page.name}" for page in pages]}
