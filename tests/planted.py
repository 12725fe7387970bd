"""What the tests of campaigns share: sessions that end with the first failure, and a fault that several plant."""

from campaigns.common import Session

IN_PLACE = """
from neoclassic.base import files
def replace(target, data):
    with target.open("wb") as file:
        file.writelines(data)
files._replace = replace
"""  # files are written in place, not replaced


class Short(Session):
    """A session that ends with the first failure."""

    def goes_on(self):
        return super().goes_on() and not failed(self)


def failed(session):
    """How many trials failed, of all kinds."""
    return sum(counts.failed for counts in session.counts.values())
