"""Pages that are single HTML files: without scripts, without anything loaded, to read, print and keep."""

from .study import study_page

__all__ = ["study_page"]
