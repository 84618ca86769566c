"""SliceInterpolationMRML: what touches the scene. Nodes and volumes, views, tables, plots and segments.

Everything here runs in the Slicer process, on its main thread, and computes little: the work is done in
SliceInterpolationLib, in a process of its own where it takes long.
"""
