"""Whether work that comes up by itself, as compiling kernels does, is mentioned on stderr. -q says no."""

quiet = False
