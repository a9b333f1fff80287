// A sensor network: sensors as squares, areas between them as rounds whose colour is the chance of a target.

import type { WorldMap } from "../decode";
import { drawn, say, set } from "../dom";
import { asChance } from "../format";
import { isWrong, type Frame } from "../inference";
import type { View } from "../view";
import type { World } from "../world";
import { starPath, type Drawing } from "./map";

type SensorMap = Extract<WorldMap, { kind: "sensors" }>;
type Place = [number, number];

const MARGIN = 0.42; // of the distance between sensors
const NUMBERED = 58; // pixels between sensors, from which they carry their numbers

interface Area {
  chance: SVGCircleElement;
  text: SVGTextElement | null;
}

/** Marks of one kind as one path, since hundreds of elements that come and go at every step are slow to paint. */
class Marks {
  readonly path: SVGPathElement;
  private readonly parts: readonly string[];

  constructor(name: string, parts: readonly string[]) {
    this.path = drawn("path", { class: name });
    this.parts = parts;
  }

  show(isShown: (place: number) => boolean): void {
    const shown = this.parts.map((_, place) => place).filter(isShown);
    set(this.path, { d: shown.map((place) => this.parts[place]).join(""), "data-shown": shown.join() });
  }
}

export class SensorDrawing implements Drawing {
  readonly legend: [string, string][];
  private readonly world: World;
  private readonly map: SensorMap;
  private readonly toggle: (agent: number) => void;
  private readonly low: Place;
  private readonly high: Place;
  private areas: Area[] = [];
  private sensors: SVGRectElement[] = [];
  private readonly links: readonly { agent: number; slot: number; area: number }[];
  private seen = new Marks("link seen", []);
  private targets = new Marks("target", []);
  private missed = new Marks("missed-mark", []);
  private doubts = new Marks("doubt-mark", []);
  private message = drawn("g");
  private below = 24; // pixels from the middle of a sensor to the message
  private way = drawn("line");
  private places: Place[] = [];

  constructor(world: World, map: SensorMap, toggle: (agent: number) => void) {
    this.world = world;
    this.map = map;
    this.toggle = toggle;
    const links = map.slots.flatMap((areas, agent) => areas.map((area, slot) => ({ agent, slot, area })));
    this.links = links.filter(({ area }) => area in map.areas);
    const all = [...map.sensors, ...map.areas];
    const edge = (axis: 0 | 1, of: (...values: number[]) => number) => of(...all.map((place) => place[axis]));
    this.low = [edge(0, Math.min) - MARGIN, edge(1, Math.min) - MARGIN];
    this.high = [edge(0, Math.max) + MARGIN, edge(1, Math.max) + MARGIN];
    this.legend = [
      ["sensor", "agent: a sensor, which watches the areas it is joined to"],
      ["chance", "area: the bluer, the likelier a target is there, in percent, as the team believes"],
      ["target", "a target, in truth"],
      ["seen", "a sensor sees a target"],
      ["missed", "the team is wrong there"],
    ];
    if (!world.header.live) this.legend.push(["message", "where the message is"]);
    if (world.arrays.doubted || world.told) this.legend.push(["doubt", "an agent in doubt"]);
  }

  height(width: number): number {
    return (width * (this.high[1] - this.low[1])) / (this.high[0] - this.low[0]);
  }

  lay(canvas: SVGSVGElement, width: number, height: number): void {
    const unit = Math.min(width / (this.high[0] - this.low[0]), height / (this.high[1] - this.low[1]));
    const left = (width - unit * (this.high[0] - this.low[0])) / 2;
    const at = ([x, y]: Place): Place => [left + unit * (x - this.low[0]), unit * (this.high[1] - y)];
    const areas = this.map.areas.map(at);
    this.places = this.map.sensors.map(at);
    const radius = Math.min(20, Math.max(5, 0.2 * unit));
    const half = Math.min(17, Math.max(6, 0.17 * unit));
    this.below = Math.min(half + 12, MARGIN * unit - 8);
    this.sensors = this.places.map((place, agent) => this.sensor(canvas, place, agent, half, unit));
    const lines = this.links.map(({ agent, area }) => `M${this.places[agent]!.join(" ")}L${areas[area]!.join(" ")}`);
    this.seen = new Marks("link seen", lines);
    this.way = drawn("line", { class: "way" });
    canvas.prepend(drawn("path", { class: "link", d: lines.join("") }), this.seen.path, this.way);
    this.layAreas(canvas, areas, radius);
    this.doubts = new Marks("doubt-mark", this.places.map(([x, y]) => `M${x + half} ${y - half - 9}l8 14h-16z`));
    this.message = drawn("g", {}, drawn("path", { class: "message", d: "M-9 -6H9V6H-9ZM-9 -6L0 1L9 -6" }));
    canvas.append(this.doubts.path, this.message);
  }

  private sensor(canvas: SVGSVGElement, [x, y]: Place, agent: number, half: number, unit: number): SVGRectElement {
    const box = drawn("rect", { class: "sensor", x: x - half, y: y - half, width: 2 * half, height: 2 * half, rx: 4 });
    box.addEventListener("click", () => this.toggle(agent));
    const text = drawn("text", { class: "on-map", x, y: y + 4.5 }, unit >= NUMBERED ? String(agent + 1) : "");
    canvas.append(box, text);
    return box;
  }

  private layAreas(canvas: SVGSVGElement, areas: Place[], radius: number): void {
    const size = Math.max(6, 0.55 * radius);
    const aside = 0.75 * radius;
    this.targets = new Marks("target", areas.map(([x, y]) => starPath(size, x + aside, y - aside)));
    this.missed = new Marks("missed-mark", areas.map(([x, y]) => crossPath(0.45 * radius, x - aside, y + aside)));
    this.areas = areas.map(([x, y]) => ({
      chance: drawn("circle", { class: "chance", cx: x, cy: y, r: radius }),
      text: radius >= 15 ? drawn("text", { class: "on-map", x, y: y + 4.5 }) : null,
    }));
    const grounds = areas.map(([x, y]) => drawn("circle", { class: "area", cx: x, cy: y, r: radius }));
    canvas.append(...grounds, ...this.areas.map(({ chance }) => chance), this.targets.path, this.missed.path);
    canvas.append(...this.areas.flatMap(({ text }) => text ?? [])); // above the marks, to be read
  }

  show(frame: Frame, view: View): void {
    this.areas.forEach((area, k) => {
      const mean = frame.belief.mean[k]!;
      const shown = asChance(mean);
      set(area.chance, { "fill-opacity": Number.isNaN(mean) ? 0 : shown, "data-mean": mean });
      if (area.text) {
        say(area.text, Number.isNaN(mean) ? "–" : (100 * asChance(mean)).toFixed(0));
        set(area.text, { "data-dark": shown > 0.55 });
      }
    });
    this.targets.show((k) => frame.truth[k]! > 0.5);
    this.missed.show((k) => isWrong(frame, false, k));
    this.showSensors(frame, view);
    this.showMessage(frame);
  }

  private showSensors({ row, speaker }: Frame, view: View): void {
    const { arrays, numAgents } = this.world;
    const muted = this.sensors.map((_, agent) => view.muted.has(agent) || !this.world.isThere(row, agent));
    this.sensors.forEach((box, agent) => set(box, { "data-muted": muted[agent]!, "data-speaker": agent === speaker }));
    this.doubts.show((agent) => this.world.doubt(row, agent) !== null);
    const { observed } = arrays;
    if (!observed) return;
    const slots = this.map.slots[0]!.length;
    this.seen.show((place) => {
      const { agent, slot } = this.links[place]!;
      return observed[(row * numAgents + agent) * slots + slot]! > 0.5 && !muted[agent];
    });
  }

  private showMessage({ speaker, before }: Frame): void {
    const here = speaker === null ? null : this.places[speaker]!;
    const there = before === null ? null : this.places[before]!;
    set(this.message, here ? { transform: `translate(${here[0]} ${here[1] + this.below})`, visibility: "visible" } : { visibility: "hidden" });
    const ends = here && there ? { x1: there[0], y1: there[1], x2: here[0], y2: here[1], visibility: "visible" } : null;
    set(this.way, ends ?? { visibility: "hidden" });
  }
}

/** A cross around a place. */
function crossPath(arm: number, x: number, y: number): string {
  return `M${x - arm} ${y - arm}L${x + arm} ${y + arm}M${x + arm} ${y - arm}L${x - arm} ${y + arm}`;
}
