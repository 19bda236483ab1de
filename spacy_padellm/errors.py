"""Every message the package raises, in spaCy's form: a code to search for, the cause, the remedy."""


class _WithCodes(type):
    """Prefix each message with its code, as spaCy's `Errors` does."""

    def __getattribute__(cls, name: str) -> str:
        message: str = super().__getattribute__(name)
        return message if name.startswith("__") else f"[{name}] {message}"


class Errors(metaclass=_WithCodes):
    # Core: texts, template, tokenizer, model (P0xx)

    # Corpora: readers and converters (P1xx)

    # Component (P2xx)

    # Command line and project (P3xx)
    pass


class Warnings(metaclass=_WithCodes):
    pass
