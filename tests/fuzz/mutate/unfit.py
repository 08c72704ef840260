"""What a mutation raises for bytes that are not of its form."""


class Unfit(Exception):
    """The bytes are not of the form that a mutation changes."""
