"""The compare layouts: original and result in axial, coronal and sagittal, alone or beside a plot; and going back.

Names of views and labels are read by people: Data Probe shows the one, the bar of the view the other.
"""

from __future__ import annotations

import slicer

ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
SIDES = ("Original", "Result")
BY_ROWS_LAYOUT, BY_COLUMNS_LAYOUT = 50770, 50771
BY_ROWS_PLOT_LAYOUT, BY_COLUMNS_PLOT_LAYOUT = 50772, 50773
_LAYOUTS = {  # number -> (by rows, with a plot)
    BY_ROWS_LAYOUT: (True, False),
    BY_COLUMNS_LAYOUT: (False, False),
    BY_ROWS_PLOT_LAYOUT: (True, True),
    BY_COLUMNS_PLOT_LAYOUT: (False, True),
}
PLOT_VIEW_NAME = "SliceInterpolationPlot"
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
    for number, (byRows, withPlot) in _LAYOUTS.items():
        if node is not None and not node.IsLayoutDescription(number):
            node.AddLayoutDescription(number, _layoutXml(byRows, withPlot))


def switchLayout(byRows: bool, withPlot: bool = False) -> None:
    """Switch to a compare layout; views that are in both layouts keep place and zoom."""
    registerLayouts()
    wanted = (byRows, withPlot)
    layoutNode().SetViewArrangement(next(number for number, kind in _LAYOUTS.items() if kind == wanted))
    processEvents()


def currentLayout() -> tuple[bool, bool] | None:
    """(by rows, with a plot) of the compare layout that is on; None in any other layout."""
    node = layoutNode()
    return _LAYOUTS.get(node.GetViewArrangement()) if node is not None else None


def suitRows() -> bool:
    """True where the area of the views is higher than wide: rows of two then use it better than columns of three."""
    application = getattr(slicer, "app", None)
    layoutManager = application.layoutManager() if application is not None else None
    viewport = layoutManager.viewport() if layoutManager is not None else None
    return viewport is not None and viewport.height > viewport.width


def showPlot(chartNode) -> None:
    """Show a chart in the plot pane beside the compare views, which stay as they are.

    The module Plots would leave the comparison: for it every custom layout maps to one of its own.
    """
    byRows, _withPlot = currentLayout()
    switchLayout(byRows, withPlot=True)
    plotView = slicer.mrmlScene.GetSingletonNode(PLOT_VIEW_NAME, "vtkMRMLPlotViewNode")
    plotView.SetPlotChartNodeID(chartNode.GetID())


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


def processEvents() -> None:
    """Let the application build the widgets of a new layout; only then do the views have nodes and sizes."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.processEvents()


def _layoutXml(byRows: bool, withPlot: bool) -> str:
    outer, inner = ("vertical", "horizontal") if byRows else ("horizontal", "vertical")
    groups = "".join(
        f'<item><layout type="{inner}">'
        + "".join(f"<item>{_viewXml(side, orientation)}</item>" for side in SIDES)
        + "</layout></item>"
        for orientation in ORIENTATIONS
    )
    views = f'<layout type="{outer}">{groups}</layout>'
    if not withPlot:
        return views
    plot = f'<view class="vtkMRMLPlotViewNode" singletontag="{PLOT_VIEW_NAME}">{_property("viewlabel", "Plot")}</view>'
    # Beside rows, below columns: the views keep more of their room.
    return f'<layout type="{inner}" split="true"><item>{views}</item><item>{plot}</item></layout>'


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
