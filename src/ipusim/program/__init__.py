"""The tile program: variables and their mapping, vertices, compute sets, control flow.  The waist of the project.

A workload never sees a tile and the engine never sees an op; both meet in the objects of this package.
"""
