"""SliceInterpolationTrainerLib: own scans in, a model out that the panel and the command line then offer."""
