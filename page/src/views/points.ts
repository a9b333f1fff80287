// What one agent holds possible: the fixed points of its denoiser in two features, and the basins around them.

import { drawn, element, set } from "../dom";
import { number, percent } from "../format";
import { flow, nearest, search, widest, type Point } from "../fixed_points";
import type { Composite } from "../composite";
import type { Frame } from "../inference";
import type { View } from "../view";
import type { World } from "../world";

const SIZE = 336;
const LOW = -0.5;
const HIGH = 1.5; // of the plane, scaled
const CELLS = 24;
const SIDE = SIZE / CELLS; // whole pixels, or seams show between the shades
const BASIN_STEPS = 60;
const SLICE = 12; // milliseconds
const COLOURS = 6; // in the style; groups beyond share the last
const NEAR = 0.25; // of the range: points that are no further apart in the two features are one group of dots

export class PointsPanel {
  readonly root: HTMLDetailsElement;
  private readonly world: World;
  private readonly composite: Composite;
  private readonly agent = element("select", { id: "points-agent" });
  private readonly axes = [element("select", { id: "points-x" }), element("select", { id: "points-y" })] as const;
  private readonly canvas = drawn("svg", { class: "points", role: "img", width: SIZE, height: SIZE, viewBox: `0 0 ${SIZE} ${SIZE}` });
  private readonly list = element("ul", { class: "point-list", "aria-live": "polite" });
  private running = 0;
  private frame: Frame | null = null;
  private key = "";
  private chosen = false; // whether somebody chose the two features

  constructor(world: World, composite: Composite) {
    this.world = world;
    this.composite = composite;
    world.header.agents.forEach((name, agent) => this.agent.append(element("option", { value: agent }, name)));
    this.axes.forEach((axis, place) => {
      world.header.features.forEach((name, k) => axis.append(element("option", { value: k }, name)));
      axis.value = String(Math.min(place, world.size - 1));
    });
    const choices: [string, HTMLSelectElement][] = [["Agent", this.agent], ["Across", this.axes[0]], ["Up", this.axes[1]]];
    for (const axis of this.axes) axis.addEventListener("change", () => (this.chosen = true));
    for (const [, select] of choices) select.addEventListener("change", () => this.restart());
    const fields = choices.map(([text, select]) => element("div", { class: "field" }, element("label", { for: select.id }, text), select));
    const hint =
      "Dots: the states that the agent alone holds possible, the fixed points of its denoiser; the larger, the more starts end there; those that lie together in these two features share a colour. " +
      "Shades: near which of them a start in this plane ends, all other features at their mean. " +
      "Dashed: the range of the two features, from the lowest to the highest value.";
    this.root = element(
      "details",
      { class: "fixed-points" },
      element("summary", {}, element("h2", {}, "What one agent holds possible")),
      element("p", { class: "hint" }, hint),
      element("div", { class: "row" }, ...fields),
      element("div", { class: "row" }, this.canvas, this.list),
    );
    this.root.addEventListener("toggle", () => this.restart());
  }

  update(frame: Frame, view: View): void {
    this.frame = frame;
    const key = `${view.episode}:${view.step}`;
    if (key !== this.key) {
      this.key = key;
      this.restart();
    }
  }

  private restart(): void {
    const run = ++this.running;
    if (!this.root.open || this.frame === null) return;
    const work = this.work(this.frame.row, Number(this.agent.value));
    set(this.root, { "data-whole": false });
    const slice = () => {
      if (run !== this.running) return;
      const until = performance.now() + SLICE;
      while (performance.now() < until) if (work.next().done) return set(this.root, { "data-whole": true });
      window.setTimeout(slice);
    };
    slice();
  }

  private *work(row: number, agent: number): Generator<void, void, void> {
    const { network } = this.composite;
    if (!this.world.isThere(row, agent)) {
      this.canvas.replaceChildren();
      return this.list.replaceChildren(element("li", {}, "This agent is not there at this step."));
    }
    const context = network.condition(row, agent);
    const points = yield* search(network, context, this.starts());
    if (!this.chosen && points.length > 1) widest(points).forEach((k, axis) => (this.axes[axis]!.value = String(k)));
    const [x, y] = this.axes.map((axis) => Number(axis.value)) as [number, number];
    const groups = groupsOf(points, x, y);
    this.draw(points, groups, x, y);
    const shades = drawn("g", { "aria-hidden": "true" });
    this.canvas.prepend(shades);
    for (let cell = 0; cell < CELLS * CELLS; cell++) {
      const start = this.mean();
      start[x] = LOW + ((HIGH - LOW) * ((cell % CELLS) + 0.5)) / CELLS;
      if (y !== x) start[y] = HIGH - ((HIGH - LOW) * (Math.floor(cell / CELLS) + 0.5)) / CELLS;
      const place = nearest(points, flow(network, context, start, BASIN_STEPS).end);
      if (place >= 0) shades.append(this.shade(cell, groups[place]!));
      yield;
    }
  }

  private shade(cell: number, group: number): SVGRectElement {
    const [x, y] = [(cell % CELLS) * SIDE, Math.floor(cell / CELLS) * SIDE];
    return drawn("rect", { class: `basin ${tint(group)}`, x, y, width: SIDE, height: SIDE });
  }

  /** The range of the two features in the plane: a frame, with their lowest and highest values at its sides. */
  private range(x: number, y: number): SVGElement[] {
    const [first, last] = [0, 1].map((value) => (SIZE * (value - LOW)) / (HIGH - LOW)) as [number, number];
    const frame = drawn("rect", { class: "range", x: first, y: first, width: last - first, height: last - first });
    const own = (k: number, value: number) => number(this.world.own(k, value));
    const texts: [string, number, number, string][] = [
      [own(x, 0), first, last + 18, "middle"],
      [own(x, 1), last, last + 18, "middle"],
      [own(y, 0), first - 6, last + 4, "end"],
      [own(y, 1), first - 6, first + 4, "end"],
      [this.world.header.features[x]!, SIZE / 2, SIZE - 10, "middle"],
      [this.world.header.features[y]!, 8, first - 14, "start"],
    ];
    return [frame, ...texts.map(([text, left, top, anchor]) => drawn("text", { class: "name", x: left, y: top, "text-anchor": anchor }, text))];
  }

  private draw(points: readonly Point[], groups: readonly number[], x: number, y: number): void {
    const starts = points.reduce((sum, point) => sum + point.starts, 0);
    const dots = points.map((point, place) => this.dot(point, groups[place]!, point.starts / starts, x, y));
    const named = points.map((_, place) => place).filter((place) => groups.indexOf(groups[place]!) === place);
    this.canvas.replaceChildren(...this.range(x, y), ...dots.reverse(), ...named.map((place) => this.letter(points[place]!, groups[place]!, x, y)));
    set(this.canvas, { "aria-label": `${points.length} fixed points, listed beside` });
    const items = named.map((place) => {
      const members = points.filter((_, other) => groups[other] === groups[place]);
      const share = members.reduce((sum, point) => sum + point.starts, 0) / starts;
      const [own, other] = [x, y].map((k) => `${this.world.header.features[k]} = ${number(this.world.own(k, points[place]!.y[k]!))}`);
      const many = members.length > 1 ? `, ${members.length} states near` : ";";
      return element("li", {}, `${letter(groups[place]!)}: ${percent(share)} of the starts${many} ${own}, ${other}`);
    });
    if (points.length === 0) items.push(element("li", {}, "No start comes to rest."));
    const sentence = points.length === 1 ? "One state is left: this agent needs nobody's help." : "";
    this.list.replaceChildren(...items, ...(sentence ? [element("li", {}, sentence)] : []));
  }

  private dot(point: Point, group: number, share: number, x: number, y: number): SVGCircleElement {
    const [cx, cy] = place(point, x, y);
    const dot = drawn("circle", { class: `point ${tint(group)}`, cx, cy, r: 9 + 8 * share });
    set(dot, { "data-x": point.y[x]!, "data-y": point.y[y]! });
    return dot;
  }

  private letter(point: Point, group: number, x: number, y: number): SVGTextElement {
    const [cx, cy] = place(point, x, y);
    return drawn("text", { class: "on-point", x: cx, y: cy + 4.5 }, letter(group));
  }

  private starts(): Float32Array[] {
    const starts = this.world.arrays.starts as Float32Array;
    return Array.from({ length: starts.length / this.world.size }, (_, place) =>
      starts.slice(place * this.world.size, (place + 1) * this.world.size),
    );
  }

  private mean(): Float32Array {
    const { prior_mean } = this.world.arrays;
    return prior_mean ? Float32Array.from(prior_mean) : new Float32Array(this.world.size).fill(0.5);
  }
}

/** Which group each point is of: points come with most starts first, and the first of a group is in its middle. */
export function groupsOf(points: readonly Point[], x: number, y: number): number[] {
  const firsts: Point[] = [];
  return points.map((point) => {
    const group = firsts.findIndex((first) => [x, y].every((k) => Math.abs(first.y[k]! - point.y[k]!) <= NEAR));
    return group >= 0 ? group : firsts.push(point) - 1;
  });
}

/** Where a point stands on the canvas. */
function place(point: Point, x: number, y: number): [number, number] {
  const [left, up] = [point.y[x]!, point.y[y]!].map((value) => (value - LOW) / (HIGH - LOW)) as [number, number];
  return [SIZE * left, SIZE * (1 - up)];
}

function tint(group: number): string {
  return `point-${Math.min(group, COLOURS - 1)}`;
}

function letter(place: number): string {
  return place < 26 ? String.fromCharCode(65 + place) : String(place + 1);
}
