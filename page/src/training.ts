// The page of a training: learning curves as they grow, and what is inferred of a few validation steps meanwhile.

import { element, say, set } from "./dom";
import { percent } from "./format";
import type { Frame } from "./inference";
import { follow } from "./stream";
import { firstView, type View } from "./view";
import { CurvesPanel, type Point } from "./views/curves";
import { FeaturesPanel } from "./views/features";
import { LivePanel } from "./views/live";
import type { MapPanel } from "./views/map";
import { mapOf } from "./views/map_of";
import { rootMeanSquare, type World } from "./world";

const DEVIATIONS = 2; // half an interval's width
const ALONE = "Learning curves as they grow.";
const SHOWN = {
  steps: {
    lead: "Learning curves as they grow, and what is inferred meanwhile of steps that training does not see.",
    field: "Validation step",
    none: "Nothing has been inferred yet; that is done now and then, as the run's settings say.",
  },
  worlds: {
    lead: "Learning curves as they grow, and what the agents infer meanwhile of the worlds that they play in.",
    field: "World in play",
    none: "Nothing has been inferred yet: that is done once the team plays.",
  },
};

interface Inferred {
  by: string;
  step: number;
  mean: (number | null)[][];
  variance: (number | null)[][];
  truth?: number[][]; // of worlds in play, which go on
  observed?: number[][][];
}

export class TrainingPage {
  private readonly live = new LivePanel();
  private readonly curves = new CurvesPanel();

  constructor(world: World, root: HTMLElement) {
    const { live, notes, title } = world.header;
    const words = SHOWN[live?.shown ?? "steps"];
    const shown = world.size > 0 ? new Reconstruction(world, words) : null;
    const right = shown ? [element("div", { class: "right" }, shown.root)] : [];
    const leads = [shown ? words.lead : ALONE, ...notes].map((text) => element("p", { class: "lead" }, text));
    root.replaceChildren(
      element("header", {}, element("h1", {}, title), ...leads),
      this.live.root,
      element("div", { class: shown ? "columns" : "alone" }, element("div", { class: "left" }, this.curves.root), ...right),
      element("footer", {}, element("p", {}, "Agents and steps of episodes are counted from 1 here, and from 0 in code.")),
    );
    shown?.update();
    const hear = {
      points: ({ network, points }: { network: string; points: Point[] }) => this.curves.add(network, points),
      inferred: (inferred: Inferred) => shown?.receive(inferred),
      progress: ({ step, planned, note }: { step: number; planned: number; note: string }) => {
        this.live.far(step, planned);
        this.live.say(`Step ${step.toLocaleString("en")} of ${planned.toLocaleString("en")}; ${note}`);
      },
      end: ({ text }: { text: string }) => this.live.end(text),
    };
    follow(hear, (state) => this.live.stands(state));
  }
}

/** The truth of some steps, and what was inferred of them last. */
class Reconstruction {
  readonly root: HTMLElement;
  private readonly world: World;
  private readonly view: View;
  private readonly none: string;
  private readonly slider = element("input", { type: "range", id: "shown", min: 0, value: 0 });
  private readonly which = element("output", { for: "shown" });
  private readonly sentence = element("p", { class: "verdict", role: "status" });
  private readonly map: MapPanel | null;
  private readonly features: FeaturesPanel;
  private inferred: Inferred | null = null;

  constructor(world: World, words: { field: string; none: string }) {
    this.world = world;
    this.none = words.none;
    this.view = firstView({ lengths: world.header.lengths, numAgents: world.numAgents, ways: ["told"] });
    this.map = mapOf(world, () => undefined);
    this.features = new FeaturesPanel(world);
    set(this.slider, { max: world.header.lengths.length - 1 });
    this.slider.addEventListener("input", () => this.update());
    const chosen = element("div", { class: "field wide" }, element("label", { for: "shown" }, words.field), this.slider, this.which);
    const parts = [chosen, this.sentence, ...(this.map ? [this.map.root] : []), this.features.root];
    this.root = element("section", { class: "inferred", "aria-labelledby": "inferred" }, element("h2", { id: "inferred" }, "What is inferred so far"), ...parts);
  }

  receive(inferred: Inferred): void {
    this.inferred = inferred;
    if (inferred.truth) this.world.replace("states", inferred.truth.flat());
    if (inferred.observed) this.world.replace("observed", inferred.observed.flat(2));
    this.update();
  }

  update(): void {
    const row = Number(this.slider.value);
    const frame = this.frame(row);
    say(this.which, `${row + 1} of ${this.world.header.lengths.length}`);
    say(this.sentence, this.told(frame));
    this.map?.update(frame, this.view);
    this.features.update(frame);
  }

  private frame(row: number): Frame {
    const values = (rows: (number | null)[][] | undefined) =>
      Float64Array.from({ length: this.world.size }, (_, k) => rows?.[row]?.[k] ?? NaN);
    const belief = { mean: values(this.inferred?.mean), variance: values(this.inferred?.variance), messages: 0 };
    const half = belief.variance.map((variance, k) => (this.world.isNumber[k] ? DEVIATIONS * Math.sqrt(variance) : NaN));
    const present = this.view.order;
    return { row, truth: this.world.truth(row), belief, half, present, hops: 0, allHops: 0, speaker: null, before: null };
  }

  private told({ belief, truth }: Frame): string {
    if (this.inferred === null) return this.none;
    const error = percent(rootMeanSquare(belief.mean, truth));
    return `By ${this.inferred.by}, after ${this.inferred.step.toLocaleString("en")} steps of training: an error of ${error} of the range.`;
  }
}
