"""The solvers, one family a file; :mod:`solvers.registry` lists the files."""
