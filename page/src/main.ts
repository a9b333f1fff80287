// Opens the page: decodes the data, makes the panels, and keeps them, the view and the address in step.

import { decode, DamagedPage } from "./decode";
import { element, say } from "./dom";
import { Inference, WORDS } from "./inference";
import { LiveTeam } from "./live_team";
import { TrainingPage } from "./training";
import { addressOf, viewOf, type Limits, type View } from "./view";
import { AgentsPanel } from "./views/agents";
import { Controls } from "./views/controls";
import { FeaturesPanel } from "./views/features";
import type { MapPanel } from "./views/map";
import { mapOf } from "./views/map_of";
import { PointsPanel } from "./views/points";
import { Summary } from "./views/summary";
import { Timeline } from "./views/timeline";
import { ToldPanel } from "./views/told";
import { World } from "./world";

const COUNTED =
  "Agents, episodes and steps are counted from 1 here, and from 0 in code and in the address of this page; names of features are those of the data.";

const LATER = 100; // milliseconds: browsers refuse an address that changes at every frame

class Page {
  private readonly world: World;
  private readonly inference: Inference;
  private readonly limits: Limits;
  private view: View;
  private readonly fault = element("p", { class: "fault", role: "alert" });
  private readonly lead = element("p", { class: "lead" });
  private readonly controls: Controls;
  private readonly agents: AgentsPanel;
  private readonly summary: Summary;
  private readonly features: FeaturesPanel;
  private readonly timeline: Timeline;
  private readonly map: MapPanel | null;
  private readonly points: PointsPanel | null;
  private readonly told: ToldPanel | null;
  private readonly live: LiveTeam | null;
  private waiting = false;
  private later: number | undefined;

  constructor(world: World, root: HTMLElement) {
    this.world = world;
    this.inference = new Inference(world);
    this.limits = { lengths: world.header.lengths, numAgents: world.numAgents, ways: this.inference.ways };
    this.view = this.read();
    const change = (changed: Partial<View>) => this.chosen(changed);
    const view = () => this.view;
    this.controls = new Controls(this.limits, change, view);
    this.agents = new AgentsPanel(world, this.limits, this.controls.message, change, view);
    this.summary = new Summary(world);
    this.features = new FeaturesPanel(world);
    this.timeline = new Timeline(world, this.inference, (step) => this.chosen({ step }));
    this.map = mapOf(world, (agent) => this.toggle(agent));
    this.points = this.inference.composite ? new PointsPanel(world, this.inference.composite) : null;
    this.told = world.told && new ToldPanel(world, world.told);
    this.live = world.told && new LiveTeam(world, world.told, (changed) => this.change(changed));
    this.lay(root);
    window.addEventListener("hashchange", () => {
      if (location.hash === addressOf(this.view, this.limits)) return;
      this.view = this.read();
      this.live?.stay();
      this.draw();
    });
    this.draw();
  }

  private read(): View {
    const { view, faults } = viewOf(location.hash, this.limits);
    say(this.fault, faults.join(" "));
    return view;
  }

  private toggle(agent: number): void {
    const muted = new Set(this.view.muted);
    if (!muted.delete(agent)) muted.add(agent);
    this.change({ muted });
  }

  private lay(root: HTMLElement): void {
    const { header } = this.world;
    const notes = [COUNTED, ...this.remarks(), ...header.notes].map((note) => element("li", {}, note));
    const left = this.map ? [this.map.root] : [this.features.root];
    const right = [this.summary.root, this.agents.root, this.timeline.root];
    root.replaceChildren(
      element("header", {}, element("h1", {}, header.title), this.lead),
      this.fault,
      ...(this.live ? [this.live.panel.root] : []),
      this.controls.root,
      element("div", { class: "columns" }, element("div", { class: "left" }, ...left), element("div", { class: "right" }, ...right)),
      ...(this.told ? [this.told.root] : []),
      ...(this.map ? [this.features.root] : []),
      ...(this.points ? [this.points.root] : []),
      element("footer", {}, element("h2", {}, "Good to know"), element("ul", {}, ...notes)),
    );
  }

  /** What rounding and measuring have to say. */
  private remarks(): string[] {
    const { answers, intervals, map, reasons } = this.world.header;
    const remarks: string[] = [];
    if (!map) remarks.push("This world has no map that the page knows of: its features are shown as rows.");
    if (answers && answers.changed > 1e-6) {
      const kept = answers.kept ? ` and of each answer the ${answers.kept} largest weights are kept` : "";
      remarks.push(
        `Answers are rounded to ${answers.bits} bits${kept}: estimates of the whole team differ by at most ` +
          `${answers.changed.toExponential(1)} of a feature's range from those of the program.`,
      );
    }
    if (intervals) remarks.push(`Intervals were measured on ${intervals.by}, for fusion; else they are two deviations wide.`);
    if (reasons) remarks.push("Who is in doubt is judged with all agents taking part.");
    remarks.push("Keys: ← and → step, Home and End, space plays; Tab and Enter mute agents.");
    return remarks;
  }

  /** What somebody chose: the newest step is then shown no longer by itself. */
  private chosen(changed: Partial<View>): void {
    if (changed.step !== undefined || changed.episode !== undefined) this.live?.stay();
    this.change(changed);
  }

  private change(changed: Partial<View>): void {
    this.view = { ...this.view, ...changed };
    say(this.fault, "");
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
      window.clearTimeout(this.later);
      this.later = window.setTimeout(() => this.address(), LATER);
    });
  }

  /** Tells the view in the address; one that shows the newest step would show an old one when it is opened again. */
  private address(): void {
    if (!this.live?.follows) history.replaceState(null, "", addressOf(this.view, this.limits));
  }

  private draw(): void {
    const frame = this.inference.frame(this.view);
    const agents = `${this.world.numAgents} agents, none of which sees everything,`;
    const told = `${agents} run as processes, and tell what they infer when they have heard the others. Shown is the mean of what the chosen agents told.`;
    say(this.lead, this.told ? told : `${agents} infer the state of their world by ${WORDS[this.view.by]}.`);
    this.controls.update(this.view, frame);
    this.agents.update(this.view, frame);
    this.summary.update(frame, this.view);
    this.map?.update(frame, this.view);
    this.features.update(frame);
    this.timeline.update(this.view);
    this.points?.update(frame, this.view);
    this.told?.update(frame.row);
  }
}

async function open(): Promise<void> {
  const root = document.getElementById("page")!;
  const data = document.getElementById("data");
  try {
    const text = data?.textContent ?? "";
    const content = await decode(text.trim(), Number(data?.dataset.size ?? -1));
    data?.remove();
    const world = new World(content);
    if (world.header.live?.kind === "training") new TrainingPage(world, root);
    else new Page(world, root);
    root.dataset.opened = String(Math.round(performance.now()));
  } catch (error) {
    const told = error instanceof DamagedPage ? error.message : `This page cannot be shown: ${String(error)}`;
    root.append(element("p", { class: "fault", role: "alert" }, told));
    document.getElementById("opening")?.remove();
  }
}

document.addEventListener("DOMContentLoaded", () => void open());
