// The state of affairs in three numbers and a sentence.

import { element, say, set } from "../dom";
import { count, percent } from "../format";
import { isWrong, WORDS, type Frame } from "../inference";
import type { View } from "../view";
import { expectedError, rootMeanSquare, type World } from "../world";

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
    say(this.tiles.messages, String(frame.belief.messages));
    set(this.root, { "data-error": error, "data-expected": expected });
    say(this.sentence, this.told(frame, view));
  }

  private told(frame: Frame, view: View): string {
    const { size, isNumber, arrays, numAgents } = this.world;
    const way = view.by === "fusion" ? "fusion" : view.by === "composite" ? "composite diffusion" : "each by itself";
    if (frame.present.length === 0) return "No agent takes part: this is what is known before anybody has spoken.".replace("this is", view.by === "fusion" ? "this is" : "there is nothing inferred; else this is");
    const means = Array.from(frame.belief.mean);
    if (means.some(Number.isNaN)) {
      return `The estimate is no number in ${count(means.filter(Number.isNaN).length, "feature")}: an agent's history holds what is no number. Mute agents to find which.`;
    }
    const wrong = means.filter((_, k) => isWrong(frame, isNumber[k]!, k)).length;
    const unknown = Array.from(frame.truth).filter(Number.isNaN).length;
    const { widest } = arrays;
    const size_ = Math.sqrt(frame.belief.variance.reduce((sum, value) => sum + value, 0));
    const wide = view.by === "fusion" && widest && frame.belief.messages > 0 && size_ > widest[frame.belief.messages - 1]!;
    const known = size - unknown;
    const misses = unknown === size ? "The truth is not known at this step" : wrong === 0 ? `All of ${known} known features are met` : `${wrong} of ${count(known, "known feature")} missed`;
    const team = `${frame.present.length} of ${count(numAgents, "agent")}, by ${way}`;
    return `${misses}, with ${team}${frame.hops < frame.allHops ? `, after ${frame.hops} of ${frame.allHops} messages` : ""}.${wide ? " The estimate is wider than is usual for such a team: better not use it." : ""}`;
  }
}

export function wordsOf(view: View): string {
  return WORDS[view.by];
}
