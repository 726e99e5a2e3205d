"""The page of a model: one HTML file that needs no network and no other file."""

from .content import Page, Rebuilt
from .document import page_html

__all__ = ["Page", "Rebuilt", "page_html"]
