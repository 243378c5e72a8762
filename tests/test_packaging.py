"""The wheel's contents and metadata, the files that state the version, the tiers of tests."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    run = subprocess.run([*build, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return ZipFile(next(folder.glob("*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_wheel_holds_every_module_and_manifest_and_nothing_else(wheel: ZipFile) -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("episodes", "trainers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    manifests = {f"episodes/manifests/{path.name}" for path in (ROOT / "manifests").iterdir()}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == modules | manifests
    assert {"episodes/py.typed", "trainers/py.typed", "episodes/manifests/omniglot.toml"} <= held


def test_manifests_in_the_wheel_are_those_of_the_checkout(wheel: ZipFile) -> None:
    for path in (ROOT / "manifests").iterdir():
        assert wheel.read(f"episodes/manifests/{path.name}") == path.read_bytes()


def test_wheel_lists_its_datasets_away_from_the_checkout(wheel: ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = "import episodes, episodes.cli as c; print(episodes.__file__); c.main(['list'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(str(tmp_path / "site"))
    assert "omniglot" in run.stdout


def test_episodes_alone_asks_for_no_framework(metadata: Message) -> None:
    base = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    names = {re.split(r"[^\w-]", text)[0] for text in base}
    assert names == {
        *("click", "datasets", "filelock", "fsspec", "h5py", "numpy"),
        *("pillow", "pyarrow", "rich", "webdataset"),
    }


def test_no_requirement_has_an_upper_bound(metadata: Message) -> None:
    requirements = metadata.get_all("Requires-Dist", [])
    assert requirements
    for text in [*requirements, metadata["Requires-Python"]]:
        assert not re.search(r"<|==|~=|!=", text.split(";")[0]), text


def test_licence_travels_with_the_wheel(wheel: ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    name = next(name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()


def test_citation_and_changelog_state_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE).group(1) == version
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE).group(1) == version


@pytest.fixture
def run_tier(tmp_path: Path):
    """Run the project's pytest settings and conftest on two tiny tests, one of them real_data."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_tiny.py").write_text(
        "import pytest\n"
        "def test_plain(): pass\n"
        "@pytest.mark.real_data\n"
        "def test_real(archives): assert archives.is_dir()\n"
        "@pytest.mark.slow\n"
        "def test_slow(): pass\n"
    )

    def run(data: str | None, *arguments: str) -> tuple[int, str]:
        environment = {name: v for name, v in os.environ.items() if name != "EPISODES_TEST_DATA"}
        if data is not None:
            environment["EPISODES_TEST_DATA"] = data
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_without_data_real_data_tests_are_skipped_and_counted(run_tier) -> None:
    code, output = run_tier(None)
    assert code == 0
    assert "1 real_data tests skipped: EPISODES_TEST_DATA is not set" in output
    assert "1 passed, 1 skipped, 1 deselected" in output


def test_with_data_real_data_tests_run(run_tier, tmp_path: Path) -> None:
    code, output = run_tier(str(tmp_path))
    assert code == 0
    assert "2 passed, 1 deselected" in output


def test_missing_data_folder_fails_the_session(run_tier, tmp_path: Path) -> None:
    code, output = run_tier(str(tmp_path / "nowhere"))
    assert code == 4
    assert "nowhere is not a folder" in output


def test_slow_tests_run_when_asked_for(run_tier) -> None:
    code, output = run_tier(None, "-m", "slow")
    assert code == 0
    assert "1 passed, 2 deselected" in output
