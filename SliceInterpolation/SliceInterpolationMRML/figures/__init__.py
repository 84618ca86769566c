"""Figures about a scan as nodes of the scene: tables, plots, maps and segments."""
