"""The exception for wrong user input."""


class UserError(ValueError):
    """Input that cannot be used.

    The message is one sentence for a person: what was wrong, what was expected, how to fix it.
    The command line prints it without a traceback and exits with 2.
    """
