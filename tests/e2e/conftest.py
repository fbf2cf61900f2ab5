"""What the end-to-end tests share."""

from __future__ import annotations

import pytest

from engine.run.layout import RunDir
from tests.e2e.reference import REFERENCE
from tests.e2e.runs import start, wait_for_end


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUI_HOME", str(tmp_path_factory.mktemp("undisturbed")))
        run = start("reference", *REFERENCE)
        assert wait_for_end(run)["state"] == "finished", run.log.read_text()[-3000:]
        return run
