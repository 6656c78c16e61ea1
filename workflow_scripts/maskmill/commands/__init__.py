"""The commands of `maskmill`, one module each; `maskmill/__main__.py` runs them.

Each module has a `main`, whose parameters are the command's options, and imports what it needs itself, so that a
command without networks starts without PyTorch. The first line of its docstring stands in `maskmill --help`.
"""

# Name on the command line: the parameters of `main` whose values may stand without their options, in this order; the
# last one takes all further words where it is a list. The module has the command's name, with _ for -.
COMMANDS = {
    "list": ("store", "image"),
    "show": ("image", "stores"),
    "compare": ("first", "second"),
    "export": ("maps", "folder"),
    "segment": ("model", "source", "output"),
    "segment-open": ("checkpoint", "source", "output"),
    "import-group-vit": ("weights", "checkpoint"),
    "summary": ("tables",),
}
