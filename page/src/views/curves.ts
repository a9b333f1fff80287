// Learning curves as they grow: for each network a plot of every measure, and the latest points as a table.

import uPlot from "uplot";

import { element, say, set } from "../dom";
import { number } from "../format";
import { axes, colour } from "./plot";

export type Point = Record<string, number | null>;

const NAMES: Record<string, string> = {
  denoiser: "Denoiser",
  answers: "Answers of fusion",
  team_denoiser: "Team denoiser",
  chain: "Chain",
  over_time: "Over time",
  policy: "Policy",
};
const ACROSS = ["steps", "step"]; // what a point is plotted over: the first that it has
const NOT_PLOTTED = new Set(["step", "steps", "seconds", "update"]);
const HEIGHT = 150;
const LISTED = 100; // of the latest points
const WIDE = 30; // the largest as a multiple of the smallest, from which the scale is logarithmic

/** One measure over the steps. */
class Curve {
  readonly root: HTMLElement;
  readonly across: number[] = [];
  readonly values: (number | null)[] = [];
  private readonly title = element("figcaption");
  private readonly place = element("div", { class: "plot small" });
  private readonly name: string;
  private plot: uPlot | null = null;
  private logarithmic = false;

  constructor(network: string, measure: string) {
    this.name = measure.replaceAll("_", " ").replace("psnr", "PSNR");
    this.root = element("figure", { "data-network": network, "data-measure": measure }, this.title, this.place);
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.make());
  }

  get known(): number[] {
    return this.values.filter((value): value is number => value !== null);
  }

  draw(): void {
    const known = this.known;
    const latest = known.at(-1) ?? NaN;
    say(this.title, `${this.name}: ${number(latest)}`);
    set(this.root, { "data-count": known.length, "data-latest": latest });
    const low = known.reduce((least, value) => Math.min(least, value), Infinity);
    const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
    const logarithmic = low > 0 && high > WIDE * low;
    if (this.plot === null || logarithmic !== this.logarithmic) {
      this.logarithmic = logarithmic;
      this.make();
    } else this.plot.setData([this.across, this.values]);
    this.plot?.root.querySelector("canvas")?.setAttribute("aria-label", `${this.name} over the steps; the latest is ${number(latest)}`);
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(220, this.place.clientWidth), height: HEIGHT };
  }

  /** Which values have a line: on a logarithmic scale the powers of ten alone. */
  private marks(value: number): number | null {
    return this.logarithmic && !Number.isInteger(+Math.log10(value).toFixed(6)) ? null : value;
  }

  private make(): void {
    if (!this.place.isConnected) return;
    this.plot?.destroy();
    const { axis } = axes();
    this.plot = new uPlot(
      {
        ...this.size(),
        cursor: { show: false },
        legend: { show: false },
        scales: { x: { time: false }, y: this.logarithmic ? { distr: 3 } : { range: (_, low, high) => rangeOf(low, high) } },
        series: [{}, { stroke: colour("belief"), width: 2, spanGaps: true, points: { show: this.across.length < 25 } }],
        axes: [
          { ...axis, size: 26, values: (_, all) => all.map(short) },
          { ...axis, grid: { ...axis.grid, filter: (_, all) => all.map((value) => this.marks(value)) }, size: 60, values: (_, all) => all.map((value) => (value === null ? "" : number(value))) },
        ],
      },
      [this.across, this.values],
      this.place,
    );
    this.plot.root.querySelector("canvas")?.setAttribute("role", "img");
  }
}

/** All measures of one network. */
class Network {
  readonly root: HTMLElement;
  private readonly name: string;
  private readonly points: Point[] = [];
  private readonly curves = new Map<string, Curve>();
  private readonly plots = element("div", { class: "curves" });
  private readonly table = element("table", { class: "listed" });
  private readonly details: HTMLDetailsElement;

  constructor(name: string) {
    this.name = name;
    const scroller = element("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Points" }, this.table);
    this.details = element("details", {}, element("summary", {}, `The latest ${LISTED} points in numbers`), scroller);
    this.details.addEventListener("toggle", () => this.list());
    this.root = element("section", { class: "network" }, element("h3", {}, NAMES[name] ?? name), this.plots, this.details);
  }

  add(points: readonly Point[]): void {
    for (const point of points) {
      this.points.push(point);
      const across = point[ACROSS.find((name) => name in point)!]!;
      for (const measure of Object.keys(point)) {
        if (NOT_PLOTTED.has(measure)) continue;
        const curve = this.curve(measure);
        curve.across.push(across);
        curve.values.push(point[measure]!);
      }
    }
  }

  draw(): void {
    for (const curve of this.curves.values()) {
      curve.root.hidden = curve.known.length === 0; // such as a win rate where nobody wins
      if (!curve.root.hidden) curve.draw();
    }
    this.list();
  }

  private curve(measure: string): Curve {
    let curve = this.curves.get(measure);
    if (curve === undefined) {
      this.curves.set(measure, (curve = new Curve(this.name, measure)));
      this.plots.append(curve.root);
    }
    return curve;
  }

  private list(): void {
    if (!this.details.open) return;
    const names = [...new Set(this.points.flatMap((point) => Object.keys(point)))];
    const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name.replaceAll("_", " "))));
    const rows = this.points.slice(-LISTED).map((point) =>
      element("tr", {}, ...names.map((name) => element("td", { "data-value": String(point[name] ?? "") }, number(point[name] ?? NaN)))),
    );
    this.table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows.reverse()));
  }
}

export class CurvesPanel {
  readonly root = element("section", { "aria-labelledby": "curves" }, element("h2", { id: "curves" }, "Learning curves"));
  private readonly none = element("p", { class: "hint" }, "There is no point yet: programs are compiled first, then some steps are made.");
  private readonly networks = new Map<string, Network>();
  private waiting = false;

  constructor() {
    this.root.append(this.none);
  }

  add(name: string, points: readonly Point[]): void {
    let network = this.networks.get(name);
    if (network === undefined) {
      this.networks.set(name, (network = new Network(name)));
      this.root.append(network.root);
    }
    this.none.hidden = true;
    network.add(points);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      for (const each of this.networks.values()) each.draw();
    });
  }
}

/** What the axis of values spans: around one value a little, or the lines of nothing but zeros would reach to 100. */
function rangeOf(low: number, high: number): uPlot.Range.MinMax {
  return low === high ? [low - 0.5 * (Math.abs(low) || 1), low + 0.5 * (Math.abs(low) || 1)] : uPlot.rangeNum(low, high, 0.1, true);
}

/** Many steps in few letters. */
function short(steps: number): string {
  if (steps >= 1e6) return `${number(steps / 1e6)}M`;
  return steps >= 1e4 ? `${number(steps / 1e3)}k` : String(steps);
}
