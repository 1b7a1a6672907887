import stat

import pytest

from mercury import settings

pytestmark = pytest.mark.one_leg


def test_the_secret_is_made_once_in_a_folder_that_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "olympus" / "data" / "secret-key"

    first, second = settings._made_secret(path), settings._made_secret(path)

    assert first == second
    assert len(first) == 50
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [0o700, 0o600]


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)

    settings._made_secret(tmp_path / "secret-key")

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750
