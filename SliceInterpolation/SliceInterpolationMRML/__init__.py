"""SliceInterpolationMRML: what touches the scene. A room for each task:

run: the command line in a process of its own. views: what the slice views show. figures: tables, plots, maps and
segments. panel: the widget and its logic.

Everything here runs in the Slicer process, on its main thread, and computes little: the work is done in
SliceInterpolationLib, in a process of its own where it takes long. The packages import nothing by themselves, so that
`run.probe` starts without Slicer.
"""
