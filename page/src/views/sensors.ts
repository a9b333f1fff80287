// A sensor network: sensors as squares, areas between them as rounds whose colour is the chance of a target.

import type { WorldMap } from "../decode";
import { drawn, say, set } from "../dom";
import { asChance } from "../format";
import { isWrong, type Frame } from "../inference";
import type { View } from "../view";
import type { World } from "../world";
import { STAR, type Drawing } from "./map";

type SensorMap = Extract<WorldMap, { kind: "sensors" }>;
type Place = [number, number];

const MARGIN = 0.42; // of the distance between sensors
const NUMBERED = 58; // pixels between sensors, from which they carry their numbers

interface Area {
  chance: SVGCircleElement;
  text: SVGTextElement | null;
  target: SVGPathElement;
  missed: SVGPathElement;
}

interface Sensor {
  box: SVGRectElement;
  doubt: SVGPathElement;
  links: { line: SVGLineElement; slot: number }[];
}

export class SensorDrawing implements Drawing {
  readonly legend: [string, string][];
  private readonly world: World;
  private readonly map: SensorMap;
  private readonly toggle: (agent: number) => void;
  private readonly low: Place;
  private readonly high: Place;
  private areas: Area[] = [];
  private sensors: Sensor[] = [];
  private message = drawn("g");
  private below = 24; // pixels from the middle of a sensor to the message
  private way = drawn("line");
  private places: Place[] = [];

  constructor(world: World, map: SensorMap, toggle: (agent: number) => void) {
    this.world = world;
    this.map = map;
    this.toggle = toggle;
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
    this.below = half + 12;
    const links = drawn("g");
    this.sensors = this.places.map((place, agent) => this.sensor(canvas, links, place, agent, half, unit, areas));
    this.way = drawn("line", { class: "way" });
    canvas.prepend(links, this.way);
    this.areas = areas.map((place) => this.area(canvas, place, radius));
    this.message = drawn("g", {}, drawn("path", { class: "message", d: "M-9 -6H9V6H-9ZM-9 -6L0 1L9 -6" }));
    canvas.append(this.message);
  }

  private sensor(
    canvas: SVGSVGElement,
    links: SVGGElement,
    [x, y]: Place,
    agent: number,
    half: number,
    unit: number,
    areas: Place[],
  ): Sensor {
    const box = drawn("rect", { class: "sensor", x: x - half, y: y - half, width: 2 * half, height: 2 * half, rx: 4 });
    box.addEventListener("click", () => this.toggle(agent));
    const doubt = drawn("path", { class: "doubt-mark", d: `M${x + half} ${y - half - 9}l8 14h-16z` });
    const text = drawn("text", { class: "on-map", x, y: y + 4.5 }, unit >= NUMBERED ? String(agent + 1) : "");
    canvas.append(box, text, doubt);
    const made: Sensor = { box, doubt, links: [] };
    this.map.slots[agent]!.forEach((area, slot) => {
      const end = areas[area];
      if (end === undefined) return;
      const line = drawn("line", { class: "link", x1: x, y1: y, x2: end[0], y2: end[1] });
      links.append(line);
      made.links.push({ line, slot });
    });
    return made;
  }

  private area(canvas: SVGSVGElement, [x, y]: Place, radius: number): Area {
    const chance = drawn("circle", { class: "chance", cx: x, cy: y, r: radius });
    const text = radius >= 15 ? drawn("text", { class: "on-map", x, y: y + 4.5 }) : null;
    const size = Math.max(6, 0.55 * radius);
    const aside = 0.75 * radius;
    const target = drawn("path", { class: "target", d: STAR, transform: `translate(${x + aside} ${y - aside}) scale(${size})` });
    const arm = radius * 0.45;
    const [mx, my] = [x - aside, y + aside];
    const d = `M${mx - arm} ${my - arm}L${mx + arm} ${my + arm}M${mx + arm} ${my - arm}L${mx - arm} ${my + arm}`;
    const missed = drawn("path", { class: "missed-mark", d });
    canvas.append(drawn("circle", { class: "area", cx: x, cy: y, r: radius }), chance);
    canvas.append(target, missed);
    if (text) canvas.append(text); // above the marks, to be read
    return { chance, text, target, missed };
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
      set(area.target, { visibility: frame.truth[k]! > 0.5 ? "visible" : "hidden" });
      set(area.missed, { visibility: isWrong(frame, false, k) ? "visible" : "hidden" });
    });
    this.sensors.forEach((sensor, agent) => this.showSensor(sensor, agent, frame, view));
    this.showMessage(frame);
  }

  private showSensor(sensor: Sensor, agent: number, frame: Frame, view: View): void {
    const { arrays, numAgents } = this.world;
    const muted = view.muted.has(agent) || !this.world.isThere(frame.row, agent);
    set(sensor.box, { "data-muted": muted, "data-speaker": agent === frame.speaker });
    const place = frame.row * numAgents + agent;
    set(sensor.doubt, { visibility: this.world.doubt(frame.row, agent) === null ? "hidden" : "visible" });
    if (!arrays.observed) return;
    const slots = this.map.slots[agent]!.length;
    for (const { line, slot } of sensor.links) {
      set(line, { class: arrays.observed[place * slots + slot]! > 0.5 && !muted ? "link seen" : "link" });
    }
  }

  private showMessage({ speaker, before }: Frame): void {
    const here = speaker === null ? null : this.places[speaker]!;
    const there = before === null ? null : this.places[before]!;
    set(this.message, here ? { transform: `translate(${here[0]} ${here[1] + this.below})`, visibility: "visible" } : { visibility: "hidden" });
    const ends = here && there ? { x1: there[0], y1: there[1], x2: here[0], y2: here[1], visibility: "visible" } : null;
    set(this.way, ends ?? { visibility: "hidden" });
  }
}
