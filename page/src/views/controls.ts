// Which episode and step, how the team infers, and how far the message has come; keys do the same.

import type { Frame } from "../inference";
import { element, say, set } from "../dom";
import type { By, Limits, View } from "../view";

const PACE = 250; // milliseconds a step
const NAMES: Record<By, string> = { fusion: "Fusion", composite: "Composite diffusion", samples: "Each by itself", told: "As told" };

export class Controls {
  readonly root: HTMLElement;
  readonly message: HTMLElement;
  private readonly limits: Limits;
  private readonly change: (changed: Partial<View>) => void;
  private readonly view: () => View;
  private readonly episode = element("select", { id: "episode" });
  private readonly step = element("input", { type: "range", id: "step", min: 0, value: 0 });
  private readonly stepText = element("output", { for: "step", id: "step-text" });
  private readonly play = element("button", { type: "button", class: "command", id: "play" }, "Play");
  private readonly by = element("select", { id: "by" });
  private readonly hops = element("input", { type: "range", id: "hops", min: 0, value: 0 });
  private readonly hopsText = element("output", { for: "hops", id: "hops-text" });
  private readonly hopsField = element("div", { class: "field wide" });
  private timer: number | undefined;

  constructor(limits: Limits, change: (changed: Partial<View>) => void, view: () => View) {
    this.limits = limits;
    this.change = change;
    this.view = view;
    limits.lengths.forEach((_, place) => {
      this.episode.append(element("option", { value: place }, `${place + 1} of ${limits.lengths.length}`));
    });
    limits.ways.forEach((way) => this.by.append(element("option", { value: way }, NAMES[way])));
    this.episode.addEventListener("change", () => change({ episode: Number(this.episode.value), step: 0 }));
    this.step.addEventListener("input", () => change({ step: Number(this.step.value) }));
    this.by.addEventListener("change", () => change({ by: this.by.value as By, hops: null }));
    this.hops.addEventListener("input", () => this.setHops(Number(this.hops.value)));
    this.play.addEventListener("click", () => this.toggle());
    document.addEventListener("keydown", (event) => this.key(event));
    this.hopsField.append(element("label", { for: "hops" }, "Message after"), this.hops, this.hopsText);
    this.root = element(
      "section",
      { class: "controls", "aria-label": "Time" },
      element("div", { class: "field" }, element("label", { for: "episode" }, "Episode"), this.episode),
      this.play,
      element("div", { class: "field wide" }, element("label", { for: "step" }, "Step"), this.step, this.stepText),
    );
    const by = element("div", { class: "field" }, element("label", { for: "by" }, "Inferred by"), this.by);
    this.message = element("div", { class: "message-controls" }, by, this.hopsField);
  }

  update(view: View, frame: Frame): void {
    const length = this.limits.lengths[view.episode]!;
    this.episode.value = String(view.episode);
    set(this.step, { max: length - 1, "aria-valuetext": `step ${view.step + 1} of ${length}` });
    this.step.value = String(view.step);
    say(this.stepText, `${view.step + 1} of ${length}`);
    this.by.value = view.by;
    this.hopsField.hidden = view.by === "samples" || view.by === "told";
    const what = view.by === "fusion" ? "answers" : "hops";
    set(this.hops, { max: Math.max(frame.allHops, 1), "aria-valuetext": `${frame.hops} of ${frame.allHops} ${what}` });
    this.hops.value = String(frame.hops);
    this.hops.disabled = frame.allHops === 0;
    say(this.hopsText, `${frame.hops} of ${frame.allHops} ${what}`);
  }

  private setHops(hops: number): void {
    this.change({ hops: hops === Number(this.hops.max) ? null : hops });
  }

  /** Whether the last step was shown. */
  private forward(by: number): boolean {
    const { episode, step } = this.view();
    const last = this.limits.lengths[episode]! - 1;
    this.change({ step: Math.max(0, Math.min(last, step + by)) });
    return step + by >= last;
  }

  private toggle(): void {
    if (this.timer !== undefined) return this.stop();
    const { episode, step } = this.view();
    if (step === this.limits.lengths[episode]! - 1) this.change({ step: 0 });
    this.timer = window.setInterval(() => this.forward(1) && this.stop(), PACE);
    say(this.play, "Pause");
  }

  private stop(): void {
    window.clearInterval(this.timer);
    this.timer = undefined;
    say(this.play, "Play");
  }

  private key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = event.target as HTMLElement;
    if (target.closest("input, select, textarea")) return; // they have these keys of their own
    const steps: Record<string, () => void> = {
      ArrowRight: () => void this.forward(1),
      ArrowLeft: () => void this.forward(-1),
      Home: () => this.change({ step: 0 }),
      End: () => this.change({ step: this.limits.lengths[this.view().episode]! - 1 }),
    };
    if (event.key === " " && !target.closest("button, a, summary")) steps[" "] = () => this.toggle();
    const act = steps[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }
}
