"""The exceptions of the library."""


class InputError(Exception):
    """A mistake of the user or a broken file. The message is one line that names the file, the value and the fix; a
    stage prints it without a traceback."""


class Paused(InputError):
    """A training reached its time limit. Its state is saved, and the next call continues."""
