"""Act on an inferred state in a training loop of one's own: python inferred_state.py [UPDATES]

A scan pays where both sensors beside a target scan it, but each overlooks the target half of the time. A sensor that
saw nothing learns by composite diffusion what the others saw: three times they pass one vector around.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import composite_flow as cf
from composite_flow.composite import composite_flow

PROBLEM, OPTIMISER, KEY = cf.SensorNetwork.two_by_two(miss=[0.5] * 4), optax.adam(1e-2), jax.random.key(0)
AGENTS, NOTHING = jnp.arange(4), jnp.zeros((4, PROBLEM.state_size))


def infer(model, observations, key):
    """The state as each agent infers it from a history of one step: the vector that it last sent on."""
    history = cf.History(observations[:, None], AGENTS[:, None][:, :0], jnp.ones((4, 1), bool), AGENTS)
    contexts = jax.vmap(model.denoiser.condition)(model.layout.encode(history))
    noise = jax.random.normal(key, (PROBLEM.state_size,))
    return composite_flow(model.denoiser, contexts, jnp.tile(AGENTS, 3), noise)[-4:]


def loss(actor, model, worlds, key):
    """REINFORCE over one step of many worlds; targets mind no scan, so an action is worth what it earns at once."""

    def step(world, key):
        key_observe, key_infer, key_act, key_world = jax.random.split(key, 4)
        observations = PROBLEM.observe(key_observe, world)
        state = NOTHING if model is None else infer(model, observations, key_infer)
        logits = jax.vmap(actor)(jnp.concatenate([observations, state, jnp.eye(4)], axis=1))
        actions = jax.random.categorical(key_act, logits)
        world, reward, _ = PROBLEM.step(key_world, world, actions)
        return world, reward, jnp.sum(jax.nn.log_softmax(logits)[AGENTS, actions])

    worlds, rewards, log_chances = jax.vmap(step)(worlds, jax.random.split(key, len(worlds.time)))
    return -jnp.mean((rewards - rewards.mean()) * log_chances), (worlds, rewards.mean())


@eqx.filter_jit
def train(model, updates):
    """Mean reward over the last tenth of the updates; without a model zeros stand in the place of the state."""
    actor, static = eqx.partition(eqx.nn.MLP(2 + 4 + 4, PROBLEM.num_actions, 32, 1, key=KEY), eqx.is_array)

    def learn(carry, key):
        actor, moments, worlds = carry
        score = jax.grad(lambda actor: loss(eqx.combine(actor, static), model, worlds, key), has_aux=True)
        gradient, (worlds, reward) = score(actor)
        change, moments = OPTIMISER.update(gradient, moments)
        return (optax.apply_updates(actor, change), moments, worlds), reward

    start = actor, OPTIMISER.init(actor), jax.vmap(PROBLEM.reset)(jax.random.split(KEY, 256))
    return jax.lax.scan(learn, start, jax.random.split(KEY, updates))[1][-updates // 10 :].mean()


def main(updates=1000):
    data, *_ = cf.HistoryDataset(cf.collect(PROBLEM, 512, key=KEY), length=1).split(key=KEY)
    model = cf.fit(data, None, cf.TrainingConfig(width=64, depth=3, batch=256, steps=2000), key=KEY)
    without, inferred = float(train(None, updates)), float(train(model, updates))
    print(f"Mean reward per step: {without:.3f} on own observations alone, {inferred:.3f} with the inferred state.")
    return without, inferred


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
