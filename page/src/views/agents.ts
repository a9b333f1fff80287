// Who takes part, and in which order they speak: a button for each agent.

import type { World } from "../world";
import type { Frame } from "../inference";
import { element, say, set } from "../dom";
import { agentsOf, chosenFirst, type Limits, type View } from "../view";

const SPEAKING = "Click an agent to mute it, or to let it speak again.";
const TOLD = "Click an agent to leave its estimate out, or to count it again: with all but one left out, one sees what this one knows.";

export class AgentsPanel {
  readonly root: HTMLElement;
  private readonly world: World;
  private readonly limits: Limits;
  private readonly buttons: HTMLButtonElement[];
  private readonly list = element("div", { class: "agents", role: "group", "aria-label": "Agents, as they speak" });
  private readonly order = element("input", { type: "text", id: "order", autocomplete: "off", spellcheck: "false" });
  private readonly fault = element("p", { class: "fault", role: "alert" });
  private readonly doubts = element("ul", { class: "doubts", "aria-label": "Agents in doubt" });
  private placed = "";

  constructor(
    world: World,
    limits: Limits,
    message: HTMLElement,
    change: (changed: Partial<View>) => void,
    view: () => View,
  ) {
    this.world = world;
    this.limits = limits;
    this.buttons = world.header.agents.map((name, agent) => this.button(name, agent, change, view));
    const everyone = Array.from({ length: limits.numAgents }, (_, agent) => agent);
    const all = command("All", () => change({ muted: new Set() }));
    const none = command("None", () => change({ muted: new Set(everyone) }));
    const shuffle = command("Shuffle", () => change({ order: shuffled(view().order) }));
    const sort = command("By number", () => change({ order: everyone }));
    this.order.addEventListener("change", () => this.read(change));
    this.root = element(
      "section",
      { class: "team", "aria-labelledby": "team" },
      element("h2", { id: "team" }, world.told ? "Whose estimates are shown" : "Who takes part"),
      ...(world.told ? [] : [message]),
      element("p", { class: "hint" }, world.told ? TOLD : SPEAKING),
      this.list,
      element("div", { class: "commands" }, all, none, ...(world.told ? [] : [sort, shuffle])),
      ...(world.told ? [] : [element("div", { class: "field" }, element("label", { for: "order" }, "Speaking in this order"), this.order)]),
      this.fault,
      this.doubts,
    );
  }

  private button(name: string, agent: number, change: (changed: Partial<View>) => void, view: () => View) {
    const short = name === `agent ${agent + 1}` ? String(agent + 1) : name;
    const button = element("button", { type: "button", class: "agent", "data-agent": agent }, short);
    button.addEventListener("click", () => {
      const muted = new Set(view().muted);
      if (!muted.delete(agent)) muted.add(agent);
      change({ muted });
    });
    return button;
  }

  private read(change: (changed: Partial<View>) => void): void {
    const parts = this.order.value.split(/[\s,;]+/).filter((part) => part !== "");
    const agents = agentsOf(parts, this.limits.numAgents, 1);
    say(this.fault, agents ? "" : `Name agents from 1 to ${this.limits.numAgents}, each once, such as 3 1 2.`);
    if (agents) change(chosenFirst(agents, this.limits));
  }

  update(view: View, frame: Frame): void {
    const placed = view.order.join();
    if (placed !== this.placed) this.place(view.order);
    this.placed = placed;
    for (const [agent, button] of this.buttons.entries()) {
      const there = this.world.isThere(frame.row, agent);
      const doubted = this.world.doubt(frame.row, agent) !== null;
      const absent = this.world.told ? ", has told no estimate of this step" : ", not there at this step";
      const state = there ? (doubted ? ", in doubt" : "") : absent;
      set(button, {
        "aria-pressed": String(!view.muted.has(agent)),
        "aria-label": `${this.world.header.agents[agent]}${state}`,
        "data-there": there,
        "data-doubted": doubted,
        "data-speaker": agent === frame.speaker,
      });
    }
    const spoken = view.order.filter((agent) => !view.muted.has(agent)).map((agent) => agent + 1);
    if (document.activeElement !== this.order) this.order.value = spoken.join(" ");
    this.tell(frame.row);
  }

  /** Puts the buttons in order; the one that has the focus keeps it. */
  private place(order: readonly number[]): void {
    const focused = document.activeElement;
    this.list.replaceChildren(...order.map((agent) => this.buttons[agent]!));
    if (focused instanceof HTMLButtonElement && this.list.contains(focused)) focused.focus();
  }

  private tell(row: number): void {
    const texts: string[] = [];
    this.world.header.agents.forEach((name, agent) => {
      const why = this.world.doubt(row, agent);
      if (why !== null) texts.push(`In doubt: ${name} ${why.replace(/\.$/, "")}.`);
    });
    if (texts.join("\n") === [...this.doubts.children].map((item) => item.textContent).join("\n")) return;
    this.doubts.replaceChildren(...texts.map((text) => element("li", {}, text)));
  }
}

function command(text: string, act: () => void): HTMLButtonElement {
  const button = element("button", { type: "button", class: "command" }, text);
  button.addEventListener("click", act);
  return button;
}

function shuffled(order: readonly number[]): number[] {
  const mixed = [...order];
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other]!, mixed[last]!];
  }
  return mixed;
}
