from __future__ import annotations

import pytest

from spacy_padellm.errors import check_choice, require


def test_require():
    require("pytest", "Testing")
    with pytest.raises(ImportError, match=r"\[P301\] Testing needs no_such_package") as caught:
        require("no_such_package", "Testing")
    assert "extra" not in str(caught.value)


def test_require_names_the_extra():
    with pytest.raises(ImportError, match=r"\[P301\].*The extra 'llm' .*\.\[llm\]"):
        require("no_such_package", "Testing", extra="llm")


def test_a_choice():
    check_choice("colour", "red", ("red", "green"))
    with pytest.raises(ValueError, match=r"P031.*colour is 'blue'.*\('red', 'green'\)"):
        check_choice("colour", "blue", ["red", "green"])
