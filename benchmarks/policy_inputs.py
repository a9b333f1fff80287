"""What each input of a policy costs: steps of the environment per second while MAPPO learns, and the denoiser's share.

    python -m benchmarks.policy_inputs --out docs/results/policy_inputs.json --page docs/policy_inputs.md

One process for each input. In every round each of them makes a few whole updates (play, learning, and the denoiser's
own learning where there is one) right after, or before, as many by the input `agent`: a ratio compares these two alone.
Beside them two parts of an update are timed by themselves: what agents infer in as many steps of as many worlds, and
the denoiser's steps of its optimiser.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import Library, describe_machine, keep
from benchmarks.timing import Call, serve_calls, timed

BASE = "agent"
INPUTS = ("observations", "state", "denoised", "composite", "composite-shared", "belief", "own-belief")
INPUTS += ("learned-messages",)
INPUTS += ("safe", "mean", "quantile", "cvar")


@dataclass(frozen=True)
class Sizes:
    """What is trained."""

    problem: str = "smax:zerg_5_vs_5,sight=9"
    worlds: int = 32
    rollout: int = 100
    """Steps of each world between two updates."""
    updates: int = 4
    """Of a turn."""
    width: int = 256
    """Of the denoiser."""
    depth: int = 4
    """Its hidden layers."""
    calls: int = 4
    """Of the denoiser by each agent in a step."""
    samples: int = 8
    """States that an agent draws, for the inputs that weigh several."""
    history: int = 5
    """H."""
    denoiser_updates: float = 0.0025
    """Steps of its optimiser per step of the environment."""
    denoiser_batch: int = 256
    """Pairs of each."""
    chain_width: int = 128
    """Of the chain over time, by which `belief` and `own-belief` infer."""
    chain_depth: int = 3
    """Its hidden layers."""

    @property
    def steps(self) -> int:
        """Of the environment in a turn."""
        return self.updates * self.worlds * self.rollout


def serve_input(kind: str, sizes: Sizes) -> None:
    """The process of one input: answers `workload` with the seconds of a turn, `found` with those of its parts."""
    import jax
    import jax.numpy as jnp

    from composite_flow.policy.config import InferenceConfig, MappoConfig
    from composite_flow.policy.inputs import input_class
    from composite_flow.policy.mappo import learn, new_learner, team_of
    from composite_flow.policy.setup import prepare
    from composite_flow.problems import problem_from_text

    inference = InferenceConfig(
        history=sizes.history,
        calls=sizes.calls,
        samples=sizes.samples,
        denoiser_width=sizes.width,
        denoiser_depth=sizes.depth,
        denoiser_updates=sizes.denoiser_updates,
        denoiser_batch=sizes.denoiser_batch,
    )
    config = MappoConfig(
        inputs=kind,  # pyright: ignore[reportArgumentType] (checked there)
        memory="none",
        worlds=sizes.worlds,
        rollout=sizes.rollout,
        inference=inference,
    )
    problem, key = problem_from_text(sizes.problem), jax.random.key(0)
    carries = input_class(kind).carries
    setup = prepare(problem, config, key, _chain(problem, sizes, key) if carries else None)
    learner = new_learner(problem, config, setup, key)

    def turn():
        nonlocal learner
        learner, measures = learn(problem, config, setup, key, learner, jnp.int32(sizes.updates))
        jax.block_until_ready((learner, measures))

    parts: dict[str, Call] = {}
    about: dict = {"messages": 0, "message_bytes": 0}
    if setup.inputs.inference is not None:
        team = team_of(setup, learner.networks, learner.teaching)
        parts = {"inference": _inference(problem, config, team)}
        if not carries:
            parts["teaching"] = _teaching(problem, config, setup, key)
    sent = setup.inputs.inference or setup.inputs.talk
    if sent is not None:
        about = {"messages": sent.messages, "message_bytes": sent.messages * sent.message_bytes}
    for part in parts.values():
        part()

    def found():
        return about | {name: sizes.updates * timed(part) for name, part in parts.items()}

    serve_calls({"input": kind}, turn, found)


def _chain(problem, sizes: Sizes, key):
    """A model with a chain over time that learned for one step: it costs what a learned one does."""
    import composite_flow as cf

    episodes = cf.collect(problem, 16, key=key)
    network = {"width": sizes.chain_width, "depth": sizes.chain_depth}
    settings = cf.TrainingConfig(learn="fusion", team_denoiser=False, over_time="gated", steps=1, **network)
    return cf.fit(cf.HistoryDataset(episodes), None, settings, key=key, progress=False)


def _inference(problem, config, team) -> Call:
    """What all agents of all worlds infer in one rollout, whatever they see."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from composite_flow.policy.inference import after_actions, fresh_recollection, infer

    views = jax.random.uniform(jax.random.key(1), (config.worlds, problem.num_agents, problem.observation_size))
    actions = jnp.zeros(problem.num_agents, jnp.int32)

    @eqx.filter_jit
    def rollout(inference, denoiser, views, key):
        def one(recollection, view, key):
            return after_actions(infer(inference, denoiser, recollection, view, key), actions)

        def step(recollections, key):
            return jax.vmap(one)(recollections, views, jax.random.split(key, len(views))), None

        start = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], len(views), axis=0), fresh_recollection(inference))
        return jax.lax.scan(step, start, jax.random.split(key, config.rollout))[0]

    run = (team.inputs.inference, team.denoiser, views, jax.random.key(2))
    return lambda: jax.block_until_ready(rollout(*run))


def _teaching(problem, config, setup, key) -> Call:
    """The denoiser's learning of one update, on random steps; the replay is written in place, as in training."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from composite_flow.policy.rollout import Step
    from composite_flow.policy.teaching import new_teaching, taught

    teaching = eqx.filter_jit(new_teaching)(setup, config, key)
    axes = (config.rollout // config.piece_length, config.worlds, config.piece_length)
    key_views, key_states = jax.random.split(key)
    kept: dict = dict.fromkeys(Step.__dataclass_fields__)
    kept |= {
        "observations": jax.random.uniform(key_views, (*axes, problem.num_agents, problem.observation_size)),
        "actions": jnp.zeros((*axes, problem.num_agents), jnp.int32),
        "state": jax.random.uniform(key_states, (*axes, problem.state_size)),
        "age": jnp.full(axes, 50, jnp.int32),
    }
    given = (key, Step(**kept))

    @eqx.filter_jit(donate="all-except-first")
    def lesson(given, teaching):
        return taught(config, setup, given[0], teaching, given[1])

    def call():
        nonlocal teaching
        teaching = jax.block_until_ready(lesson(given, teaching))

    return call


def measure(sizes: Sizes, inputs: list[str], rounds: int) -> Iterator[list[dict]]:
    """The rows after each round; every second one has each pair in the reverse order."""
    command = [sys.executable, "-m", "benchmarks.policy_inputs", "--sizes", json.dumps(asdict(sizes)), "--serve"]
    processes = {kind: Library([*command, kind], f"the input {kind}") for kind in (BASE, *inputs)}
    turns: dict[str, list[dict]] = {kind: [] for kind in inputs}
    try:
        for number in range(rounds):
            for kind in inputs:
                pair = (BASE, kind) if number % 2 == 0 else (kind, BASE)
                seconds = {one: processes[one].ask("workload") for one in pair}
                found = processes[kind].ask("found")
                turns[kind].append({"seconds": seconds[kind], "base_seconds": seconds[BASE], **found})
            print(f"Round {number + 1} of {rounds} is done.", file=sys.stderr)
            yield rows_of(sizes, turns)
    finally:
        for process in processes.values():
            process.close()


def rows_of(sizes: Sizes, turns: dict[str, list[dict]]) -> list[dict]:
    """A row per input, that of `agent` first: medians over rounds, with the range of the ratio."""
    bases = [sizes.steps / turn["base_seconds"] for kind in turns for turn in turns[kind]]
    rows = [{"input": BASE, "steps_per_second": statistics.median(bases)}]
    for kind, measured in turns.items():
        ratios = [turn["seconds"] / turn["base_seconds"] for turn in measured]
        row = {
            "input": kind,
            "steps_per_second": statistics.median(sizes.steps / turn["seconds"] for turn in measured),
            "times_agent": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
            "messages": measured[-1]["messages"],
            "message_bytes": measured[-1]["message_bytes"],
        }
        for part in ("inference", "teaching"):
            if part in measured[-1]:
                row[f"{part}_share"] = statistics.median(turn[part] / turn["seconds"] for turn in measured)
        rows.append(row | {"turns": measured})
    return rows


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| input | steps/s | time per step, times `agent` | inferring | denoiser's learning | messages | bytes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio, shares = row.get("times_agent"), (row.get("inference_share"), row.get("teaching_share"))
        cells = [
            row["input"],
            f"{row['steps_per_second']:.4g}",
            f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})" if ratio else "1",
            *("" if share is None else f"{share:.0%}" for share in shares),
            *(str(row.get(name) or "") for name in ("messages", "message_bytes")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(document: dict) -> str:
    """The page for the documentation."""
    machine, sizes = document["machine"], Sizes(**document["sizes"])
    return f"""# What a policy's input costs

    python -m benchmarks.policy_inputs --out docs/results/policy_inputs.json --page docs/policy_inputs.md

Whole updates of MAPPO on `{sizes.problem}`, {sizes.worlds} worlds × {sizes.rollout} steps, networks of default size
without memory; a denoiser with {sizes.depth} layers of {sizes.width}, {sizes.calls} calls in a step, histories of
{sizes.history} steps, {sizes.denoiser_updates:g} steps of its optimiser for each step of the environment, batches of
{sizes.denoiser_batch}. `safe`, `mean`, `quantile` and `cvar` draw {sizes.samples} states each. `belief`
and `own-belief` infer by a gated chain of {sizes.chain_depth} layers of {sizes.chain_width} on histories of one step,
with one call an agent; it is learned before and stays. On
{machine["processor"]}, {machine["cores"]} cores, {machine["system"]}; medians (and ranges) over {document["rounds"]}
rounds.

{table(document["rows"])}

- **times `agent`**: seconds of {sizes.updates} updates over those of as many by `agent`, timed just before or after.
- **inferring**, **denoiser's learning**: the two parts by themselves, as shares of the whole; noise apart they are what
  the denoiser takes. The rest above `agent` is the larger input of the actor, and Q where there is one.
- **messages**, **bytes**: that the team sends in a step of the environment, all hops together.
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, default=list(INPUTS), help="besides agent")
    parser.add_argument("--problem", default=Sizes.problem)
    for name in ("worlds", "rollout", "updates", "width", "depth", "calls", "samples"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Sizes, name))
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--page", type=Path, help="Markdown file")
    parser.add_argument("--sizes", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--serve", metavar="INPUT", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    if arguments.serve:
        return serve_input(arguments.serve, Sizes(**arguments.sizes))
    names = ("problem", "worlds", "rollout", "updates", "width", "depth", "calls", "samples")
    sizes = Sizes(**{name: getattr(arguments, name) for name in names})
    for number, rows in enumerate(measure(sizes, arguments.inputs, arguments.rounds), start=1):
        document = {"machine": describe_machine(), "sizes": asdict(sizes), "rounds": number, "rows": rows}
        keep(document, arguments, page)
        if number == arguments.rounds:
            print(table(rows))


if __name__ == "__main__":
    main()
