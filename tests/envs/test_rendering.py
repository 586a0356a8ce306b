"""What the pictures and the text show, and what happens without pygame."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from gymnasium.wrappers import AddRenderObservation, RenderCollection

from qdt_envs import EnvArgumentError
from qdt_envs.rendering import Renderer, Snapshot, describe

pygame = pytest.importorskip("pygame")

BLUE, GREY, ORANGE, GREEN = (54, 110, 190), (168, 174, 186), (226, 88, 34), (38, 160, 96)


@pytest.fixture(autouse=True)
def _headless(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def snapshot(**changes):
    values = {
        "positions": np.array([-1.0, -0.5, 0.0, 0.5, 1.0]),
        "velocities": np.array([0.1, -0.2, 0.0, 0.25, -1.5]),
        "command": 1.0,
        "action": np.array([1.0, -0.5, 0.0]),
        "elapsed": 42,
        "episode_return": -123.45,
    }
    return Snapshot(**(values | changes))


def picture(**changes):
    return Renderer("rgb_array", 50).render(snapshot(**changes))


def x_of(position):
    return round(315 + 125 * position)


def near(image, colour, x, y, reach=3):
    """Whether a colour stands within a few pixels of a point."""
    patch = image[y - reach : y + reach + 1, x - reach : x + reach + 1].astype(int)
    return bool((abs(patch - colour).max(axis=-1) < 25).any())


def columns_of(image, colour):
    """Return the pixel columns, left of the panel, in which a colour stands."""
    matches = (abs(image[70:, 110:560].astype(int) - colour).max(axis=-1) < 12).any(axis=0)
    return 110 + np.flatnonzero(matches)


def test_an_image_is_what_gymnasium_expects_and_repeats():
    image = picture()
    assert image.shape == (500, 800, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize("position", [-1.2, -1.0, 0.0, 0.8])
def test_each_mass_stands_at_its_position_in_its_own_colour(position):
    image = picture(positions=np.full(5, position), command=-1.0 if position > 0 else 1.0, action=np.zeros(3))
    potential = position**4 / 4 - position**2 / 2
    for row, colour in enumerate((BLUE, GREY, BLUE, GREY, BLUE)):
        y = round(96 + 72 * row + 50 - 74 * (potential + 0.25) - 13)
        assert near(image, colour, x_of(position), y)


def test_far_masses_stay_in_the_picture():
    np.testing.assert_array_equal(
        picture(positions=np.full(5, 9.0), command=-1.0), picture(positions=np.full(5, 1.6), command=-1.0)
    )


def test_arrows_point_where_the_action_does_and_grow_with_it():
    still = {"positions": np.zeros(5)}
    right = columns_of(picture(**still, action=np.array([1.0, 0.0, 0.0])), ORANGE)
    left = columns_of(picture(**still, action=np.array([-1.0, 0.0, 0.0])), ORANGE)
    short = columns_of(picture(**still, action=np.array([0.3, 0.0, 0.0])), ORANGE)
    assert right.min() > x_of(0)
    assert left.max() < x_of(0)
    assert right.max() == pytest.approx(x_of(0) + 13 + 2 + 60 + 8, abs=2)
    assert short.max() == pytest.approx(x_of(0) + 13 + 2 + 18 + 8, abs=2)
    assert columns_of(picture(**still, action=np.zeros(3)), ORANGE).size == 0


def test_the_commanded_well_is_highlighted():
    right, left = picture(command=1.0), picture(command=-1.0)
    gap = 96 + 72 * 4 + 50 + 8  # below the last curve
    warm, plain = right[gap, x_of(1.0)].astype(int), right[gap, x_of(-1.0)].astype(int)
    assert warm[0] - warm[2] > 40
    assert abs(plain[0] - plain[2]) < 10
    np.testing.assert_array_equal(left[gap, x_of(-1.0)], warm)


def test_masses_in_the_commanded_well_wear_green():
    assert columns_of(picture(positions=np.ones(5)), GREEN).size > 0
    assert columns_of(picture(positions=-np.ones(5)), GREEN).size == 0


def test_return_and_step_are_written():
    base = picture()
    assert not np.array_equal(base, picture(episode_return=-123.65))
    assert not np.array_equal(base, picture(elapsed=43))


def test_pictures_survive_another_environment_that_quits_pygame():
    before = picture()
    pygame.quit()
    np.testing.assert_array_equal(picture(), before)


def test_the_text_shows_the_same():
    assert describe(snapshot()) == (
        "step   42   return    -123.5   command g = +1   in the commanded well: 1 of 5\n"
        "        |------v-------------------V------|   position  velocity  action\n"
        "mass 1  |------O-------------------V------|      -1.00     +0.10  +1.00\n"
        "mass 2  |------v----O--------------V------|      -0.50     -0.20  passive\n"
        "mass 3  |------v---------O---------V------|      +0.00     +0.00  -0.50\n"
        "mass 4  |------v--------------O----V------|      +0.50     +0.25  passive\n"
        "mass 5  |------v-------------------O------|      +1.00     -1.50  +0.00\n"
    )


def test_the_environment_shows_its_state_and_its_return():
    env = gymnasium.make("QDTSynthetic-v0", render_mode="ansi")
    env.reset(seed=0)
    total = sum(env.step(np.array([1.0, 0.0, -3.0]))[1] for _ in range(12))
    text = env.render()
    assert text.startswith(f"step   12   return {total:+9.1f}")
    assert text.splitlines()[4].endswith("+0.00")
    assert text.splitlines()[6].endswith("-1.00")  # the action −3 is shown as it was clipped
    env.reset()
    assert env.render().startswith("step    0   return      +0.0")
    assert env.render().splitlines()[2].endswith("+0.00")


def test_the_polarity_is_not_shown():
    frames = []
    for env_id in ("QDTSynthetic-v0", "QDTSyntheticHidden-v0"):
        env = gymnasium.make(env_id, render_mode="rgb_array", noise_std=0.0)
        env.reset(seed=1)
        env.step(np.zeros(3))
        frames.append(env.render())
        assert env_id == "QDTSynthetic-v0" or (env.unwrapped.polarity < 0).any()
    np.testing.assert_array_equal(*frames)


def test_gymnasiums_render_wrappers_work():
    frames = RenderCollection(gymnasium.make("QDTSynthetic-v0", render_mode="rgb_array"))
    frames.reset(seed=0)
    for _ in range(3):
        frames.step(np.zeros(3, np.float32))
    assert len(frames.render()) == 4
    pixels = AddRenderObservation(gymnasium.make("QDTSynthetic-v0", render_mode="rgb_array"))
    assert pixels.reset(seed=0)[0].shape == (500, 800, 3)


def test_a_window_follows_the_environment_by_itself():
    env = gymnasium.make("QDTSynthetic-v0", render_mode="human")
    env.reset(seed=0)
    first = pygame.surfarray.array3d(pygame.display.get_surface())
    env.step(np.ones(3, np.float32))
    assert not np.array_equal(first, pygame.surfarray.array3d(pygame.display.get_surface()))
    assert env.render() is None
    env.close()
    assert not pygame.display.get_init()


def test_a_window_outlives_others_that_close():
    first, second = (gymnasium.make("QDTSynthetic-v0", render_mode="human") for _ in range(2))
    for env in (first, second):
        env.reset(seed=0)
    pygame.display.quit()  # as other environments' close() does
    first.step(np.ones(3, np.float32))
    assert pygame.display.get_surface().get_size() == (800, 500)
    first.close()
    second.step(np.ones(3, np.float32))
    second.close()
    first.close()
    assert not pygame.display.get_init()


def test_without_pygame_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = gymnasium.make("QDTSynthetic-v0", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(DependencyNotInstalled, match=r"run `pip install pygame`"):
        env.render()
    text = gymnasium.make("QDTSynthetic-v0", render_mode="ansi")
    text.reset(seed=0)
    assert "mass 5" in text.render()


def test_rendering_without_a_mode_or_a_state():
    env = gymnasium.make("QDTSynthetic-v0").unwrapped
    with pytest.warns(UserWarning, match="Nothing is rendered without a render mode"):
        assert env.render() is None
    with pytest.raises(ResetNeeded, match="call reset"):
        gymnasium.make("QDTSynthetic-v0", render_mode="ansi").unwrapped.render()


def test_an_unknown_render_mode_is_refused():
    with (
        pytest.warns(UserWarning, match="not in the possible render_modes"),
        pytest.raises(EnvArgumentError, match="must be None or one of human, rgb_array, ansi, but '3d'"),
    ):
        gymnasium.make("QDTSynthetic-v0", render_mode="3d")
