// Over the steps of an episode: the error, the error that the team expects, and the number of messages.

import uPlot from "uplot";

import { element } from "../dom";
import { axes, colour } from "./plot";
import type { Inference } from "../inference";
import { chosenOf, type View } from "../view";
import { expectedError, rootMeanSquare, type World } from "../world";

const HEIGHT = 190;
const SLICE = 12; // milliseconds of work before the page is let go on

export class Timeline {
  readonly root: HTMLElement;
  private readonly world: World;
  private readonly inference: Inference;
  private readonly jump: (step: number) => void;
  private readonly place = element("div", { class: "plot" });
  private readonly line = element("div", { class: "now" });
  private readonly hint = element("p", { class: "hint" }, "With all messages of each step.");
  private plot: uPlot | null = null;
  private key = "";
  private version = 0;
  private step = 0;
  private series: [number[], number[], number[], number[]] = [[], [], [], []];
  private running = 0;

  constructor(world: World, inference: Inference, jump: (step: number) => void) {
    this.world = world;
    this.inference = inference;
    this.jump = jump;
    this.root = element(
      "section",
      { class: "time", "aria-labelledby": "time" },
      element("h2", { id: "time" }, "Over time"),
      this.hint,
      this.place,
    );
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.make());
  }

  update(view: View): void {
    const key = `${view.episode}:${view.by}:${view.by === "composite" ? chosenOf(view).join() : [...chosenOf(view)].sort().join()}`;
    const version = this.world.told?.version ?? 0;
    if (key !== this.key || version !== this.version) {
      this.key = key;
      this.version = version;
      this.compute(view);
    }
    this.step = view.step;
    this.hint.hidden = view.hops === null;
    this.now();
  }

  /** Computes all steps, a slice at a time, and draws what there is so far. */
  private compute(view: View): void {
    const length = this.world.length(view.episode);
    const steps = Array.from({ length }, (_, step) => step + 1);
    this.series = [steps, Array(length).fill(null), Array(length).fill(null), Array(length).fill(null)];
    const run = ++this.running;
    let step = 0;
    const slice = () => {
      if (run !== this.running) return;
      const until = performance.now() + SLICE;
      while (step < length && performance.now() < until) this.measure(view, step++);
      this.draw();
      if (step < length) window.setTimeout(slice);
      else this.place.dataset.whole = this.key;
    };
    slice();
  }

  private measure(view: View, step: number): void {
    const belief = this.inference.last(view, step);
    const error = rootMeanSquare(belief.mean, this.world.truth(this.world.row(view.episode, step)));
    const values = [100 * error, 100 * expectedError(belief.variance), belief.messages];
    values.forEach((value, place) => (this.series[place + 1]![step] = Number.isNaN(value) ? (null as never) : value));
  }

  private draw(): void {
    if (this.plot === null || this.plot.data[0]!.length !== this.series[0].length) this.make();
    else this.plot.setData(this.series);
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(240, this.place.clientWidth), height: HEIGHT };
  }

  private make(): void {
    if (!this.place.isConnected) return;
    this.plot?.destroy();
    const { axis, labelled } = axes();
    this.plot = new uPlot(
      {
        ...this.size(),
        cursor: { y: false, drag: { setScale: false }, points: { show: false } },
        legend: { live: false },
        scales: { x: { time: false }, "%": { range: (_, __, high) => [0, Math.max(high, 1) * 1.05] }, n: { range: (_, __, high) => [0, Math.max(high, 1) * 1.3] } },
        series: [
          { label: "step" },
          { label: "error", scale: "%", stroke: colour("error"), width: 2.5 },
          { label: "error the team expects (dashed)", scale: "%", stroke: colour("belief"), width: 2.5, dash: [7, 4] },
          { label: "messages (dotted)", scale: "n", stroke: colour("muted"), width: 1.5, dash: [2, 3] },
        ],
        axes: [
          { ...axis, size: 26, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
          { ...labelled, scale: "%", label: "% of the range" },
          { ...labelled, scale: "n", side: 1, gap: 9, label: "messages", grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100] },
        ],
        hooks: { draw: [() => this.now()] },
      },
      this.series,
      this.place,
    );
    this.plot.over.append(this.line);
    this.plot.over.addEventListener("click", () => {
      const place = this.plot?.cursor.idx;
      if (place !== null && place !== undefined) this.jump(place);
    });
    this.plot.root.querySelector("canvas")?.setAttribute("role", "img");
    this.plot.root
      .querySelector("canvas")
      ?.setAttribute("aria-label", "Error, error the team expects, and number of messages, over the steps");
  }

  /** Moves the line at the present step, which is no part of the plot: drawing that anew would slow scrubbing. */
  private now(): void {
    if (this.plot) this.line.style.transform = `translateX(${Math.round(this.plot.valToPos(this.step + 1, "x"))}px)`;
  }
}
