"""Whole numbers in the query of a request."""

import pytest

from neoclassic.base.errors import UsageError
from neoclassic.web.parameters import whole_number, whole_numbers


def test_whole_numbers_are_read():
    assert [whole_number("n", text) for text in ("0", "7", "999999999")] == [0, 7, 999_999_999]
    assert whole_numbers("input", "3x28x28", "x", 3) == (3, 28, 28)
    assert whole_numbers("photos", "4") == (4,)


@pytest.mark.parametrize("text", ["", "-1", "+1", "07", " 7", "7\n", "1_0", "1.0", "٣", "1000000000", "9" * 5000])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match=r"^n must be a whole number from 0 to 999,999,999, not "):
        whole_number("n", text)
    with pytest.raises(UsageError, match=r"^n must be of the form 0,0, not "):
        whole_numbers("n", f"1,{text}", n=2)


def test_numbers_out_of_range_and_of_another_count_are_refused():
    for text, least, most in (("0", 1, 5), ("6", 1, 5)):
        with pytest.raises(UsageError, match=r"^n must be a whole number from 1 to 5, not "):
            whole_number("n", text, least, most)
    with pytest.raises(UsageError, match=r"^n must be of the form 0x0x0, not '3x28'"):
        whole_numbers("n", "3x28", "x", 3)
