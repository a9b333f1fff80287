// What of the episodes is looked at: it stands in the page's address, counted from 0, and is read from there.

export type By = "fusion" | "composite" | "samples" | "told";

/** Everything that can be chosen. `order` holds all agents, as they speak; those in `muted` do not. */
export interface View {
  episode: number;
  step: number;
  order: number[];
  muted: ReadonlySet<number>;
  by: By;
  hops: number | null; // all of them where null
}

export interface Limits {
  lengths: readonly number[];
  numAgents: number;
  ways: readonly By[];
}

export function firstView(limits: Limits): View {
  return { episode: 0, step: 0, order: everyone(limits), muted: new Set(), by: limits.ways[0]!, hops: null };
}

export function chosenOf(view: View): number[] {
  return view.order.filter((agent) => !view.muted.has(agent));
}

/** `#episode=3&step=17&agents=1,2,5`: what is left out is as usual; agents in the order in which they speak. */
export function addressOf(view: View, limits: Limits): string {
  const parts = [`episode=${view.episode}`, `step=${view.step}`];
  const chosen = chosenOf(view);
  if (chosen.length < limits.numAgents || chosen.some((agent, place) => agent !== place)) {
    parts.push(`agents=${chosen.join(",")}`);
  }
  if (view.by !== limits.ways[0]) parts.push(`by=${view.by}`);
  if (view.hops !== null) parts.push(`hops=${view.hops}`);
  return `#${parts.join("&")}`;
}

/** The view that an address names, as far as the page has it, and sentences on what it has not. */
export function viewOf(address: string, limits: Limits): { view: View; faults: string[] } {
  const given = new URLSearchParams(address.replace(/^#/, ""));
  const faults: string[] = [];
  const whole = (name: string, below: number, usual: number): number => {
    const text = given.get(name);
    if (text === null) return usual;
    const value = Number(text);
    if (/^\d+$/.test(text) && value < below) return value;
    faults.push(`The address asks for ${name} ${text.slice(0, 20)}; there are 0 to ${below - 1}.`);
    return usual;
  };
  const view = firstView(limits);
  view.episode = whole("episode", limits.lengths.length, 0);
  view.step = whole("step", limits.lengths[view.episode]!, 0);
  if (given.has("hops")) view.hops = whole("hops", 1_000_000, 0);
  const by = given.get("by");
  if (by !== null && limits.ways.includes(by as By)) view.by = by as By;
  else if (by !== null) faults.push("The address asks for a way to infer that this page does not have.");
  const named = given.get("agents");
  if (named !== null) {
    const chosen = agentsOf(named.split(",").filter((part) => part !== ""), limits.numAgents, 0);
    if (chosen === null) faults.push("The address names agents that are not there, or one twice; all take part.");
    else Object.assign(view, chosenFirst(chosen, limits));
  }
  return { view, faults };
}

/** Agents that a text names, counted from `first`; null where one is not there or named twice. */
export function agentsOf(parts: readonly string[], numAgents: number, first: number): number[] | null {
  const agents = parts.map((part) => (/^\d+$/.test(part) ? Number(part) - first : NaN));
  const known = agents.every((agent) => agent >= 0 && agent < numAgents);
  return known && new Set(agents).size === agents.length ? agents : null;
}

/** These agents in this order; all others are muted and come after them. */
export function chosenFirst(chosen: readonly number[], limits: Limits): Pick<View, "order" | "muted"> {
  const others = everyone(limits).filter((agent) => !chosen.includes(agent));
  return { order: [...chosen, ...others], muted: new Set(others) };
}

function everyone(limits: Limits): number[] {
  return Array.from({ length: limits.numAgents }, (_, agent) => agent);
}
