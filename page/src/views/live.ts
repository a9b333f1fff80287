// How a live page stands: what is done now, whether the connection stands, and whether the newest step is shown.

import { element, say, set } from "../dom";

const FAULTS = {
  lost: "The connection is lost; trying again. What was told so far is shown.",
  refused: "The connection is lost, and its address is valid no longer: open the address that was told last.",
};

const CONNECTING = "Connecting …";
const CONNECTED = "Connected. Nothing has been told yet: programs are compiled first.";

export class LivePanel {
  readonly root: HTMLElement;
  readonly bar = element("progress", { max: 1, value: 0, "aria-label": "How far it is" });
  private readonly status = element("p", { role: "status", class: "status" }, CONNECTING);
  private readonly fault = element("p", { class: "fault", role: "alert" });

  constructor(...more: HTMLElement[]) {
    this.root = element("section", { class: "live", "aria-label": "Live" }, element("span", { class: "badge" }, "Live"), this.status, this.bar, ...more, this.fault);
    this.bar.hidden = true;
  }

  say(sentence: string): void {
    say(this.status, sentence);
  }

  far(done: number, of: number): void {
    this.bar.hidden = false;
    set(this.bar, { max: Math.max(of, 1), value: done });
  }

  stands(state: "open" | "lost" | "refused"): void {
    say(this.fault, state === "open" ? "" : FAULTS[state]);
    if (state === "open" && this.status.textContent === CONNECTING) this.say(CONNECTED);
    set(this.root, { "data-stands": state });
  }

  end(sentence: string): void {
    this.say(sentence);
    set(this.root, { "data-stands": "ended" });
    say(this.root.querySelector(".badge")!, "Ended");
  }
}
