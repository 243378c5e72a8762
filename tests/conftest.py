"""What all tests share: a data home of their own, and the rule for tests on real archives."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

TEST_DATA = "EPISODES_TEST_DATA"


def pytest_configure() -> None:
    folder = os.environ.get(TEST_DATA)
    if folder and not Path(folder).is_dir():
        raise pytest.UsageError(
            f"{TEST_DATA}={folder} is not a folder: name the one with the archives, or unset it"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(TEST_DATA):
        return
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason=f"{TEST_DATA} is not set"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "real_data" in report.keywords
    ]
    if skipped and not os.environ.get(TEST_DATA):
        terminalreporter.write_line(
            f"{len(skipped)} real_data tests skipped: {TEST_DATA} is not set "
            "(name the folder that holds omniglot/images_background.zip)"
        )


@pytest.fixture(autouse=True, scope="session")
def episodes_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty EPISODES_HOME that lasts for the session, so that no test sees the user's stores."""
    home = tmp_path_factory.mktemp("episodes-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPISODES_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def archives() -> Path:
    """The folder that EPISODES_TEST_DATA names; for tests marked real_data."""
    return Path(os.environ[TEST_DATA])
