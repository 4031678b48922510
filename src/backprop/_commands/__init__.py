"""The commands of the program ``backprop``: one module each; `backprop.cli` reads the command line."""
