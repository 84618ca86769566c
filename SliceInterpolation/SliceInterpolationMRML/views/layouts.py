"""The compare layouts: original and result in axial, coronal and sagittal, alone or beside a plot or table.

Names of views and labels are read by people: Data Probe shows the one, the bar of the view the other.
"""

from __future__ import annotations

import slicer

ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
SIDES = ("Original", "Result")
BY_ROWS_LAYOUT, BY_COLUMNS_LAYOUT = 50770, 50771
_LAYOUTS = {  # number -> (by rows, pane beside)
    BY_ROWS_LAYOUT: (True, ""),
    BY_COLUMNS_LAYOUT: (False, ""),
    50772: (True, "Plot"),
    50773: (False, "Plot"),
    50774: (True, "Table"),
    50775: (False, "Table"),
}
_FORMER = "SliceInterpolation.FormerLayout"
_COLORS = {"Axial": "#F34A33", "Coronal": "#6EB04B", "Sagittal": "#EDD54C"}
_VIEW_GROUP = 507


def viewName(side: str, orientation: str) -> str:
    """Layout name of a view of the compare layouts; side: "Original" or "Result".

    Without a blank: references between nodes are saved as lists of IDs that blanks separate.
    """
    return f"{side}-{orientation.lower()}"


VIEW_NAMES = tuple(viewName(side, orientation) for orientation in ORIENTATIONS for side in SIDES)


def registerLayouts() -> None:
    """Make the layouts known. Worth doing at startup, so that scenes saved in such a layout open in it."""
    node = layoutNode()
    for number, (byRows, pane) in _LAYOUTS.items():
        if node is not None and not node.IsLayoutDescription(number):
            node.AddLayoutDescription(number, _layoutXml(byRows, pane))


def switchLayout(byRows: bool, pane: str = "") -> None:
    """Switch to a compare layout, with a pane ("Plot" or "Table") beside; the slice views are the same in all."""
    registerLayouts()
    rememberLayout()
    layoutNode().SetViewArrangement(next(one for one, kind in _LAYOUTS.items() if kind == (byRows, pane)))
    processEvents()


def currentLayout() -> tuple[bool, str] | None:
    """(by rows, pane) of the compare layout that is on; None in any other layout."""
    node = layoutNode()
    return _LAYOUTS.get(node.GetViewArrangement()) if node is not None else None


def rememberLayout() -> None:
    """Call before the layout is changed for the user: `restoreLayout` comes back to this one.

    It stands in an attribute of the layout node, and so in saved scenes too.
    """
    node = layoutNode()
    if currentLayout() is None and not canRestoreLayout():
        node.SetAttribute(_FORMER, str(node.GetViewArrangement()))


def forgetLayout() -> None:
    """The user has chosen a layout."""
    layoutNode().RemoveAttribute(_FORMER)


def canRestoreLayout() -> bool:
    """True where a layout was changed for the user and not chosen or restored since."""
    node = layoutNode()
    return node is not None and (currentLayout() is not None or node.GetAttribute(_FORMER) is not None)


def restoreLayout() -> None:
    """Back to the layout that was remembered, or to four views where none is known."""
    if canRestoreLayout():
        former = layoutNode().GetAttribute(_FORMER)
        forgetLayout()
        layoutNode().SetViewArrangement(
            int(former) if former else slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        )


def suitRows() -> bool:
    """True where the area of the views is higher than wide: rows of two then use it better than columns of three."""
    application = getattr(slicer, "app", None)
    layoutManager = application.layoutManager() if application is not None else None
    viewport = layoutManager.viewport() if layoutManager is not None else None
    return viewport is not None and viewport.height > viewport.width


def showBeside(node) -> bool:
    """Show a chart or a table in a pane beside the compare views, which stay; False in any other layout.

    The modules Plots and Tables would leave the comparison: for them every custom layout maps to one of theirs.
    """
    if currentLayout() is None:
        return False
    pane = "Plot" if node.IsA("vtkMRMLPlotChartNode") else "Table"
    switchLayout(currentLayout()[0], pane)
    view = slicer.mrmlScene.GetSingletonNode(_paneName(pane), f"vtkMRML{pane}ViewNode")
    if pane == "Plot":
        view.SetPlotChartNodeID(node.GetID())
    else:
        view.SetTableNodeID(node.GetID())
    return True


def layoutNode():
    """The layout node of the scene."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def sliceNode(name: str):
    """The slice node of a view, None where there is none yet."""
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def compositeNode(name: str):
    """What a view shows, None where there is no such view yet."""
    node = sliceNode(name)
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(node) if node is not None else None


def viewsShowing(volumeNode) -> list:
    """The slice nodes of the views on screen that show a volume in the background or in the foreground."""
    found = []
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
        layers = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) if composite else ()
        if view.IsMappedInLayout() and volumeNode.GetID() in layers:
            found.append(view)
    return found


def processEvents() -> None:
    """Let the application build the widgets of a new layout; only then do the views have nodes and sizes."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.processEvents()


def _paneName(pane: str) -> str:
    return f"SliceInterpolation{pane}"


def _layoutXml(byRows: bool, pane: str) -> str:
    outer, inner = ("vertical", "horizontal") if byRows else ("horizontal", "vertical")
    groups = "".join(
        f'<item><layout type="{inner}">'
        + "".join(f"<item>{_viewXml(side, orientation)}</item>" for side in SIDES)
        + "</layout></item>"
        for orientation in ORIENTATIONS
    )
    views = f'<layout type="{outer}">{groups}</layout>'
    if not pane:
        return views
    label = _property("viewlabel", pane)
    beside = f'<view class="vtkMRML{pane}ViewNode" singletontag="{_paneName(pane)}">{label}</view>'
    # Beside rows, below columns: the views keep more of their room.
    return f'<layout type="{inner}" split="true"><item>{views}</item><item>{beside}</item></layout>'


def _viewXml(side: str, orientation: str) -> str:
    properties = {
        "orientation": orientation,
        "viewlabel": f"{side} {orientation.lower()}",
        "viewcolor": _COLORS[orientation],
        "viewgroup": str(_VIEW_GROUP),
    }
    entries = "".join(_property(name, value) for name, value in properties.items())
    return f'<view class="vtkMRMLSliceNode" singletontag="{viewName(side, orientation)}">{entries}</view>'


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{value}</property>'
