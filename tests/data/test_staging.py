import os
import threading
from pathlib import Path

import pytest

from qdt_rl.data.staging import staged_folder
from qdt_rl.errors import DatasetError

NAME = "space/set-v0"


def write(root: Path, content: str, name: str = NAME, overwrite: bool = False) -> None:
    with staged_folder(root, name, overwrite) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text(content)


def fail(root: Path, error: type[BaseException], overwrite: bool = False) -> None:
    with staged_folder(root, NAME, overwrite) as folder:
        (folder / "data").mkdir()
        raise error


def read(root: Path, name: str = NAME) -> str:
    return (root / name / "data" / "file").read_text()


def leftovers(root: Path) -> list[str]:
    return [path.name for path in (root / ".qdt_rl").iterdir() if path.name != "lock"]


def test_the_folder_appears_when_the_block_has_ended(tmp_path: Path) -> None:
    with staged_folder(tmp_path, NAME) as folder:
        (folder / "data").mkdir()
        assert not (tmp_path / NAME).exists()
        assert os.stat(folder).st_dev == os.stat(tmp_path).st_dev
    assert list((tmp_path / NAME).iterdir()) == [tmp_path / NAME / "data"]
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(tmp_path, error)
    assert not (tmp_path / "space").exists()
    assert not leftovers(tmp_path)
    write(tmp_path, "later")
    assert read(tmp_path) == "later"


def test_an_existing_folder_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    write(tmp_path, "first")
    with pytest.raises(
        DatasetError, match=r"'space/set-v0' exists already in .*\. Pass overwrite=True to replace"
    ):
        write(tmp_path, "second")
    assert read(tmp_path) == "first"
    write(tmp_path, "third", overwrite=True)
    assert read(tmp_path) == "third"
    assert not leftovers(tmp_path)


def test_the_old_folder_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    write(tmp_path, "old")
    with pytest.raises(RuntimeError):
        fail(tmp_path, RuntimeError, overwrite=True)
    assert read(tmp_path) == "old"
    with staged_folder(tmp_path, NAME, overwrite=True):
        assert read(tmp_path) == "old"
    assert not list((tmp_path / NAME).iterdir())


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "old")
    rename = Path.rename

    def rename_old_only(source: Path, target: Path) -> Path:
        if source.name == "new":
            raise OSError("injected")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", rename_old_only)
    with pytest.raises(OSError, match="injected"):
        write(tmp_path, "new", overwrite=True)
    assert read(tmp_path) == "old"
    assert not leftovers(tmp_path)


def test_what_is_published_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is flushed before the folder has its name, or a power cut could leave empty ones."""
    sync, flushed = os.fsync, set()

    def note(descriptor: int) -> None:
        if not (tmp_path / NAME).exists():
            flushed.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write(tmp_path, "new")
    assert (tmp_path / NAME / "data" / "file").stat().st_ino in flushed


def test_what_a_killed_process_left_is_tidied_up(tmp_path: Path) -> None:
    write(tmp_path, "old")
    # It was killed between the two renames of a replacement.
    aside = tmp_path / ".qdt_rl" / "replaced" / NAME
    aside.parent.mkdir(parents=True)
    (tmp_path / NAME).rename(aside)
    (tmp_path / ".qdt_rl" / "new" / "data").mkdir(parents=True)
    write(tmp_path, "another", name="space/another-v0")
    assert read(tmp_path) == "old"
    assert not leftovers(tmp_path)


def test_a_replaced_folder_that_was_not_yet_removed_does_not_come_back(tmp_path: Path) -> None:
    write(tmp_path, "new")
    aside = tmp_path / ".qdt_rl" / "replaced" / NAME / "data"
    aside.mkdir(parents=True)
    (aside / "file").write_text("old")
    write(tmp_path, "another", name="space/another-v0")
    assert read(tmp_path) == "new"
    assert not leftovers(tmp_path)


def test_writers_take_turns(tmp_path: Path) -> None:
    inside, overlaps = [], []

    def work(index: int) -> None:
        with staged_folder(tmp_path, f"space/set-v{index}") as folder:
            inside.append(index)
            (folder / "data").mkdir()
            overlaps.append(len(inside))
            threading.Event().wait(0.01)
            inside.remove(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [1] * 5
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == [
        f"set-v{index}" for index in range(5)
    ]
