"""What a user's mistake or a broken file raises, and what ends a run before its time."""


class InputError(Exception):
    """A bad input: its message is one line that names the file, the value and the fix."""


class Paused(InputError):
    """A training reached its time limit; its state is saved and the next call goes on."""
