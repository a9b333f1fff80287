"""Pages in a browser, opened from the disk without a network: what is drawn is what Python computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from page_teams import SCALING, robots, sensors
from runtime.fused_team import episodes as logged_steps
from runtime.fused_team import strange, team_model

import composite_flow as cf
from composite_flow.composite.rule import DEFINITION_6, sweep
from composite_flow.fixed_points import find_fixed_points
from composite_flow.fusion.doubts import what_is_doubted
from composite_flow.page.from_model import content_of_model


def page_file(team, folder):
    return cf.show(*team, folder / "page.html")


@pytest.fixture(scope="module")
def robot_team():
    return robots(jax.random.key(0))


@pytest.fixture(scope="module")
def robot_page(robot_team, tmp_path_factory):
    return page_file(robot_team, tmp_path_factory.mktemp("robots"))


@pytest.fixture(scope="module")
def sensor_team():
    return sensors(jax.random.key(1))


@pytest.fixture(scope="module")
def sensor_page(sensor_team, tmp_path_factory):
    return page_file(sensor_team, tmp_path_factory.mktemp("sensors"))


def histories_of(team, step):
    return cf.HistoryDataset(team[1], 1).joint(np.array([step])).histories[0]


def fused(team, step, participants):
    """Mean and variance, scaled."""
    model = team[0]
    found = model.fuse(histories_of(team, step), participants=participants)
    unit = np.asarray(model.scaling.maximum - model.scaling.minimum)
    return model.scaling.scale(found.mean), found.variance / unit**2


def close(found, wanted):
    np.testing.assert_allclose(found, np.asarray(wanted), atol=1e-4)


def test_it_draws_the_estimate_of_all_agents_and_of_any_subset(robot_page, robot_team, opening):
    with opening(robot_page) as page:
        close(page.mean, fused(robot_team, 0, None)[0])
        page.agent(1).click()
        mean, variance = fused(robot_team, 0, [0, 2])
        close(page.mean, mean)
        close(page.variance, variance)
        assert page.address == "#episode=0&step=0&agents=0,2"
        assert page.agent(1).get_attribute("aria-pressed") == "false"
        page.agent(1).click()
        close(page.mean, fused(robot_team, 0, None)[0])


def test_a_link_leads_to_a_step_with_its_agents_and_hops(robot_page, robot_team, opening):
    with opening(robot_page, "#episode=1&step=2&agents=2,0,1&hops=2") as page:
        close(page.mean, fused(robot_team, 6, [2, 0])[0])
        assert "after 2 of 3 messages" in page.verdict
        page.tab.evaluate("location.hash = '#episode=0&step=3'")
        close(page.mean, fused(robot_team, 3, None)[0])


def test_scrubbing_by_slider_and_by_keys(robot_page, robot_team, opening):
    with opening(robot_page) as page:
        page.tab.locator("#step").fill("2")
        close(page.mean, fused(robot_team, 2, None)[0])
        page.tab.locator("h1").click()
        for key, step in [("ArrowRight", 3), ("ArrowRight", 3), ("ArrowLeft", 2), ("Home", 0), ("End", 3)]:
            page.tab.keyboard.press(key)
            assert page.address == f"#episode=0&step={step}"
        page.tab.keyboard.press("Home")
        page.tab.keyboard.press(" ")
        page.tab.locator("#play:text-is('Pause')").wait_for()
        page.tab.locator("#play:text-is('Play')").wait_for()
        assert page.address == "#episode=0&step=3"
        page.tab.select_option("#episode", "1")
        close(page.mean, fused(robot_team, 4, None)[0])


ONE_FRAME = """new Promise((done) => {
  const slider = document.getElementById("step");
  slider.value = "2";
  slider.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => done([...document.querySelectorAll("tr[data-mean]")].map((row) => +row.dataset.mean)));
})"""


def test_rows_in_sight_follow_at_once_and_all_others_when_there_is_time(robot_page, robot_team, opening):
    with opening(robot_page) as page:
        close(page.mean, before := fused(robot_team, 0, None)[0])
        after = fused(robot_team, 2, None)[0]
        page.tab.locator(".scroller").scroll_into_view_if_needed()
        close(page.settle().tab.evaluate(ONE_FRAME), after)
        page.tab.locator("#step").fill("0")
        close(page.mean, before)
        page.tab.evaluate("document.querySelector('.all-features').style.marginTop = '9000px'")
        page.tab.evaluate("scrollTo(0, 0)")
        close(page.settle().tab.evaluate(ONE_FRAME), before)
        close(page.mean, after)


def test_an_agent_is_muted_by_the_keyboard_alone(robot_page, robot_team, opening):
    with opening(robot_page) as page:
        page.agent(0).focus()
        page.tab.keyboard.press("Tab")
        page.tab.keyboard.press("Enter")
        close(page.mean, fused(robot_team, 0, [0, 2])[0])
        page.tab.keyboard.press(" ")  # on a button, it does not play
        close(page.mean, fused(robot_team, 0, None)[0])


def test_the_order_of_fusion_changes_the_way_and_not_the_end(robot_page, robot_team, opening):
    with opening(robot_page) as page:
        page.tab.locator("#order").fill("3 1 2")
        page.tab.keyboard.press("Tab")
        close(page.mean, fused(robot_team, 0, None)[0])
        assert page.address == "#episode=0&step=0&agents=2,0,1"
        page.tab.locator("#hops").fill("1")
        close(page.mean, fused(robot_team, 0, [2])[0])
        assert page.agent(2).get_attribute("data-speaker") is not None
        page.tab.locator("#order").fill("3 9")
        page.tab.keyboard.press("Tab")
        assert "Name agents from 1 to 3" in page.settle().tab.inner_text(".team .fault")


def composite_messages(denoiser, starts, histories, order, hops):
    """The messages after so many hops, one of each start."""
    contexts = jax.vmap(denoiser.condition)(histories)
    path = jnp.asarray([order[hop % len(order)] for hop in range(hops)], jnp.int32)
    return jax.vmap(lambda start: sweep(DEFINITION_6, denoiser, contexts, path, start)[0])(starts)


@pytest.mark.parametrize("hops", [1, 3, 12])
def test_messages_of_composite_diffusion_travel_as_in_python(robot_page, robot_team, opening, hops):
    model, episodes = robot_team
    _, arrays = content_of_model(model, cf.HistoryDataset(episodes, 1), 2, title="").block()
    starts = jnp.asarray(arrays["starts"][:16])
    wanted = composite_messages(model.denoiser, starts, histories_of(robot_team, 5), [2, 0], hops)
    with opening(robot_page, f"#episode=1&step=1&agents=2,0&by=composite&hops={hops}") as page:
        close(page.mean, wanted.mean(axis=0))
        close(page.variance, wanted.var(axis=0))


def test_the_map_shows_chances_and_mutes_by_a_click(sensor_page, sensor_team, opening):
    with opening(sensor_page, "#episode=2&step=1") as page:
        chances = page.settle().tab.eval_on_selector_all(".map .chance", "(all) => all.map((one) => +one.dataset.mean)")
        close(chances, fused(sensor_team, 11, None)[0])
        page.tab.locator(".map .sensor >> nth=4").click()
        close(page.mean, fused(sensor_team, 11, [0, 1, 2, 3, 5])[0])
        stars = page.marks("target")
        np.testing.assert_array_equal(stars, np.flatnonzero(sensor_team[1].states[11] > 0.5))


def test_fixed_points_are_those_that_python_finds(sensor_page, sensor_team, opening, key):
    model = sensor_team[0]
    found = find_fixed_points(model.denoiser, histories_of(sensor_team, 0)[3], key=key, num_starts=64)
    wanted = np.asarray(found.points)[np.asarray(found.stable)][:, [1, 4]]
    with opening(sensor_page) as page:
        page.tab.locator("summary").click()
        for name, value in {"agent": "3", "x": "1", "y": "4"}.items():
            page.tab.select_option(f"#points-{name}", value)
        page.tab.wait_for_selector("details[data-whole='']", timeout=20_000)
        dots = page.tab.eval_on_selector_all(".point", "(all) => all.map((one) => [+one.dataset.x, +one.dataset.y])")
        np.testing.assert_allclose(sorted(dots), sorted(wanted.tolist()), atol=1e-3)
        assert page.tab.locator(".basin").count() > 100


def test_agents_in_doubt_are_marked_with_the_reason(tmp_path, opening):
    """As the model's own estimate says: every third observation of agent 2 is unlike any other."""
    model, logged = team_model(jax.random.key(0)), strange(logged_steps(8))
    joint = cf.HistoryDataset(logged, model.layout.length).joint(np.arange(8)).histories
    with opening(cf.show(model, logged, tmp_path / "page.html")) as page:
        for step in (2, 3):
            doubts = model.fuse(joint[step]).doubts
            doubted = np.flatnonzero(doubts.in_doubt).tolist()
            page.tab.evaluate(f"location.hash = '#step={step}'")
            told = page.settle().tab.locator(".doubts li").all_inner_texts()
            reasons = [what_is_doubted(int(doubts.place[agent]), model.state_names) for agent in doubted]
            assert told == [f"In doubt: agent {agent + 1} {why}." for agent, why in zip(doubted, reasons, strict=True)]
            assert [page.agent(agent).get_attribute("data-doubted") is not None for agent in range(4)] == [
                agent in doubted for agent in range(4)
            ]
            assert doubted == ([] if step == 2 else [2])


def test_nobody_chosen_leaves_the_prior_and_says_so(robot_page, robot_team, opening):
    with opening(robot_page) as page:
        page.tab.get_by_role("button", name="None").click()
        close(page.mean, robot_team[0].answers.prior.mean)
        assert "No agent takes part" in page.verdict
        assert page.address.endswith("agents=")
        page.tab.select_option("#by", "composite")
        assert "No agent takes part" in page.verdict


def test_an_address_that_asks_for_too_much_is_told(robot_page, opening):
    with opening(robot_page, "#episode=7&agents=1,99") as page:
        assert "episode 7; there are 0 to 1" in page.faults and "agents that are not there" in page.faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_people_who_cannot_see_it_can_use_it(robot_page, sensor_page, opening, scheme, width):
    for path in (robot_page, sensor_page):
        with opening(path, width=width, scheme=scheme) as page:
            page.tab.locator("summary").click()
            assert page.hindrances() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_no_text_is_smaller_than_twelve_pixels_cut_off_or_beyond_the_edge(sensor_page, robot_page, opening, width):
    smallest = """() => Math.min(...[...document.querySelectorAll("body *")]
        .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((each) => parseFloat(getComputedStyle(each).fontSize)))"""
    cut = "(all) => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
    for path in (sensor_page, robot_page):
        with opening(path, width=width) as page:
            assert page.settle().tab.evaluate(smallest) >= 12
            assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
            assert page.tab.eval_on_selector_all(".features tbody th, .features tbody td", cut) == []


def test_it_says_once_how_agents_are_counted(sensor_page, opening):
    with opening(sensor_page) as page:
        assert page.tab.inner_text("body").count("counted from 1") == 1
        assert page.agent(0).inner_text() == "1"


def test_a_file_that_was_cut_off_says_so(robot_page, tmp_path, browser):
    whole = robot_page.read_text()
    place = whole.index('id="data"')
    changed = f"{whole[: place + 900]}AAAA{whole[place + 904 :]}"
    told = {"cut": (whole[: place + 2000], "characters of data"), "changed": (changed, "cannot be decompressed")}
    for name, (text, why) in told.items():
        path = tmp_path / f"{name}.html"
        path.write_text(text)
        tab = browser.new_page()
        tab.goto(f"file://{path}")
        tab.wait_for_selector("[role=alert]")
        assert "damaged or was not saved whole" in tab.inner_text("[role=alert]")
        assert why in tab.inner_text("[role=alert]")
        tab.close()


def test_names_that_are_scripts_are_shown_and_not_run(tmp_path, opening):
    hostile = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    names = (f"{hostile} x", f"{hostile} y", "</script><script>document.title = 'run'</script>", "&amp;", "green")
    path = cf.show(*robots(jax.random.key(0), names=names), tmp_path / "page.html", title=hostile)
    with opening(path) as page:
        assert page.settle().tab.title() == hostile
        assert page.tab.inner_text("h1") == hostile
        assert page.tab.locator(".features tbody th >> nth=3").inner_text() == "&amp;"


def test_states_that_are_no_numbers_are_told(robot_team, tmp_path, opening):
    model, episodes = robot_team
    states = episodes.states.copy()
    states[1] = np.nan
    logs = cf.Episodes.from_arrays(
        observations=episodes.observations, actions=episodes.actions, states=states, ends=episodes.ends,
        state_names=episodes.state_names, scaling=SCALING,
    )  # fmt: skip
    with opening(cf.show(model, logs, tmp_path / "page.html"), "#step=1") as page:
        assert "The truth is not known at this step" in page.verdict
        close(page.mean, fused(robot_team, 1, None)[0])
        page.tab.keyboard.press("ArrowLeft")
        assert "features" in page.verdict and "known" not in page.verdict


def test_a_world_without_a_map_says_so_and_shows_its_features_as_rows(tmp_path, opening):
    names = ("speed", "heat", "door open", "red", "green")
    team = robots(jax.random.key(0), names=names)
    with opening(cf.show(*team, tmp_path / "page.html")) as page:
        assert "This world has no map" in page.settle().tab.inner_text("footer")
        assert page.tab.locator(".left .features tbody th").all_inner_texts() == list(names)
        assert page.tab.locator("svg.map").count() == 0
        close(page.mean, fused(team, 0, None)[0])
