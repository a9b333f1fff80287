// What each agent told of a step: whom it heard, how far off it is, what it sent, how late it was, what it refused.

import { element, say, set } from "../dom";
import { percent } from "../format";
import type { Told } from "../told";
import { rootMeanSquare, type World } from "../world";

const COLUMNS = ["Agent", "Heard", "Error", "Sent", "Late", "Says of it"];

export class ToldPanel {
  readonly root: HTMLElement;
  private readonly world: World;
  private readonly told: Told;
  private readonly rows: HTMLTableCellElement[][];

  constructor(world: World, told: Told) {
    this.world = world;
    this.told = told;
    this.rows = world.header.agents.map(() => COLUMNS.slice(1).map(() => element("td")));
    const lines = this.rows.map((cells, agent) =>
      element("tr", { "data-told": agent }, element("th", { scope: "row" }, world.header.agents[agent]!), ...cells),
    );
    const head = element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)));
    const table = element("table", { class: "told" }, element("thead", {}, head), element("tbody", {}, ...lines));
    this.root = element(
      "section",
      { "aria-labelledby": "told" },
      element("h2", { id: "told" }, "What each agent told"),
      element("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "What each agent told" }, table),
    );
  }

  update(row: number): void {
    this.rows.forEach((cells, agent) => {
      const texts = this.texts(row, agent);
      cells.forEach((cell, place) => {
        say(cell, texts[place]!);
        set(cell, { title: texts[place]! });
      });
    });
  }

  private texts(row: number, agent: number): string[] {
    const one = this.told.by(row, agent);
    if (one === undefined) return ["", "", "", "", "nothing yet"];
    const heard = (one.participants ?? []).map((other) => other + 1).join(" ");
    const error = one.mean ? percent(rootMeanSquare(this.told.belief(row, [agent]).mean, this.world.truth(row))) : "–";
    const refused = Object.values(one.refused).reduce((sum, many) => sum + many, 0);
    const verdict = one.nothing ?? (one.verdict ? (one.verdict.accepted ? "accepted" : one.verdict.reason) : "");
    const counted = refused ? `${verdict}${verdict ? "; " : ""}${refused} messages refused so far` : verdict;
    return [heard || "–", error, `${one.bytes} bytes`, `${(1000 * one.late).toFixed(1)} ms`, counted || "–"];
  }
}
