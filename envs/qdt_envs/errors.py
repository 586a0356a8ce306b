"""What the environment raises when it is given something that it cannot use."""


class EnvArgumentError(ValueError):
    """An argument, seed or action is unknown, of the wrong kind or shape, or out of its range."""
