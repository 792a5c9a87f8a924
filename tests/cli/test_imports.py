"""The order of imports, where it decides what the command line understands."""

import subprocess
import sys

import pytest

CODE = """
import fsseg.datasets, fsseg.episodes, inspect
from lightning import Trainer
print(inspect.signature(Trainer.__init__).parameters["limit_test_batches"].annotation)
"""


@pytest.mark.slow
def test_a_number_of_batches_stays_a_number_of_batches_after_the_data_sets_are_imported() -> None:
    """With rich imported before Lightning it would be a share: 1 batch becomes 1.0, all of them."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "typing.Union[int, float, NoneType]"
