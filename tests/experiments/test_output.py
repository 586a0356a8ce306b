import pytest

from qdt_rl.errors import ConfigError
from qdt_rl.experiments.output import output_file, output_folder


def test_missing_folders_are_made_and_left_empty(tmp_path):
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert output_file(tmp_path / "c" / "agent.zip") == tmp_path / "c" / "agent.zip"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "c"]


def test_what_is_there_stays(tmp_path):
    (tmp_path / "agent.zip").write_bytes(b"old")
    output_file(tmp_path / "agent.zip")
    assert (tmp_path / "agent.zip").read_bytes() == b"old"


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"Nothing can be written to .*file/runs: Not a directory\. Name ano"
    ):
        output_folder(tmp_path / "file" / "runs")
    with pytest.raises(ConfigError, match=r"Nothing can be written to .*file: File exists"):
        output_file(tmp_path / "file" / "agent.zip")
    with pytest.raises(ConfigError, match=r"is a folder\. Name a file with --out"):
        output_file(tmp_path)
