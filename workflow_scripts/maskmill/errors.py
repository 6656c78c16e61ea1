"""The one exception that a user's mistake or a broken file raises."""


class InputError(Exception):
    """A bad input: its message is one line that names the file, the value and the fix."""
