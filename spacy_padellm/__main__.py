"""Entry point of `padellm` and `python -m spacy_padellm`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .cli.app import create_app

    create_app()()


if __name__ == "__main__":
    main()
