"""A warehouse of 10 by 6 metres: two shelves, four robots that drive about, and a pallet that somebody pushes.

Each robot knows where it is to 5 cm, has eight lidar beams, and sees others and the pallet only within 4 metres and
where no shelf is between. The state is where all robots and the pallet are: ten numbers, in metres.
"""

import numpy as np

import composite_flow as cf

ROBOTS, RANGE, SIZE, STEP = 4, 4.0, np.array([10.0, 6.0]), 0.4
SHELVES = np.array([[2.5, 1.5, 4.0, 4.5], [6.0, 1.5, 7.5, 4.5]])  # left, bottom, right, top
NAMES = (*(f"robot {robot} {axis}" for robot in range(ROBOTS) for axis in "xy"), "pallet x", "pallet y")
BEAMS = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)


def is_free(places):
    """Whether places lie in the hall and in no shelf."""
    x, y = places[..., 0, None], places[..., 1, None]
    in_shelf = (x > SHELVES[:, 0]) & (x < SHELVES[:, 2]) & (y > SHELVES[:, 1]) & (y < SHELVES[:, 3])
    return ~in_shelf.any(axis=-1) & ((places > 0) & (places < SIZE)).all(axis=-1)


def in_sight(one, other):
    """Whether two places see each other: near enough, and no shelf between."""
    way = one + np.linspace(0.0, 1.0, 17)[:, None] * (other - one)
    return np.linalg.norm(other - one) < RANGE and is_free(way).all()


def lidar(place):
    """Metres to what each beam meets, at most the range."""
    reach = np.linspace(0.0, RANGE, 41)
    way = place + reach[None, :, None] * BEAMS[:, None]
    free = np.cumprod(is_free(way), axis=1).astype(bool)
    return reach[np.maximum(free.sum(axis=1) - 1, 0)]


def look(places, robot, random):
    """What a robot sees: itself, its beams, and of each other thing whether it is in sight and where, from itself."""
    own = places[robot]
    seen = [own + 0.05 * random.normal(size=2), lidar(own) + 0.02 * random.normal(size=8)]
    for other in [place for number, place in enumerate(places) if number != robot]:
        visible = in_sight(own, other)
        seen.append(np.array([visible, *(visible * (other - own + 0.05 * random.normal(size=2)))]))
    return np.concatenate(seen)


def drive(num_episodes, length, seed):
    """Episodes in which everything moves by chance, a step of at most 40 cm at a time."""
    random, observations, states = np.random.default_rng(seed), [], []
    for _ in range(num_episodes):
        places = place_all(random)
        course = random.normal(size=places.shape)
        for _ in range(length):
            course = 0.8 * course + 0.6 * random.normal(size=places.shape)
            moved = places + STEP * course / np.maximum(1.0, np.linalg.norm(course, axis=1, keepdims=True))
            places = np.where(is_free(moved)[:, None], moved, places)
            states.append(places.reshape(-1))
            observations.append(np.stack([look(places, robot, random) for robot in range(ROBOTS)]))
    return cf.Episodes.from_arrays(
        observations=np.asarray(observations, np.float32),
        actions=np.zeros((len(states), ROBOTS), np.int32),
        states=np.asarray(states, np.float32),
        ends=np.arange(len(states)) % length == length - 1,
        state_names=NAMES,
    )


def place_all(random):
    """Four robots and the pallet, anywhere free."""
    drawn = random.random((200, 2)) * SIZE
    return drawn[is_free(drawn)][: ROBOTS + 1]
