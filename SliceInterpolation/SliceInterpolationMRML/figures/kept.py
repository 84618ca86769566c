"""The figures of a scan, found again through its node references: also in a scene that was saved and reopened.

A second run of the same kind updates the nodes of the first one, so that no copies pile up.
"""

from __future__ import annotations

from typing import Any

from ..nodes import PREFIX, nodeFromVolume, updateNodeFromVolume

_ROLE = "SliceInterpolation.Figure."


def figure(ownerNode, kind: str, name: str):
    """A node that was kept by `keepFigures`; None where there is none (any more)."""
    return ownerNode.GetNodeReference(f"{_ROLE}{kind}.{name}")


def figures(ownerNode, kind: str) -> dict[str, Any]:
    """The nodes that were kept for a kind of figures ("trust", "noise", "measure"...), by name."""
    if ownerNode is None:
        return {}
    start = f"{_ROLE}{kind}."
    roles = [ownerNode.GetNthNodeReferenceRole(n) for n in range(ownerNode.GetNumberOfNodeReferenceRoles())]
    found = {role[len(start) :]: ownerNode.GetNodeReference(role) for role in roles if role.startswith(start)}
    return {name: node for name, node in found.items() if node is not None}


def keepFigures(ownerNode, kind: str, nodes: dict[str, Any]) -> dict[str, Any]:
    """Let a scan, or another node, refer to nodes that show figures of it; returns the nodes."""
    for name, node in nodes.items():
        ownerNode.SetNodeReferenceID(f"{_ROLE}{kind}.{name}", node.GetID())
    return nodes


def keptVolume(ownerNode, kind: str, name: str, volume, title: str):
    """A volume as node: the one of an earlier run filled anew, or a new one with this title."""
    node = figure(ownerNode, kind, name)
    if node is None:
        node = nodeFromVolume(volume, title, ownerNode)
        return keepFigures(ownerNode, kind, {name: node})[name]
    updateNodeFromVolume(node, volume)
    node.SetAndObserveTransformNodeID(ownerNode.GetTransformNodeID())
    return node


def keepFindings(tableNode, method: str, lines: list[str], report: str = "") -> None:
    """Keep what was found, by which method, and the report of the library (JSON) in the table that shows it."""
    tableNode.SetAttribute(PREFIX + "Report", report)
    tableNode.SetAttribute(PREFIX + "Method", method)
    tableNode.SetAttribute(PREFIX + "Findings", "\n".join(lines))


def keptReport(ownerNode, kind: str) -> str:
    """The report (JSON) that was kept with the figures of a kind; empty where there is none."""
    found = (node.GetAttribute(PREFIX + "Report") for node in figures(ownerNode, kind).values())
    return next(filter(None, found), "")


def findings(ownerNode, kind: str) -> tuple[str, list[str]]:
    """The method and the lines that were kept with the figures of a kind; without lines where there are none."""
    for node in figures(ownerNode, kind).values():
        said = node.GetAttribute(PREFIX + "Findings")
        if said:
            return node.GetAttribute(PREFIX + "Method") or "", said.split("\n")
    return "", []
