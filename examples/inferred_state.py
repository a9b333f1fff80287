"""Act on an inferred state in a training loop of one's own, instead of on one's own observation alone.

A scan pays where both sensors beside a target scan it, but each overlooks the target half of the time.
"""

import jax
import jax.numpy as jnp
import optax

import composite_flow as cf

PROBLEM, OPTIMISER, KEY = cf.SensorNetwork.two_by_two(miss=[0.5] * 4), optax.adam(3e-2), jax.random.key(0)
LAYOUT, AGENTS = cf.HistoryLayout(length=1, observation_size=2, num_actions=3, num_agents=4), jnp.arange(4)


def infer(denoiser, observations, key):
    """Composite diffusion, three times round: the state as each agent infers it is the vector that it last sent on."""
    history = cf.History(observations[:, None], jnp.zeros((4, 0), int), jnp.ones((4, 1), bool), AGENTS)
    contexts = jax.vmap(denoiser.condition)(LAYOUT.encode(history))
    return cf.composite.composite_flow(denoiser, contexts, jnp.tile(AGENTS, 3), jax.random.normal(key, (4,)))[-4:]


def act(actor, denoiser, world, key):
    """One step: the next world, the reward, and the log-probability of the actions. Without a denoiser, no state."""
    key_observe, key_infer, key_act, key_world = jax.random.split(key, 4)
    observations = PROBLEM.observe(key_observe, world)
    state = jnp.zeros((4, 4)) if denoiser is None else infer(denoiser, observations, key_infer)
    logits = jnp.einsum("ai,aij->aj", jnp.hstack([observations, state, jnp.ones((4, 1))]), actor)  # linear policies
    actions = jax.random.categorical(key_act, logits)
    world, reward, _ = PROBLEM.step(key_world, world, actions)
    return world, reward, jnp.sum(jax.nn.log_softmax(logits)[AGENTS, actions])


def loss(actor, denoiser, worlds, keys):
    """REINFORCE, over one step of each world: as scans move no target, an action is worth what it earns at once."""
    worlds, rewards, log_chances = jax.vmap(act, in_axes=(None, None, 0, 0))(actor, denoiser, worlds, keys)
    return -jnp.mean((rewards - rewards.mean()) * log_chances), (worlds, rewards.mean())


def main(updates=400):
    """Train a denoiser, then a policy without it and one with it; returns what each of the two earns in a step."""
    data = cf.HistoryDataset(cf.collect(PROBLEM, 512, key=KEY), length=1)
    config = cf.TrainingConfig(width=64, depth=3, batch=128, steps=3 * updates, warmup=updates // 4)
    denoiser = cf.fit(data, None, config, key=KEY).denoiser
    score, earned = jax.jit(jax.grad(loss, has_aux=True)), {}
    for name, chosen in (("own observations", None), ("an inferred state", denoiser)):
        actor, rewards = jnp.zeros((4, 2 + 4 + 1, 3)), []
        moments, worlds = OPTIMISER.init(actor), jax.vmap(PROBLEM.reset)(jax.random.split(KEY, 256))
        for keys in jax.random.split(KEY, (updates, 256)):
            gradient, (worlds, reward) = score(actor, chosen, worlds, keys)
            change, moments = OPTIMISER.update(gradient, moments)
            actor, rewards = optax.apply_updates(actor, change), [*rewards, float(reward)]
        earned[name] = sum(rewards[-100:]) / len(rewards[-100:])  # of the last updates
    print("Mean reward per step:", ", ".join(f"{mean:.3f} from {name}" for name, mean in earned.items()))
    return earned


if __name__ == "__main__":
    main()
