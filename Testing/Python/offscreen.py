"""Slice views of the real MRML core, rendered offscreen, laid out as a compare layout says."""

from __future__ import annotations

import numpy as np
from slicercore import Core, slicer, vtk
from vtk.util.numpy_support import vtk_to_numpy

_MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)


class OffscreenSliceView:
    """A slice node with its logic, displayable managers and a render window, as a qMRMLSliceView has them."""

    def __init__(self, core: Core, sliceNode, size: tuple[int, int]):
        self.node = sliceNode
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(core.applicationLogic)
        self.logic.SetMRMLScene(core.scene)
        self.logic.SetSliceNode(sliceNode)
        core.applicationLogic.GetSliceLogics().AddItem(self.logic)
        self.renders = 0
        self._renderer, self._overlay = vtk.vtkRenderer(), vtk.vtkRenderer()
        self._overlay.SetLayer(1)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetNumberOfLayers(2)
        for renderer in (self._renderer, self._overlay):
            renderer.GetActiveCamera().ParallelProjectionOn()
            self._window.AddRenderer(renderer)
        self._window.SetSize(*size)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(core.applicationLogic)
        for manager in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self._renderer)
        self._managers.Initialize(factory, self._renderer)
        self._managers.SetMRMLDisplayableNode(sliceNode)
        self.logic.ResizeSliceNode(*size)

    def renderWindow(self):
        return self._window

    def scheduleRender(self) -> None:
        self.renders += 1

    def picture(self) -> np.ndarray:
        """What the view shows now: (rows, columns, 3) uint8, the upper row first."""
        connection = self.logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        if connection is not None and not self._renderer.HasViewProp(self._actor):
            self._renderer.AddViewProp(self._actor)
        return _rendered(self._window)


class OffscreenViews(dict):
    """Slice views by layout name, made when a layout names them, as the layout manager does."""

    def __init__(self, core: Core, size: tuple[int, int] = (420, 360)):
        self.core, self.size = core, size
        core.layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayout, -10.0)
        self._onLayout(core.layoutNode, "")

    def add(self, sliceNode) -> None:
        """Make the view of a slice node, where it has none yet."""
        if sliceNode.GetLayoutName() not in self:
            self[sliceNode.GetLayoutName()] = OffscreenSliceView(self.core, sliceNode, self.size)

    def _onLayout(self, layoutNode, event) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self.add(node)

    def layout(self) -> np.ndarray:
        """The picture of the current layout: its views at equal sizes in the order of its XML."""
        return self._tile(self.core.layoutNode.GetLayoutRootElement())

    def _tile(self, element) -> np.ndarray:
        name = element.GetName()
        children = [element.GetNestedElement(number) for number in range(element.GetNumberOfNestedElements())]
        if name == "view":
            view = self.get(element.GetAttribute("singletontag"))
            # Views of other kinds (3D, plot, table) are not drawn here.
            picture = view.picture() if view is not None else np.full((*self.size[::-1], 3), 40, np.uint8)
            return np.pad(picture, ((2, 2), (2, 2), (0, 0)))
        parts = [self._tile(child) for child in children]
        if name == "item":
            return parts[0]
        return np.concatenate(parts, axis=0 if element.GetAttribute("type") == "vertical" else 1)


def chartPicture(chartNode, size: tuple[int, int], legend: bool = True) -> np.ndarray:
    """A plot chart of lines or bars as a qMRMLPlotView draws it, (rows, columns, 3) uint8."""
    view = vtk.vtkContextView()
    view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    chart = vtk.vtkChartXY()
    view.GetScene().AddItem(chart)
    chart.SetShowLegend(legend and chartNode.GetLegendVisibility())
    chart.GetLegend().GetLabelProperties().SetFontSize(chartNode.GetLegendFontSize())
    chart.SetTitle(chartNode.GetTitle())
    chart.GetTitleProperties().SetFontSize(chartNode.GetTitleFontSize())
    for number, name in ((vtk.vtkAxis.BOTTOM, "X"), (vtk.vtkAxis.LEFT, "Y")):
        axis = chart.GetAxis(number)
        axis.SetTitle(getattr(chartNode, f"Get{name}AxisTitle")())
        axis.GetTitleProperties().SetFontSize(chartNode.GetAxisTitleFontSize())
        axis.GetLabelProperties().SetFontSize(chartNode.GetAxisLabelFontSize())
        if not getattr(chartNode, f"Get{name}AxisRangeAuto")():
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetRange(*getattr(chartNode, f"Get{name}AxisRange")())
    for number in range(chartNode.GetNumberOfPlotSeriesNodes()):
        series = chartNode.GetNthPlotSeriesNode(number)
        table, y = series.GetTableNode().GetTable(), series.GetYColumnName()
        bars = series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar
        drawn = chart.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
        drawn.SetUseIndexForXSeries(bars)
        drawn.SetInputData(table, y if bars else series.GetXColumnName(), y)
        drawn.SetColorF(*series.GetColor())
        drawn.SetLabel(series.GetName())
    return _rendered(window)


def _rendered(window) -> np.ndarray:
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def savePng(picture: np.ndarray, path) -> None:
    """Write a picture as PNG."""
    image = vtk.vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = picture[::-1].reshape(-1, 3)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
