// The state of affairs in three numbers and a sentence.

import { element, say, set } from "../dom";
import { count, percent } from "../format";
import { isJudged, isWrong, type Frame } from "../inference";
import type { By, View } from "../view";
import { expectedError, rootMeanSquare, type World } from "../world";

const NOBODY: Record<By, string> = {
  fusion: "No agent takes part: this is what is known before anybody has spoken.",
  composite: "No agent takes part: these are the noisy states from which messages start.",
  samples: "No agent takes part: nothing is inferred.",
  told: "None of the chosen agents has told an estimate of this step.",
};

export class Summary {
  readonly root: HTMLElement;
  private readonly world: World;
  private readonly tiles: Record<"error" | "expected" | "messages", HTMLElement>;
  private readonly sentence = element("p", { class: "verdict", role: "status" });

  constructor(world: World) {
    this.world = world;
    this.tiles = { error: element("dd"), expected: element("dd"), messages: element("dd") };
    const tile = (name: keyof Summary["tiles"], text: string) =>
      element("div", { class: `tile ${name}` }, element("dt", {}, text), this.tiles[name]);
    const all = [tile("error", "error"), tile("expected", "error the team expects"), tile("messages", "messages")];
    this.root = element("section", { class: "summary", "aria-label": "How it stands" }, element("dl", {}, ...all), this.sentence);
  }

  update(frame: Frame, view: View): void {
    const error = rootMeanSquare(frame.belief.mean, frame.truth);
    const expected = expectedError(frame.belief.variance);
    say(this.tiles.error, percent(error));
    say(this.tiles.expected, percent(expected));
    say(this.tiles.messages, Number.isNaN(frame.belief.messages) ? "–" : String(frame.belief.messages));
    set(this.root, { "data-error": error, "data-expected": expected });
    say(this.sentence, this.told(frame, view));
  }

  private told(frame: Frame, view: View): string {
    if (frame.present.length === 0) return NOBODY[view.by];
    const lost = frame.belief.mean.filter(Number.isNaN).length;
    if (lost > 0) {
      const where = count(lost, "feature");
      return `The estimate of ${where} is no number, since the history of an agent holds what is none: mute it.`;
    }
    const after = frame.hops < frame.allHops ? `, after ${frame.hops} of ${frame.allHops} messages` : "";
    const team = `${frame.present.length} of ${count(this.world.numAgents, "agent")}${after}`;
    const wide = this.isTooWide(frame, view) ? " The estimate is wider than is usual: better not use it." : "";
    return `${this.hit(frame)} (${team}).${wide}`;
  }

  private hit(frame: Frame): string {
    const { isNumber } = this.world;
    const known = frame.truth.filter((value: number) => !Number.isNaN(value)).length;
    if (known === 0) return "The truth is not known at this step";
    const judged = frame.truth.filter((value: number, k: number) => !Number.isNaN(value) && isJudged(frame, isNumber[k]!, k)).length;
    if (judged === 0) return "One state alone does not tell how far it may be off: no feature is judged";
    const which = `${known === frame.truth.length ? "" : "known "}feature`;
    const missed = frame.belief.mean.reduce((sum, _, k) => sum + Number(isWrong(frame, isNumber[k]!, k)), 0);
    const but = judged < known ? `; numbers are not judged, as one state alone does not tell how far it may be off` : "";
    if (missed === 0) return `The team is right about all of its ${count(judged, which)}${but}`;
    return `The team misses ${missed} of ${count(judged, which)}${but}`;
  }

  private isTooWide(frame: Frame, view: View): boolean {
    const { widest } = this.world.arrays;
    const { variance, messages } = frame.belief;
    if (view.by !== "fusion" || widest === undefined || messages === 0) return false;
    return Math.sqrt(variance.reduce((sum, value) => sum + value, 0)) > widest[messages - 1]!;
  }
}
