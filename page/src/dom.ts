// Making elements. Text is only ever set as text, so that names are never read as HTML.

type Attributes = Record<string, string | number | boolean>;
type Child = Node | string;

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(name), attributes, children);
}

export function drawn<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled<E extends Element>(made: E, attributes: Attributes, children: Child[]): E {
  set(made, attributes);
  made.append(...children);
  return made;
}

const SET = new WeakMap<Element, Attributes>(); // what each element has already: setting it again costs a layout

/** Sets attributes where they have changed; one that is false is taken away. */
export function set(target: Element, attributes: Attributes): void {
  let known = SET.get(target);
  if (known === undefined) SET.set(target, (known = {}));
  for (const name in attributes) {
    const value = attributes[name]!;
    if (Object.is(known[name], value)) continue;
    known[name] = value;
    if (value === false) target.removeAttribute(name);
    else target.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Sets text where it has changed, since even the same text costs a layout. */
export function say(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}
